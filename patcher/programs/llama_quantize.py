"""A model in another type, made by ``llama-quantize``: whole or not at all, and looked at afterwards."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patcher.base import partial_files
from patcher.base.errors import BuildError, UsageError
from patcher.base.files import require_replaceable, settle_parts
from patcher.base.progress import SILENT, Reporter
from patcher.base.stages import disk_errors, require_space
from patcher.base.units import how_many, number
from patcher.model import gguf_header
from patcher.model.gguf_format import DEFAULT_ALIGNMENT
from patcher.model.gguf_head import read_head
from patcher.model.gguf_header import Header
from patcher.model.gguf_writer import make_value
from patcher.model.likeness import ComparedTensors, UnlikeError, compare, find_unfit
from patcher.model.model_file import ModelFile, open_model, part_path, require_our_order
from patcher.programs.folder import Programs
from patcher.programs.measured import ChildError
from patcher.programs.quantized_types import Fallback, complaint, expected_bytes, is_quantized, kept, matrices

_STEP = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")
KEEP_SPLIT = "--keep-split"
_ALIGNMENT = "general.alignment"
_OTHER_MODEL = {"--dry-run": "nothing is written", "--prune-layers": "layers are left out"}
_FULL = 1 << 20  # bytes: a disk with less is full
_MORE_SPACE = "free some, or name a place on another disk"

_OTHER_BUILD = (
    "nothing was kept; build llama-quantize anew (q8a8-patch run), or name another build with --bin"
)


@dataclass(frozen=True)
class Quantized:
    """What was made: the file, and what its head says."""

    path: Path
    type: str
    header: Header
    source_bytes: int
    seconds: float
    kept: tuple[Fallback, ...] = ()

    def notes(self) -> list[str]:
        """What didn't become what was asked for, one line each."""
        count = len(matrices(self.header))
        return [one.text(count) for one in self.kept]

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "file": str(self.path),
            "parts": [str(path) for path in self.header.parts],
            "type": self.type,
            "name": self.header.name,
            "bytes": self.header.size,
            "tensor_bytes": self.header.tensor_bytes,
            "source_bytes": self.source_bytes,
            "weights": self.header.weights_by_type(),
            "tensors": len(self.header.tensors),
            "kept": [
                {"type": one.type, "tensors": list(one.tensors), "reason": one.reason} for one in self.kept
            ],
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
    finish: Callable[[Path], None] | None = None,
    reporter: Reporter = SILENT,
) -> Quantized:
    """Make ``destination`` from ``source``; it appears only when it is complete and its data were compared.

    ``source`` may be the first of several parts; with ``--keep-split`` there are as many of ``destination``.
    ``arguments`` are handed to ``llama-quantize``; ``finish`` gets the first part of what was made, to change
    it before it appears. Raises :class:`UsageError` for a model that can't be
    read, a destination that is there (without ``force``), a type that the build doesn't know and a full
    disk; :class:`BuildError` where the program fails or what it made is wrong.
    """
    model = open_model(source)
    require_our_order(model)
    before = gguf_header.of(model)
    name = type_name.upper()
    _require_known(programs, name)
    _require_options(programs, arguments)
    count = len(before.parts) if KEEP_SPLIT in arguments else 1
    if count == 1:  # llama-quantize would call a whole file part 1 of 1
        arguments = [word for word in arguments if word != KEEP_SPLIT]
    places = require_free(destination, before.parts, count, force=force)
    held = [type_name for type_name in before.weights_by_type() if is_quantized(type_name)]
    if held and not allow_requantize:
        raise UsageError(
            f"{source}: is quantized already ({', '.join(held)})",
            hint="start from the F16 model, or use --allow-requantize and lose accuracy twice",
        )
    destination.parent.mkdir(parents=True, exist_ok=True)
    for left in partial_files.sweep(destination.parent):
        reporter.note(f"{left}: was left by a run that was killed, removed")
    needed = expected_bytes(before, name, arguments)
    require_space(destination.parent, needed, "the model", hint=_MORE_SPACE)
    draft = partial_files.beside(destination)
    drafts = [part_path(draft, number, count) for number in range(1, count + 1)]
    command: list[str | Path] = [*(["--allow-requantize"] if held else []), *arguments, source, draft, name]
    command += [str(threads)] if threads else []
    try:
        with reporter.step(f"Quantizing to {name}", total=len(before.tensors)) as step:

            def follow(piece: str) -> None:
                for done, total in _STEP.findall(piece):
                    step.update(done=int(done), total=int(total))

            try:
                ran = programs.run("llama-quantize", command, on_text=follow)
            except ChildError as why:
                _require_room(destination, drafts, needed, why)
                _require_fit(model, name, why)
                raise
        after = _checked(model, before, drafts[0], name, arguments, reporter)
        if finish is not None:
            finish(drafts[0])
            after = gguf_header.read(drafts[0])
        with disk_errors(destination.parent):
            settle_parts(drafts, places)
    finally:
        for made in drafts:
            made.unlink(missing_ok=True)
    header = replace(after, path=places[0], parts=tuple(places))
    differing = kept(header, name, arguments) if name != "COPY" else ()
    return Quantized(places[0], name, header, before.size, ran.seconds, differing)


def require_free(
    destination: Path, sources: Sequence[Path], count: int = 1, *, force: bool
) -> tuple[Path, ...]:
    """The files of a model in ``count`` parts at ``destination``, one for a whole one.

    Raises :class:`UsageError` for one that is a folder or a source, or is there without ``force``.
    """
    places = tuple(part_path(destination, number, count) for number in range(1, count + 1))
    read = {source.resolve() for source in sources}
    for place in places:
        if place.resolve() in read:
            raise UsageError(f"{place}: can't be written over, it is read", hint="name another file")
        require_replaceable(place)
        if place.exists() and not force:
            raise UsageError(f"{place}: is there already", hint="name another file, or use --force")
    return places


def _require_fit(model: ModelFile, name: str, why: ChildError) -> None:
    """Raise :class:`UsageError` where the model's own values are why ``llama-quantize`` gave up."""
    if not re.search(r"invalid data|validation failed|ggml_validate_row_data", why.output):
        return
    unfit = find_unfit(model, name)
    if unfit:
        hint = "get the model again" if "damaged" in unfit else "take BF16; 'evaluate' has --baseline BF16"
        raise UsageError(f"{model.path}: {unfit}", hint=hint) from why


def _require_room(destination: Path, drafts: Sequence[Path], needed: int, why: ChildError) -> None:
    """Raise :class:`UsageError` where the disk was too small for what a failed run still had to write."""
    written = sum(draft.stat().st_size for draft in drafts if draft.exists())
    free = shutil.disk_usage(destination.parent).free
    if free < max(_FULL, needed - written):
        raise UsageError(
            f"{destination}: no space left on the disk: the model takes {number(needed, 'bytes')},"
            f" {number(written + free, 'bytes')} are there",
            hint=_MORE_SPACE,
        ) from why


def known_types(programs: Programs) -> list[str]:
    """The types that this build's ``llama-quantize`` offers, in its order."""
    said = programs.help("llama-quantize")
    return re.findall(r"^[ \t]*(?:\d+[ \t]+or[ \t]+(?=\w)|(?=COPY\b))(\w+)[ \t]*:", said, re.MULTILINE)


def _require_known(programs: Programs, name: str) -> None:
    types = known_types(programs)
    if types and name not in [known.upper() for known in types]:
        hint = (
            "it is a stock build: add the type with 'q8a8-patch run'"
            if name == "Q8_A8"
            else f"it knows {', '.join(types)}"
        )
        raise UsageError(f"{programs.folder}: this build doesn't know the type '{name}'", hint=hint)


def _require_options(programs: Programs, arguments: Sequence[str]) -> None:
    """Raise :class:`UsageError` for an option that ``llama-quantize`` hasn't, or that makes no such model."""
    for option in (word for word in arguments if word.startswith("--")):
        if option in _OTHER_MODEL:
            raise UsageError(
                f"{option}: looked for an option with which a model of the same tensors is made, found one"
                f" with which {_OTHER_MODEL[option]}",
                hint="leave it out, or run llama-quantize itself",
            )
        if programs.knows("llama-quantize", KEEP_SPLIT) and not programs.knows("llama-quantize", option):
            raise UsageError(
                f"{option}: neither 'quantize' nor {programs.folder}/llama-quantize has such an option",
                hint="see 'q8a8-patch quantize --help' and 'llama-quantize --help'",
            )


def _checked(
    model: ModelFile, before: Header, draft: Path, name: str, arguments: Sequence[str], reporter: Reporter
) -> Header:
    """The head of what was made, where it holds the same tensors, in the right types, with the right data."""
    try:
        after, compared = _compared(model, before, draft, name, arguments, reporter)
    except BuildError:
        if model.head.alignment == DEFAULT_ALIGNMENT:
            raise
        # releases so far lay tensors out for 32 bytes, and copy a general.alignment that says otherwise
        _set_alignment(draft)
        after, compared = _compared(model, before, draft, name, arguments, reporter)
    for type_name, count in compared.unread.items():
        why = _why_unread(type_name)
        reporter.note(
            f"{how_many(count, 'tensor')} of {type_name}: only their sizes were compared, because {why}"
        )
    return after


def _why_unread(type_name: str) -> str:
    if re.match(r"IQ[123]_", type_name):
        return "its numbers stand for entries of long tables, which only llama.cpp has"
    return "its layout isn't known here"


def _compared(
    model: ModelFile, before: Header, draft: Path, name: str, arguments: Sequence[str], reporter: Reporter
) -> tuple[Header, ComparedTensors]:
    try:
        made = open_model(draft)
    except UsageError as why:
        raise BuildError(
            f"llama-quantize made a file that can't be used: {why.message}", hint=_OTHER_BUILD
        ) from why
    after = gguf_header.of(made)
    wanted = {tensor.name: tensor.shape for tensor in before.tensors}
    found = {tensor.name: tensor.shape for tensor in after.tensors}
    changed = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    # a tied output matrix may be written out, or a rope table left out: shapes must never change
    if any(key in wanted and key in found for key in changed) or len(changed) > 2:
        raise BuildError(
            f"llama-quantize changed the shapes or the set of the tensors: {', '.join(changed[:3])}",
            hint=_OTHER_BUILD,
        )
    why_not = complaint(after, name, arguments)
    if why_not:
        raise BuildError(f"llama-quantize {why_not}", hint=_OTHER_BUILD)
    try:
        return after, compare(model, made, reporter)
    except UnlikeError as why:
        raise BuildError(f"llama-quantize made another model: {why.message}", hint=_OTHER_BUILD) from why


def _set_alignment(path: Path) -> None:
    """Let the file say that it is aligned to 32 bytes."""
    head = read_head(path, alignment=DEFAULT_ALIGNMENT)
    value = head.metadata[_ALIGNMENT]
    with path.open("r+b") as file:
        file.seek(head.places[_ALIGNMENT])
        file.write(make_value(value.type, DEFAULT_ALIGNMENT, big_endian=head.big_endian).raw)
