"""A model written anew, tensor by tensor: most are copied, some are scaled, the metadata change a little.

Each part goes to a sibling with ``.part`` behind its name, and all are renamed when all are whole. What is
done stands in a :class:`~patcher.model.worklog.Worklog`, so that a run that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from patcher.base.errors import UsageError
from patcher.base.files import require_place, require_replaceable, settle_parts
from patcher.base.os_errors import refused
from patcher.base.progress import SILENT, Reporter
from patcher.base.stages import require_space
from patcher.model.fold import Scaling
from patcher.model.gguf import GgufError, GgufFile, TensorInfo, Value
from patcher.model.gguf_cursor import shrunk
from patcher.model.gguf_writer import GgufWriter, make_value, tensors_like
from patcher.model.model_file import ModelFile, part_path
from patcher.model.tensor_data import decode, encode, pieces
from patcher.model.worklog import Worklog, log_path

_COUNT_KEY = "split.tensors.count"
_MORE_SPACE = "free some, or name a place on another disk"
_COPY_PIECE = 1 << 24  # bytes
_SYNC_EVERY = 1 << 30  # bytes of output between two entries in the log that count as safely written


def output_paths(
    model: ModelFile, out: Path, *, force: bool, beside: Iterable[Path] = ()
) -> tuple[Path, ...]:
    """Where the parts go, as many as the model has; ``beside`` is what is read beside the model.

    Raises :class:`UsageError` where one is there and ``force`` is not given, or is one that is read. Parts
    without a first one are those of a run that was cut off while it put them there, if its log is there too.
    """
    require_place(out)
    count = len(model.parts)
    paths = tuple(part_path(out, number, count) for number in range(1, count + 1))
    cut_off = count > 1 and not paths[0].exists() and log_path(paths).is_file()
    sources = {part.path.resolve() for part in model.parts}
    others = {path.resolve() for path in beside}
    for path in paths:
        if path.resolve() in sources | others:
            what = "the model that is read" if path.resolve() in sources else "read beside the model"
            raise UsageError(f"{path}: is {what}", hint="name another output")
        require_replaceable(path)
        if path.exists() and not force and not cut_off:
            raise UsageError(f"{path}: is there already", hint="--force replaces it")
    return paths


def rewrite(
    model: ModelFile,
    paths: tuple[Path, ...],
    scalings: Mapping[str, Scaling],
    metadata: Mapping[str, Value],
    worklog: Worklog,
    reporter: Reporter = SILENT,
    *,
    added: tuple[TensorInfo, ...] = (),
    dropped: tuple[str, ...] = (),
) -> dict[str, float]:
    """Write ``model`` to ``paths``: ``scalings`` by tensor, ``metadata`` for the first part.

    ``added`` are tensors with a name of their own that are read where another one lies, ``dropped`` are left
    out.

    Returns each scaled tensor's largest rounding error, relative to the tensor's largest value. Raises
    :class:`GgufError` where a file can't be read or written.
    """
    drafts = tuple(path.with_name(path.name + ".part") for path in paths)
    tensors = [_tensors(part, added, dropped) for part in model.parts]
    total = sum(tensor.nbytes for some in tensors for tensor in some)
    there = sum(draft.stat().st_blocks * 512 for draft in drafts if draft.is_file())
    require_space(drafts[0].parent, total - there, "the new model", hint=_MORE_SPACE)
    count = sum(map(len, tensors))
    done, unsynced = 0, 0
    rounding = dict(worklog.rounding)
    with reporter.step("Writing", total=total >> 20) as step:
        for part, draft, some in zip(model.parts, drafts, tensors, strict=True):
            resume = str(draft) in worklog.started and draft.is_file()
            head = _counted(metadata if part is model.head else part.metadata, count)
            with GgufWriter(
                draft,
                head,
                tensors_like(some),
                big_endian=part.big_endian,
                alignment=part.alignment,
                resume=resume,
            ) as writer:
                worklog.start(str(draft), fresh=not resume)
                finished: dict[str, float | None] = {}
                for tensor in some:
                    step.update(done=done >> 20, detail=tensor.name)
                    done += tensor.nbytes
                    if resume and tensor.name in worklog.done:
                        continue
                    scaling = scalings.get(tensor.name)
                    if scaling is None:
                        writer.write(tensor.name, copied(tensor))
                        finished[tensor.name] = None
                    else:
                        worst = _Worst()
                        writer.write(tensor.name, _scaled(tensor, scaling, worst))
                        finished[tensor.name] = rounding[tensor.name] = worst.relative
                    unsynced += tensor.nbytes
                    if unsynced >= _SYNC_EVERY:
                        writer.sync()
                        worklog.finish(finished)
                        finished, unsynced = {}, 0
                writer.sync()
                worklog.finish(finished)
    try:
        settle_parts(drafts, paths, failure=GgufError)
    except OSError as why:
        raise refused(paths[0], why, failure=GgufError) from why
    return rounding


def _tensors(part: GgufFile, added: tuple[TensorInfo, ...], dropped: tuple[str, ...]) -> list[TensorInfo]:
    kept = [tensor for tensor in part.tensors if tensor.name not in dropped]
    return [*kept, *(tensor for tensor in added if tensor.path == part.path)]


def _counted(metadata: Mapping[str, Value], count: int) -> Mapping[str, Value]:
    """The metadata, with ``count`` as the number of tensors over all parts where one is named."""
    named = metadata.get(_COUNT_KEY)
    if named is None or named.value == count:
        return metadata
    return {**metadata, _COUNT_KEY: make_value(named.type, count, big_endian=named.big_endian)}


class _Worst:
    """The largest rounding error and the largest value seen."""

    def __init__(self) -> None:
        self.error = 0.0
        self.value = 0.0

    @property
    def relative(self) -> float:
        return self.error / self.value if self.value else 0.0


def copied(tensor: TensorInfo) -> Iterator[bytes]:
    """A tensor's bytes as they are, in pieces. Raises :class:`GgufError` where the file became shorter."""
    left = tensor.nbytes
    with tensor.path.open("rb") as file:
        file.seek(tensor.offset)
        while left:
            piece = file.read(min(left, _COPY_PIECE))
            if not piece:
                raise shrunk(tensor.path)
            left -= len(piece)
            yield piece


def _scaled(tensor: TensorInfo, scaling: Scaling, worst: _Worst) -> Iterable[bytes]:
    for first, rows in pieces(tensor):
        if not np.isfinite(rows).all():
            raise GgufError(
                f"{tensor.path}: tensor '{tensor.name}' holds values that are not finite",
                hint="the model is damaged: get it again, or convert the original again",
            )
        wanted = scaling.apply(rows.astype(np.float64), first, tensor)
        lost = ~np.isfinite(wanted)
        if lost.any():  # a factor of 1e-45 has no inverse
            raise GgufError(
                f"{tensor.path}: {lost.sum()} weights of '{tensor.name}' are infinite once they are scaled",
                hint="its factors are damaged: start from the model as it was before it was smoothed",
            )
        stored = encode(wanted, tensor)
        if wanted.size:
            worst.error = max(worst.error, float(np.abs(decode(stored, tensor) - wanted).max()))
            worst.value = max(worst.value, float(np.abs(wanted).max()))
        yield stored
