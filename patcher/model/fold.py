"""Folds of one model: which channels of which tensors are divided and multiplied, and by what.

With s the factors of a fold: producer's output channel j / s_j, each consumer's input channel j * s_j. For
``y = W (g * x + b)`` (norm), ``y = O (A V x)`` (A mixes tokens, not channels) and ``y = D (act(g) * U x)``
that is exact, because each is linear in channel j of the producer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from patcher.base.errors import UsageError
from patcher.model.architecture import FoldRule, ModelArchitecture
from patcher.model.gguf import GgufError, TensorInfo
from patcher.model.model_file import ModelFile
from patcher.model.tensor_data import Array, is_float

HEAD = "output.weight"
Floats: TypeAlias = npt.NDArray[np.floating[Any]]
_LAYER_TENSOR = re.compile(r"blk\.(\d+)\.(.+?)(?:\.(weight|bias))?")


@dataclass(frozen=True)
class Target:
    """A tensor that a fold scales. ``first`` is the first output row (per expert) that factors apply to."""

    tensor: TensorInfo
    first: int = 0


@dataclass(frozen=True)
class Fold:
    """One fold of one layer. Its factors have the shape [experts, channels]."""

    name: str  # blk.N.<rule>, or head
    producer_role: str  # norm, value, product, or head
    experts: int
    channels: int
    producers: tuple[Target, ...]  # the weight, then the bias where there is one
    consumers: tuple[TensorInfo, ...]
    heads: int = 1  # value heads that the channels lie in
    group: int = 1  # heads of the consumer that share one value head

    @property
    def rule(self) -> str:
        """The fold's name without its layer."""
        return self.name.rsplit(".", 1)[-1]

    @property
    def layer(self) -> int | None:
        """The layer that it belongs to, if any."""
        return int(self.name.split(".")[1]) if self.name.startswith("blk.") else None

    @property
    def size(self) -> int:
        """How many factors."""
        return self.experts * self.channels

    def spread(self, factors: Array) -> Array:
        """Factors [experts, channels] as the consumers' input channels have them, [experts, inputs]."""
        if self.group == 1:
            return factors
        shaped = factors.reshape(self.experts, self.heads, -1)
        return np.repeat(shaped, self.group, axis=1).reshape(self.experts, -1)

    def gather(self, values: Array, combine: np.ufunc) -> Array:
        """The reverse: [experts, inputs] to [experts, channels], heads of a group combined."""
        if self.group == 1:
            return values
        shaped = values.reshape(self.experts, self.heads, self.group, -1)
        result: Array = combine.reduce(shaped, axis=2).reshape(self.experts, -1)
        return result


@dataclass(frozen=True)
class Scaling:
    """What one tensor is multiplied by: ``rows`` [experts, outputs] and ``columns`` [experts, inputs]."""

    rows: Array | None = None
    columns: Array | None = None

    def apply(self, values: Floats, first: int, info: TensorInfo) -> Floats:
        """Scale the rows ``first`` and following of the tensor, ``values`` [n, row length]."""
        result = values
        if self.rows is not None:
            flat = self.rows.reshape(-1)
            if is_vector(info):  # a norm's weight or a bias: its elements are the outputs
                start = first * info.row
                return values * flat[start : start + values.size].reshape(values.shape)
            result = result * flat[first : first + len(values), None]
        if self.columns is not None:
            per_expert = info.rows // len(self.columns)
            expert = (first + np.arange(len(values))) // per_expert
            result = result * (self.columns[0] if len(self.columns) == 1 else self.columns[expert])
        return result


def is_vector(info: TensorInfo) -> bool:
    """A bias, or a norm's weight: its elements count as outputs."""
    return info.name.endswith(".bias") or info.name.endswith("_norm.weight")


def find_folds(
    model: ModelFile, architecture: ModelArchitecture, *, head: bool = False, floats: bool = True
) -> tuple[Fold, ...]:
    """Every fold that the model's tensors allow, layer by layer; ``head``: and that of the output matrix.

    ``floats`` False: quantized tensors are taken, for what doesn't read them.

    Raises :class:`UsageError` for a tensor that the architecture doesn't declare, one that is quantized
    already, or a clamp that is switched on; :class:`GgufError` for shapes that contradict each other.
    """
    for key in architecture.zero:
        if model.head.get(f"{model.architecture}.{key}", 0):
            raise UsageError(
                f"{model.path}: '{model.architecture}.{key}' is set: a clamp stands within a fold",
                hint="such a model can't be smoothed: quantize it as it is",
            )
    layers = _check_names(model, architecture)
    folds: list[Fold] = []
    for layer in range(layers):
        there: set[str] = set()
        for rule in architecture.folds:
            fold = _fold(model, rule, layer, floats)
            if fold is not None:
                if fold.name in there:
                    raise GgufError(f"{model.path}: '{fold.name}' has two producers")
                there.add(fold.name)
                folds.append(fold)
    if head:
        folds.append(_head(model, architecture, floats))
    if not folds:
        raise UsageError(
            f"{model.path}: no tensor of a '{model.architecture}' layer found, nothing to smooth",
            hint="name the whole model: this file is a part, a projector or a vocabulary of one",
        )
    return tuple(folds)


def _head(model: ModelFile, architecture: ModelArchitecture, floats: bool) -> Fold:
    """The last norm into the output matrix. Where that is the embeddings, a copy of them becomes it."""
    if model.architecture not in architecture.head:
        raise UsageError(
            f"{model.path}: the head of a '{model.architecture}' model can't be smoothed",
            hint="leave --head out",
        )
    embeddings = model.tensors.get("token_embd.weight")
    copy = replace(embeddings, name=HEAD) if embeddings is not None else None
    output, norm = model.tensors.get(HEAD, copy), model.tensors.get("output_norm.weight")
    wanted = (output, norm) if floats else ()
    if (
        output is None
        or norm is None
        or norm.row != output.row
        or not all(map(is_float, filter(None, wanted)))
    ):
        raise UsageError(
            f"{model.path}: looked for the tensors output.weight and output_norm.weight in F32, F16 or BF16,"
            " at least one is missing or quantized",
            hint="leave --head out",
        )
    bias = model.tensors.get("output_norm.bias")
    targets = (Target(norm), *((Target(bias),) if bias is not None else ()))
    return Fold("head", "norm", 1, norm.row, targets, (output,))


def scalings(folds: Mapping[Fold, Array], *, undo: bool = False) -> dict[str, Scaling]:
    """What each tensor is multiplied by, from each fold's factors [experts, channels]; ``undo``: divided."""
    rows: dict[str, Array] = {}
    columns: dict[str, Array] = {}
    for fold, chosen in folds.items():
        factors = (1 / chosen if undo else chosen).astype(np.float32)
        for target in fold.producers:
            outputs = _outputs(target.tensor, fold.experts)
            by_row = rows.setdefault(target.tensor.name, np.ones((fold.experts, outputs), np.float32))
            by_row[:, target.first : target.first + fold.channels] /= factors
        spread = fold.spread(factors)
        for consumer in fold.consumers:
            by_column = columns.setdefault(consumer.name, np.ones_like(spread))
            by_column *= spread
    return {name: Scaling(rows.get(name), columns.get(name)) for name in {*rows, *columns}}


def _check_names(model: ModelFile, architecture: ModelArchitecture) -> int:
    layers = model.number("block_count")
    if not 1 <= layers <= 100_000:
        raise GgufError(f"{model.path}: looked for 1 to 100000 layers, found {layers} announced")
    for name in model.tensors:
        if not name.startswith("blk."):
            continue
        parts = _LAYER_TENSOR.fullmatch(name)
        if parts is None or parts[2] not in architecture.known or parts[3] is None or int(parts[1]) >= layers:
            raise UsageError(
                f"{model.path}: tensor '{name}' is not declared for architecture '{model.architecture}'",
                hint="where it reads no producer, add it to 'untouched' in patches/architectures.toml;"
                " else to that fold's consumers",
            )
    return layers


def _fold(model: ModelFile, rule: FoldRule, layer: int, floats: bool) -> Fold | None:
    prefix = f"blk.{layer}."
    producer = model.tensors.get(f"{prefix}{rule.producer}.weight")
    consumers = tuple(
        tensor
        for name in rule.consumers
        if (tensor := model.tensors.get(f"{prefix}{name}.weight")) is not None
    )
    if producer is None or not consumers:
        return None
    bias = model.tensors.get(f"{prefix}{rule.producer}.bias")
    for tensor in (producer, *consumers, *((bias,) if bias else ())):
        if floats and not is_float(tensor):
            raise UsageError(
                f"{tensor.path}: tensor '{tensor.name}' is {tensor.type_name}, wanted are F32, F16 or BF16",
                hint="smooth the model before it is quantized",
            )
    inputs = consumers[0].row
    experts = producer.dims[2] if len(producer.dims) > 2 else 1
    heads, group = _heads(model, layer) if rule.producer_role == "value" else (1, 1)
    channels = inputs // group
    outputs = _outputs(producer, experts)
    first = {"": 0, "second-half": outputs // 2, "last-value-heads": outputs - channels}[rule.part]
    targets = [Target(producer, first)]
    if bias is not None:
        targets.append(Target(bias, first))
    elif rule.part == "last-value-heads" and (alone := model.tensors.get(f"{prefix}attn_v.bias")) is not None:
        targets.append(Target(alone))  # fused weights beside biases that are not
    fold = Fold(
        f"{prefix}{rule.id}", rule.producer_role, experts, channels, tuple(targets), consumers, heads, group
    )
    _check_shapes(fold, rule, outputs, first)
    return fold


def _heads(model: ModelFile, layer: int) -> tuple[int, int]:
    """Value heads, and how many heads share each."""
    heads = model.by_layer("attention.head_count", layer)
    values = heads
    if f"{model.architecture}.attention.head_count_kv" in model.head.metadata:
        values = model.by_layer("attention.head_count_kv", layer)
    if not 0 < values <= heads or heads % values:
        raise GgufError(f"{model.path}: layer {layer} has {heads} heads and {values} value heads")
    return values, heads // values


def _outputs(tensor: TensorInfo, experts: int) -> int:
    return tensor.row if len(tensor.dims) == 1 or tensor.name.endswith(".bias") else tensor.rows // experts


def _check_shapes(fold: Fold, rule: FoldRule, outputs: int, first: int) -> None:
    wanted = fold.channels * fold.group
    problems = [
        f"'{tensor.name}' reads {tensor.row} channels"
        for tensor in fold.consumers
        if tensor.row != wanted or (fold.experts > 1 and tensor.dims[2:] != (fold.experts,))
    ]
    exact = {"": outputs == fold.channels, "second-half": outputs == 2 * fold.channels}.get(
        rule.part, first > 0
    )
    if not exact or fold.channels % fold.heads:
        problems.append(f"'{fold.producers[0].tensor.name}' gives {outputs}")
    for target in fold.producers[1:]:
        elements = target.tensor.row * target.tensor.rows
        if elements < fold.experts * (target.first + fold.channels) or elements % fold.experts:
            problems.append(f"'{target.tensor.name}' has {elements} elements")
    if problems:
        path = fold.producers[0].tensor.path
        raise GgufError(f"{path}: {fold.name}: {wanted} channels wanted, but {', '.join(problems)}")
