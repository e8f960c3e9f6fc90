"""A LoRA adapter for a smoothed model: the same factors folded into its two matrices.

The adapter adds B A to a weight W of the model that it was trained on. Smoothing made R W C of that, with the
producers' factors R on the rows and the consumers' C on the columns; to compute the same, the adapter has to
add R B A C. So B's rows are multiplied by R and A's columns by C, and nothing is lost but rounding.
"""

from __future__ import annotations

import time
from pathlib import Path

from patcher import __version__
from patcher.base.errors import UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.model import architecture, smooth_metadata
from patcher.model.fold import Scaling, find_folds, scalings
from patcher.model.gguf import TensorInfo
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_writer import make_value
from patcher.model.model_file import ModelFile, model_hash, open_model
from patcher.model.rewrite import output_paths, rewrite
from patcher.model.smooth import Smoothed
from patcher.model.tensor_data import is_float
from patcher.model.worklog import Worklog, log_path

A, B = ".lora_a", ".lora_b"

_ITS_MODEL = "name the smoothed form of the model that the adapter was trained on, with --like"


def smooth_adapter(
    path: Path, like: Path, out: Path, *, force: bool = False, reporter: Reporter = SILENT
) -> Smoothed:
    """Write the adapter at ``path``, for the model that the smoothed one at ``like`` was, to ``out``.

    ``like`` may be quantized. Raises :class:`UsageError` where either isn't what it should be, or the two
    don't belong together.
    """
    start = time.monotonic()
    adapter, model = open_model(path), open_model(like)
    _require_adapter(adapter)
    if not smooth_metadata.is_smoothed(model.head):
        raise UsageError(
            f"{like}: looked for 'smoothquant.enabled', found a model that isn't smoothed",
            hint="the adapter fits it as it is",
        )
    if adapter.architecture != model.architecture:
        raise UsageError(
            f"{path}: is for '{adapter.architecture}', {like} is '{model.architecture}'", hint=_ITS_MODEL
        )
    declared = architecture.find(model.architecture, like)
    folds = find_folds(model, declared, head=smooth_metadata.has_head(model.head), floats=False)
    by_weight = scalings(smooth_metadata.factors_of(model.head, folds))
    chosen: dict[str, Scaling] = {}
    for tensor in adapter.tensors.values():
        scaling = _scaling(tensor, model, by_weight)
        if scaling is not None:
            _require_floats(tensor)
            chosen[tensor.name] = scaling
    _require_pairs(adapter, model)
    like_parts = [part.path for part in model.parts]
    paths = output_paths(adapter, out, force=force, beside=like_parts)
    base = smooth_metadata.identity_of(model.head)
    key = smooth_metadata.PREFIX + smooth_metadata.BASE
    big = adapter.head.big_endian
    metadata = {**adapter.head.metadata, key: make_value(ValueType.STRING, base, big_endian=big)}
    identity = {"tool": __version__, "adapter": model_hash(adapter, reporter), "base": base}
    with Worklog(log_path(paths), identity) as worklog:
        rounding = rewrite(adapter, paths, chosen, metadata, worklog, reporter)
        worklog.remove()
    return Smoothed(path, paths, {}, rounding, time.monotonic() - start, adapter=True)


def _require_adapter(adapter: ModelFile) -> None:
    head = adapter.head
    found = head.get("general.type"), head.get("adapter.type")
    if found != ("adapter", "lora"):
        raise UsageError(
            f"{adapter.path}: looked for a LoRA adapter, found general.type = {found[0]!r} and adapter.type ="
            f" {found[1]!r}",
            hint="convert_lora_to_gguf.py makes one of a PEFT adapter",
        )
    if head.get(smooth_metadata.PREFIX + smooth_metadata.BASE) is not None:
        raise UsageError(
            f"{adapter.path}: is folded for a smoothed model already", hint="start from the first"
        )


def _scaling(tensor: TensorInfo, model: ModelFile, by_weight: dict[str, Scaling]) -> Scaling | None:
    """What one of the adapter's tensors is multiplied by; None where it stays. Raises :class:`UsageError`."""
    weight = tensor.name.removesuffix(A).removesuffix(B)
    if weight == tensor.name:
        return None  # llama.cpp takes no others into account
    if weight not in model.tensors:
        raise UsageError(
            f"{tensor.path}: '{tensor.name}' is for a weight that {model.path} hasn't", hint=_ITS_MODEL
        )
    if weight == "token_embd.weight" and smooth_metadata.new_tensors(model.head):
        raise UsageError(
            f"{tensor.path}: changes embeddings that are the output matrix too; in {model.path} that one is"
            " smoothed apart",
            hint="smooth the model without --head",
        )
    scaling = by_weight.get(weight)
    if scaling is None:
        return None
    if tensor.name.endswith(A):
        part, fits = Scaling(columns=scaling.columns), _fits_columns(tensor, scaling)
    else:
        part, fits = Scaling(rows=scaling.rows), scaling.rows is None or tensor.rows == scaling.rows.size
    if not fits:
        raise UsageError(
            f"{tensor.path}: '{tensor.name}' has the shape {tensor.dims}, which doesn't fit '{weight}' of"
            f" {model.path}",
            hint=_ITS_MODEL,
        )
    return part if part.rows is not None or part.columns is not None else None


def _require_floats(tensor: TensorInfo) -> None:
    if not is_float(tensor):
        raise UsageError(
            f"{tensor.path}: '{tensor.name}' is {tensor.type_name}, wanted are F32, F16 or BF16",
            hint="convert the adapter again: convert_lora_to_gguf.py --outtype f16",
        )


def _require_pairs(adapter: ModelFile, model: ModelFile) -> None:
    """Raise :class:`UsageError` for a factor without the other, or two that don't give the weight's shape."""
    for name, tensor in adapter.tensors.items():
        weight = name.removesuffix(A).removesuffix(B)
        if weight == name:
            continue
        a, b = (adapter.tensors.get(weight + suffix) for suffix in (A, B))
        if a is None or b is None:
            raise UsageError(
                f"{tensor.path}: looked for '{weight}{B if b is None else A}' beside '{name}', found none",
                hint="the adapter is damaged: get it again, or convert it again",
            )
        of = model.tensors[weight].dims
        ranks = (a.dims[1:2], b.dims[:1])
        # of embeddings the two stand the other way round: their rows are looked up
        if weight != "token_embd.weight" and (ranks[0] != ranks[1] or (a.dims[0], *b.dims[1:2]) != of[:2]):
            raise UsageError(
                f"{tensor.path}: '{weight}{A}' {a.dims} and '{weight}{B}' {b.dims} don't make the shape"
                f" {of} of '{weight}' in {model.path}",
                hint=_ITS_MODEL,
            )


def _fits_columns(tensor: TensorInfo, scaling: Scaling) -> bool:
    if scaling.columns is None:
        return True
    experts, inputs = scaling.columns.shape
    return tensor.row == inputs and (experts == 1 or tensor.dims[2:] == (experts,))
