"""Is a model the other one in another type? Told by the data: both are dequantized and compared.

Small tensors are compared whole, large ones by blocks spread over all of them. How far a value may be off
follows from its type: half a step where a type rounds to nearest, else what such a type leaves of the energy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from patcher.base.errors import BuildError
from patcher.base.progress import SILENT, Reporter
from patcher.model.dequantize import Bytes, block_of, dequantized, is_readable
from patcher.model.gguf import TensorInfo
from patcher.model.model_file import ModelFile
from patcher.model.tensor_data import Array

Picks: TypeAlias = npt.NDArray[np.int64]

WHOLE = 1 << 18  # weights: of a tensor with at most so many, all are compared
BLOCKS = 1024  # of 256 weights, of larger ones
_PIECE = 1 << 22  # weights read at once
UNIT = 256  # weights compared at once; the longest block
HALF_MAX = 65504.0  # the largest half float
SLACK = 1e-5  # what a value may always be off: scales are half floats, which end at 6e-8
# relative to the value, where a type rounds each alone
_RELATIVE = {"F32": 1e-6, "F64": 1e-6, "F16": 2.0**-10, "BF16": 2.0**-7}
# relative to a block's largest value
_STEPS = {"Q8_0": 0.58 / 127, "Q8_A8": 0.58 / 127}
# of the energy's root, over a tensor: what the type leaves of Gaussian weights, with room for an imatrix
_ENERGY = {
    "Q6_K": 0.08, "Q5_0": 0.12, "Q5_1": 0.12, "Q5_K": 0.12, "Q4_0": 0.25, "Q4_1": 0.25, "Q4_K": 0.25,
    "IQ4_NL": 0.25, "IQ4_XS": 0.25, "MXFP4": 0.35, "NVFP4": 0.35, "Q3_K": 0.45, "Q2_K": 0.75,
    "Q1_0": 0.8, "Q2_0": 0.9, "TQ1_0": 0.95, "TQ2_0": 0.95,
}  # fmt: skip
_LIMIT_OF_A_UNIT = 0.97  # zeros, or another tensor's data, are off by 1 or more


class UnlikeError(BuildError):
    """What was made isn't the model that it was made from (exit 5)."""

    remedy = "make it again, with another build: this one writes what isn't the model"


@dataclass
class ComparedTensors:
    """How many tensors and weights were looked at, and the types whose data nobody here can read."""

    tensors: int = 0
    weights: int = 0
    unread: dict[str, int] = field(default_factory=dict)  # type -> tensors


def compare(before: ModelFile, after: ModelFile, reporter: Reporter = SILENT) -> ComparedTensors:
    """Compare each tensor of ``after`` with that of ``before``.

    Raises :class:`UnlikeError` that names the first tensor that is another, and :class:`GgufError` where one
    can't be read. A tensor that ``before`` hasn't is left out.
    """
    done = ComparedTensors()
    with reporter.step("Comparing the data", total=len(after.tensors)) as step:
        for number, made in enumerate(after.tensors.values()):
            step.update(done=number, detail=made.name)
            source = before.tensors.get(made.name)
            if source is None:
                continue
            if source.dims != made.dims:
                raise UnlikeError(f"tensor '{made.name}' has the shape {made.dims}, had {source.dims}")
            unread = [name for name in _type_names(source, made) if not is_readable(name)]
            if unread and source.type != made.type:
                done.unread[unread[0]] = done.unread.get(unread[0], 0) + 1
                continue
            done.tensors += 1
            done.weights += _compare(source, made)
    return done


def find_unfit(model: ModelFile, type_name: str) -> str:
    """What of ``model`` no quantization takes, or ``type_name`` can't hold: tensor and value; else nothing.

    Reads all of it, for the reason of a failure.
    """
    for tensor in model.tensors.values():
        if not is_readable(tensor.type_name):
            continue
        unit = block_of(tensor.type_name)[0]
        count = tensor.row * tensor.rows // unit
        for first in range(0, count, _PIECE // unit):
            found = _floats(tensor, unit, np.arange(first, min(count, first + _PIECE // unit)))
            bad = ~np.isfinite(found)
            if bad.any():
                at = first * unit + int(bad.argmax())
                value = float(found.reshape(-1)[int(bad.argmax())])
                return f"tensor '{tensor.name}' holds {value} at weight {at}: the model is damaged"
            top = float(np.abs(found).max(initial=0.0))
            if type_name == "F16" and len(tensor.dims) > 1 and top > HALF_MAX:
                return f"tensor '{tensor.name}' holds {top:.6g}, F16 ends at {HALF_MAX:.0f}"
    return ""


def _type_names(*tensors: TensorInfo) -> list[str]:
    return [tensor.type_name for tensor in tensors]


def _compare(source: TensorInfo, made: TensorInfo) -> int:
    """How many weights were compared."""
    count = source.row * source.rows
    if source.type == made.type:  # copied: the bytes are the same
        unit = block_of(made.type_name)[0]
        picks = _picks(count // unit, BLOCKS * UNIT // unit)
        different = (_raw(source, unit, picks) != _raw(made, unit, picks)).any(1)
        if different.any():
            raise _unlike(made, "its bytes are not those of the model", int(picks[different.argmax()]) * unit)
        return len(picks) * unit
    unit = (
        UNIT if not count % UNIT else max(block_of(type_name)[0] for type_name in _type_names(source, made))
    )
    picks = _picks(count // unit, BLOCKS)
    wanted, found = (_floats(tensor, unit, picks) for tensor in (source, made))
    _require_close(made, wanted, found, picks * unit)
    return int(wanted.size)


def _picks(units: int, most: int) -> Picks:
    """Which units are looked at: all of few, else as many as ``most`` evenly spread, the ends among them."""
    if units <= max(most, 1):
        return np.arange(units)
    return np.unique(np.linspace(0, units - 1, most).astype(np.int64))


def _raw(tensor: TensorInfo, unit: int, picks: Picks) -> Bytes:
    """The bytes [picks, bytes of a unit]."""
    weights, size = block_of(tensor.type_name)
    length = unit // weights * size
    mapped = np.memmap(tensor.path, np.uint8, "r", tensor.offset, (tensor.nbytes // length, length))
    return np.asarray(mapped[picks])


def _floats(tensor: TensorInfo, unit: int, picks: Picks) -> Array:
    """The values [picks, unit]."""
    size = block_of(tensor.type_name)[1]
    raw = _raw(tensor, unit, picks).reshape(-1, size)
    return dequantized(raw, tensor.type_name, big_endian=tensor.big_endian).reshape(-1, unit)


def _require_close(made: TensorInfo, wanted: Array, found: Array, at: Picks) -> None:
    """Raise :class:`UnlikeError` where ``found`` can't be ``wanted`` in the type of ``made``."""
    type_name = made.type_name
    lost = np.isfinite(wanted) & ~np.isfinite(found)
    if lost.any():
        unit, place = np.unravel_index(int(lost.argmax()), lost.shape)
        value = float(wanted[unit, place])
        if abs(value) <= HALF_MAX:
            raise _unlike(made, f"{float(found[unit, place])} stands for {value:.6g}", int(at[unit]))
        raise UnlikeError(
            f"tensor '{made.name}' holds {value:.6g}, which is too large for {type_name}",
            hint="use BF16 or F32, which hold it; 'evaluate' takes --baseline BF16"
            if type_name == "F16"
            else None,
        )
    wanted, found = np.nan_to_num(wanted), np.nan_to_num(found)
    error = np.abs(found - wanted)
    if type_name in _RELATIVE or type_name in _STEPS:
        if type_name in _RELATIVE:
            allowed = np.abs(wanted) * _RELATIVE[type_name]
        else:
            block = block_of(type_name)[0]
            top = np.abs(wanted).reshape(len(wanted), -1, block).max(-1, keepdims=True)
            allowed = np.repeat(top * _STEPS[type_name], block, -1).reshape(wanted.shape)
        wrong = error > allowed + SLACK
        if wrong.any():
            unit, place = np.unravel_index(int(wrong.argmax()), wrong.shape)
            was, is_now = float(wanted[unit, place]), float(found[unit, place])
            raise _unlike(
                made, f"{is_now:.6g} stands for {was:.6g}, further off than {type_name} rounds", int(at[unit])
            )
        return
    if type_name not in _ENERGY:
        return
    energy, off = np.square(wanted).sum(1), np.square(error).sum(1)
    slack = wanted.shape[1] * SLACK**2
    far = off > _LIMIT_OF_A_UNIT**2 * energy + slack
    if far.any():
        raise _unlike(made, "its data are not those of the model", int(at[int(far.argmax())]))
    if float(off.sum()) > _ENERGY[type_name] ** 2 * float(energy.sum()) + len(wanted) * slack:
        share = float(np.sqrt(off.sum() / energy.sum()))
        raise _unlike(
            made, f"its data are off by {share:.0%}, {type_name} rounds to {_ENERGY[type_name]:.0%}", 0
        )


def _unlike(made: TensorInfo, why: str, weight: int) -> UnlikeError:
    return UnlikeError(f"tensor '{made.name}' ({made.type_name}) is wrong from weight {weight} on: {why}")
