"""Calibration: ``llama-q8a8-stats`` run on a model and a text, and the merging of what several runs gave."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from patcher.base import processes
from patcher.base.errors import UsageError
from patcher.base.files import made_whole, require_replaceable, require_utf8
from patcher.base.progress import SILENT, Reporter
from patcher.model.gguf_format import TYPE_NUMBERS, ValueType
from patcher.model.gguf_writer import GgufWriter, NewTensor, make_array, make_value
from patcher.model.model_file import model_hash, open_model, require_our_order
from patcher.model.stats import TYPE, VERSION, Stats, merged_arrays, open_stats
from patcher.programs.folder import Programs
from patcher.programs.last_words import cause
from patcher.programs.measured import diagnose

TOOL = "llama-q8a8-stats"
_SAVING = processes.Politeness(signal.SIGINT, 120.0)  # it saves what it has
_BY_HAND = f"run {TOOL} by hand on the same files, to see all that it says"
_HINTS = {
    "wanted is at least one chunk": "name a longer text with --text, or take a smaller --chunk-size",
    "can't be written": "see with 'df -h' whether its disk is full, and with 'ls -ld' whose the folder is",
    "can't be loaded": "the model is damaged, or of another tree: get it again, or take a build of its tree",
    "is not finite": "the model is damaged, or overflows: get it again, or convert it again",
}
_CHUNK = re.compile(r"chunk (\d+) of (\d+)\s*")


@dataclass(frozen=True)
class CalibrationRequest:
    """One run of the tool. ``threads`` and ``chunks`` None: the tool's own choice."""

    tool: Path
    model: Path
    text: Path
    output: Path
    rows: int = 256
    chunk_size: int = 512
    chunks: int | None = None
    threads: int | None = None
    gpu_layers: int = 0

    def command(self, hashed: str) -> list[str]:
        """The command line."""
        values = {
            "-m": self.model,
            "-f": self.text,
            "-o": self.output,
            "--model-hash": hashed,
            "--rows": self.rows,
            "--chunk-size": self.chunk_size,
            "--chunks": self.chunks,
            "-t": self.threads,
            "-ngl": self.gpu_layers or None,
        }
        given = [(name, str(value)) for name, value in values.items() if value is not None]
        return [str(self.tool), *(word for pair in given for word in pair)]


def find_tool(named: Path | None) -> Path:
    """The program: the one named, in the folder named, in ``build/bin`` here, or on the PATH.

    Raises :class:`UsageError` where there is none.
    """
    if named is not None:
        places = [named / TOOL if named.is_dir() else named]
    else:
        on_path = shutil.which(TOOL)
        places = [Path("build/bin") / TOOL, *([Path(on_path)] if on_path else [])]
    for place in places:
        if place.is_file():
            return place.absolute()
    raise UsageError(
        f"{TOOL}: looked in {', '.join(map(str, places)) or 'the PATH'}, found none",
        hint=f"'q8a8-patch build TREE --target {TOOL}' makes it; name it with --tool",
    )


def calibrate(request: CalibrationRequest, reporter: Reporter = SILENT) -> Stats:
    """Gather statistics, or go on with those that a stopped run left at ``request.output``.

    Raises :class:`UsageError` with the tool's own words where it refuses.
    """
    for path in (request.model, request.text):
        if not path.is_file():
            raise UsageError(
                f"{path}: looked for a file, found none",
                hint="name the F16, BF16 or F32 model"
                if path == request.model
                else "name a plain text file with --text",
            )
        if request.output.exists() and request.output.samefile(path):
            raise UsageError(f"{request.output}: is read", hint="choose another name for the statistics")
    require_replaceable(request.output)
    require_utf8(request.text)
    model = open_model(request.model)
    require_our_order(model)
    hashed = model_hash(model, reporter)
    programs = Programs(request.tool.parent)
    said: list[str] = []
    with reporter.step("Calibrating", total=None) as step:

        def take(line: str) -> None:
            nonlocal said
            found = _CHUNK.fullmatch(line)
            if found:
                step.update(done=int(found[1]), total=int(found[2]), detail="chunks")
            else:
                said = [*said[-9:], line.rstrip()]

        try:
            done = processes.run(
                request.command(hashed), env=programs.environment(), on_line=take, ending=_SAVING
            )
        except processes.ProcessError as why:
            raise UsageError(f"{request.tool}: {why.message}", hint=why.hint) from why
    if done.code:
        if done.code < 0:
            raise diagnose([str(request.tool)], done.code, "", "\n".join(said))
        error = next((line for line in reversed(said) if line.startswith("error:")), said[-1] if said else "")
        error = error.removeprefix("error:").strip() or f"{request.tool}: exit code {done.code}"
        reason = cause("\n".join(said))
        raise UsageError(
            f"{error} ({reason})" if reason and reason not in error else error,
            hint=next((hint for word, hint in _HINTS.items() if word in error), _BY_HAND),
        )
    return open_stats(request.output)


def merge(paths: Sequence[Path], output: Path, *, force: bool = False) -> Stats:
    """Join the statistics of several texts into ``output``, as one run over all of them would have given.

    Raises :class:`UsageError` where they are of different models, or the same text is in two of them.
    """
    require_replaceable(output)
    if output.exists() and not force:
        raise UsageError(f"{output}: is there already", hint="--force replaces it")
    parts = [open_stats(path) for path in paths]
    first = parts[0]
    texts = [text for part in parts for text in part.texts]
    for part in parts[1:]:
        if part.model_hash != first.model_hash:
            raise UsageError(
                f"{part.path}: made with another model than {first.path}",
                hint="join the statistics of one model; calibrate again what is another's",
            )
    if len(set(texts)) != len(texts):
        raise UsageError(
            f"{output}: two of the files were made with the same text, which would count twice",
            hint="name each of them once, with --merge before each",
        )
    metadata = {
        "general.type": make_value(ValueType.STRING, TYPE),
        f"{TYPE}.version": make_value(ValueType.UINT32, VERSION),
        f"{TYPE}.model_hash": make_value(ValueType.STRING, first.model_hash),
        f"{TYPE}.architecture": make_value(ValueType.STRING, first.file.text(f"{TYPE}.architecture", "")),
        f"{TYPE}.chunk_size": make_value(ValueType.UINT32, first.file.number(f"{TYPE}.chunk_size", 0)),
        f"{TYPE}.rows": make_value(ValueType.UINT32, min(part.row_limit for part in parts)),
        f"{TYPE}.texts": make_array(ValueType.STRING, texts),
        f"{TYPE}.chunks": make_array(ValueType.UINT32, [n for part in parts for n in part.chunks]),
    }
    weights = sorted({weight for part in parts for weight in part.weights})
    types = {"count": "I64", "keys": "I64", "rows": "F16"}
    tensors, data = [], {}
    for weight in weights:
        for part_name, array in merged_arrays(parts, weight).items():
            type_name = types.get(part_name, "F32")
            name = f"{weight}.{part_name}"
            tensors.append(NewTensor(name, tuple(reversed(array.shape)), TYPE_NUMBERS[type_name]))
            data[name] = np.ascontiguousarray(
                array, {"I64": "<i8", "F16": "<f2", "F32": "<f4"}[type_name]
            ).tobytes()
    with made_whole(output) as draft, GgufWriter(draft, metadata, tensors) as writer:
        for name, raw in data.items():
            writer.write(name, [raw])
    return open_stats(output)
