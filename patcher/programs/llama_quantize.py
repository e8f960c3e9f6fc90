"""A model in another type, made by ``llama-quantize``: whole or not at all, and looked at afterwards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patcher.base.errors import BuildError, UsageError
from patcher.base.files import made_whole
from patcher.base.progress import SILENT, Reporter
from patcher.base.stages import require_space
from patcher.model import gguf_header
from patcher.model.gguf_header import Header
from patcher.programs.folder import Programs

_STEP = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")
FLOATS = ("F32", "F16", "BF16")
_LEAST_SHARE = 0.5  # of the weights, that must have become what was asked for


@dataclass(frozen=True)
class Quantized:
    """What was made: the file, and what its head says."""

    path: Path
    type: str
    header: Header
    source_bytes: int
    seconds: float

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "file": str(self.path),
            "type": self.type,
            "name": self.header.name,
            "bytes": self.header.size,
            "tensor_bytes": self.header.tensor_bytes,
            "source_bytes": self.source_bytes,
            "weights": self.header.weights_by_type(),
            "tensors": len(self.header.tensors),
            "seconds": round(self.seconds, 2),
        }


def quantize(
    programs: Programs,
    source: Path,
    destination: Path,
    type_name: str,
    *,
    force: bool = False,
    allow_requantize: bool = False,
    arguments: Sequence[str] = (),
    threads: int | None = None,
    reporter: Reporter = SILENT,
) -> Quantized:
    """Make ``destination`` from ``source``; it appears only when it is complete and was checked.

    ``arguments`` are handed to ``llama-quantize``. Raises :class:`UsageError` for a model that can't be
    read, a destination that is there (without ``force``), a type that the build doesn't know and a full
    disk; :class:`BuildError` where the program fails or what it made is wrong.
    """
    before = gguf_header.read(source)
    name = type_name.upper()
    _require_known(programs, name)
    if destination.exists():
        if destination.is_dir() or destination.resolve() == source.resolve():
            raise UsageError(f"{destination}: can't be written over", hint="name another file")
        if not force:
            raise UsageError(f"{destination}: is there already", hint="name another file, or use --force")
    held = [kind for kind in before.weights_by_type() if kind not in FLOATS and not kind.startswith("I")]
    if held and not allow_requantize:
        raise UsageError(
            f"{source}: is quantized already ({', '.join(held)})",
            hint="start from the F16 model, or use --allow-requantize and lose accuracy twice",
        )
    destination.parent.mkdir(parents=True, exist_ok=True)
    require_space(destination.parent, min(source.stat().st_size // 4, 1 << 30), "the model")
    with made_whole(destination) as draft:
        command: list[str | Path] = [
            *(["--allow-requantize"] if held else []),
            *arguments,
            source,
            draft,
            name,
        ]
        command += [str(threads)] if threads else []
        with reporter.step(f"Quantizing to {name}", total=len(before.tensors)) as step:

            def follow(piece: str) -> None:
                for done, total in _STEP.findall(piece):
                    step.update(done=int(done), total=int(total))

            ran = programs.run("llama-quantize", command, on_text=follow)
        after = _checked(before, draft, name)
    return Quantized(destination, name, replace(after, path=destination), before.size, ran.seconds)


def known_types(programs: Programs) -> list[str]:
    """The types that this build's ``llama-quantize`` offers, in its order."""
    said = programs.help("llama-quantize")
    return re.findall(r"^\s*\d+\s+or\s+(\w+)\s*:", said, re.MULTILINE)


def _require_known(programs: Programs, name: str) -> None:
    types = known_types(programs)
    if types and name not in [known.upper() for known in types]:
        hint = (
            "it is a stock build: add the type with 'q8a8-patch run'"
            if name == "Q8_A8"
            else f"it knows {', '.join(types)}"
        )
        raise UsageError(f"{programs.folder}: this build doesn't know the type {name}", hint=hint)


def _checked(before: Header, draft: Path, name: str) -> Header:
    """The head of what was made, where it holds the same tensors in the right type and no cut-off data."""
    try:
        after = gguf_header.read(draft)
    except UsageError as why:
        raise BuildError(f"llama-quantize made a file that can't be used: {why.message}") from why
    wanted = {tensor.name: tensor.shape for tensor in before.tensors}
    made = {tensor.name: tensor.shape for tensor in after.tensors}
    changed = sorted(key for key in wanted.keys() | made.keys() if wanted.get(key) != made.get(key))
    # a tied output matrix may be written out, or a rope table left out: shapes must never change
    if any(key in wanted and key in made for key in changed) or len(changed) > 2:
        raise BuildError(
            f"llama-quantize changed the shapes or the set of the tensors: {', '.join(changed[:3])}"
        )
    share = after.weights_by_type()
    right = sum(count for kind, count in share.items() if _belongs(kind, name))
    if right < _LEAST_SHARE * sum(share.values()):
        kinds = ", ".join(f"{kind} {count}" for kind, count in share.items())
        raise BuildError(f"llama-quantize was asked for {name}, the weights are {kinds}")
    return after


def _belongs(kind: str, name: str) -> bool:
    """Whether tensors of ``kind`` are what type ``name`` is made of: Q4_K_M is Q4_K with some Q6_K."""
    if kind == name or name == "COPY":
        return True
    if re.fullmatch(r"I?Q\d_(?:K|X+S|X?S|M|NL)(?:_\w+)?", name):
        return kind not in FLOATS
    return name.startswith(kind)
