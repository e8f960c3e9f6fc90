"""Blocks of ggml's types as floats, in numpy.

IQ1 to IQ3 are not here: each of their numbers stands for a group of weights in a table of up to 2048 groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from patcher.model.gguf_format import TENSOR_TYPES, TYPE_NUMBERS
from patcher.model.tensor_data import Array

Bytes: TypeAlias = npt.NDArray[np.uint8]
Integers: TypeAlias = npt.NDArray[Any]

_IQ4 = np.array(
    (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113), np.float32
)  # the levels of the non-linear types
_E2M1 = np.array((0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12), np.float32)  # doubled


def dequantized(raw: Bytes, type_name: str, *, big_endian: bool = False) -> Array:
    """The values [blocks, weights of a block] of blocks' bytes [blocks, bytes of a block].

    Raises ``KeyError`` for a type that :func:`is_readable` denies.
    """
    swapped = raw
    if big_endian and type_name in _FLOATS:
        swapped = np.ascontiguousarray(raw[:, ::-1])
    with np.errstate(invalid="ignore", over="ignore"):  # damaged data are found by who asked
        return _DECODERS[type_name](swapped).astype(np.float32, copy=False)


def is_readable(type_name: str) -> bool:
    """Whether :func:`dequantized` knows the type."""
    return type_name in _DECODERS


def block_of(type_name: str) -> tuple[int, int]:
    """Weights and bytes of a block."""
    return TENSOR_TYPES[TYPE_NUMBERS[type_name]][1:]


def _half(raw: Bytes) -> Array:
    """Two bytes a block -> [blocks, 1]."""
    result: Array = np.ascontiguousarray(raw).view("<f2").astype(np.float32)
    return result


def _nibbles(raw: Bytes) -> Integers:
    """The low halves of all bytes, then the high ones."""
    return np.concatenate([raw & 15, raw >> 4], axis=-1)


def _bit5(raw: Bytes) -> Integers:
    """Four bytes a block -> the 32 fifth bits, as 0 or 16."""
    words = np.ascontiguousarray(raw).view("<u4")
    return ((words >> np.arange(32, dtype=np.uint32)) & 1) << 4


def _float(code: str) -> Callable[[Bytes], Array]:
    return lambda raw: np.ascontiguousarray(raw).view(code).astype(np.float32)


def _bf16(raw: Bytes) -> Array:
    words = np.ascontiguousarray(raw).view("<u2").astype(np.uint32) << 16
    result: Array = words.view(np.float32)
    return result


def _q4_0(raw: Bytes) -> Array:
    return _half(raw[:, :2]) * (_nibbles(raw[:, 2:]).astype(np.float32) - 8)


def _q4_1(raw: Bytes) -> Array:
    return _half(raw[:, :2]) * _nibbles(raw[:, 4:]) + _half(raw[:, 2:4])


def _q5_0(raw: Bytes) -> Array:
    return _half(raw[:, :2]) * ((_nibbles(raw[:, 6:]) | _bit5(raw[:, 2:6])).astype(np.float32) - 16)


def _q5_1(raw: Bytes) -> Array:
    return _half(raw[:, :2]) * (_nibbles(raw[:, 8:]) | _bit5(raw[:, 4:8])) + _half(raw[:, 2:4])


def _q8_0(raw: Bytes) -> Array:
    return _half(raw[:, :2]) * np.ascontiguousarray(raw[:, 2:]).view(np.int8)


def _two_bits(raw: Bytes) -> Integers:
    """64 bytes a block -> 256 values: of each 32 bytes the lowest pairs of bits, then the next."""
    pairs = raw.reshape(-1, 2, 1, 32) >> np.arange(0, 8, 2, dtype=np.uint8).reshape(1, 1, 4, 1)
    return (pairs & 3).reshape(len(raw), 16, 16)


def _q2_k(raw: Bytes) -> Array:
    scales, quants = raw[:, :16, None], _two_bits(raw[:, 16:80])
    top, least = _half(raw[:, 80:82])[..., None], _half(raw[:, 82:84])[..., None]
    return (top * (scales & 15) * quants - least * (scales >> 4)).reshape(len(raw), 256)


def _q3_k(raw: Bytes) -> Array:
    packed = raw[:, 96:108]
    low = np.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], 1)
    high = np.concatenate([(packed[:, 8:] >> shift) & 3 for shift in (0, 2, 4, 6)], 1)
    scales = (low | (high << 4)).astype(np.float32) - 32
    mask = raw[:, None, :32] >> np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    quants = _two_bits(raw[:, 32:96]).astype(np.float32) - 4 * (1 - (mask & 1).reshape(-1, 16, 16))
    scaled: Array = _half(raw[:, 108:110])[..., None] * scales[..., None] * quants
    return scaled.reshape(len(raw), 256)


def _scales_of_k4(raw: Bytes) -> tuple[Integers, Integers]:
    """Twelve bytes a block -> 8 scales and 8 least values of 6 bits."""
    first, second, third = raw[:, :4], raw[:, 4:8], raw[:, 8:]
    scales = np.concatenate([first & 63, (third & 15) | ((first >> 6) << 4)], 1)
    least = np.concatenate([second & 63, (third >> 4) | ((second >> 6) << 4)], 1)
    return scales[..., None], least[..., None]


def _k4(raw: Bytes, quants: Integers) -> Array:
    scales, least = _scales_of_k4(raw[:, 4:16])
    top, bottom = _half(raw[:, :2])[..., None], _half(raw[:, 2:4])[..., None]
    return (top * scales * quants - bottom * least).reshape(len(raw), 256)


def _q4_k(raw: Bytes) -> Array:
    return _k4(raw, _nibbles(raw[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32))


def _q5_k(raw: Bytes) -> Array:
    high = (raw[:, None, 16:48] >> np.arange(8, dtype=np.uint8).reshape(1, 8, 1)) & 1
    return _k4(raw, _nibbles(raw[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32) | (high << 4))


def _q6_k(raw: Bytes) -> Array:
    low = _nibbles(raw[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    pairs = raw[:, 128:192].reshape(-1, 2, 1, 32) >> np.array((0, 2, 4, 6), np.uint8).reshape(1, 1, 4, 1)
    quants = (low | ((pairs & 3) << 4)).astype(np.float32) - 32
    scales = np.ascontiguousarray(raw[:, 192:208]).view(np.int8).astype(np.float32)
    scaled: Array = quants.reshape(-1, 16, 16) * scales[..., None] * _half(raw[:, 208:])[..., None]
    return scaled.reshape(len(raw), 256)


def _iq4_nl(raw: Bytes) -> Array:
    levels: Array = _IQ4[_nibbles(raw[:, 2:])]
    result: Array = _half(raw[:, :2]) * levels
    return result


def _iq4_xs(raw: Bytes) -> Array:
    high = np.ascontiguousarray(raw[:, 2:4]).view("<u2") >> np.arange(0, 16, 2, dtype=np.uint16)
    low = np.stack([raw[:, 4:8] & 15, raw[:, 4:8] >> 4], -1).reshape(-1, 8)
    scales = (low | ((high & 3) << 4)).astype(np.float32) - 32
    levels = _IQ4[_nibbles(raw[:, 8:].reshape(-1, 8, 16))]
    scaled: Array = _half(raw[:, :2])[..., None] * scales[..., None] * levels
    return scaled.reshape(len(raw), 256)


def _mxfp4(raw: Bytes) -> Array:
    result: Array = np.ldexp(np.float32(0.5), raw[:, :1].astype(np.int32) - 127) * _E2M1[_nibbles(raw[:, 1:])]
    return result


def _tq2_0(raw: Bytes) -> Array:
    quants = _two_bits(raw[:, :64]).astype(np.float32) - 1
    scaled: Array = quants * _half(raw[:, 64:])[..., None]
    return scaled.reshape(len(raw), 256)


def _digits(raw: Bytes, count: int) -> Integers:
    """Bytes [blocks, n], each a fraction of 256 in base 3 -> [blocks, count, n]: its first digits, less 1."""
    powers = (3 ** np.arange(count)).astype(np.uint8).reshape(1, -1, 1)
    rest = raw[:, None, :] * powers  # what is above a byte has been read
    result: Integers = ((rest.astype(np.uint16) * 3) >> 8).astype(np.int8) - 1
    return result


def _tq1_0(raw: Bytes) -> Array:
    parts = ((raw[:, :32], 5), (raw[:, 32:48], 5), (raw[:, 48:52], 4))
    digits = [_digits(part, count).reshape(len(raw), -1) for part, count in parts]
    scaled: Array = np.concatenate(digits, 1).astype(np.float32) * _half(raw[:, 52:])
    return scaled


def _q1_0(raw: Bytes) -> Array:
    signs = np.unpackbits(raw[:, 2:], axis=1, bitorder="little").astype(np.float32) * 2 - 1
    result: Array = _half(raw[:, :2]) * signs
    return result


def _q2_0(raw: Bytes) -> Array:
    pairs = (raw[:, 2:, None] >> np.arange(0, 8, 2, dtype=np.uint8)) & 3
    result: Array = _half(raw[:, :2]) * (pairs.reshape(len(raw), -1).astype(np.float32) - 1)
    return result


def _nvfp4(raw: Bytes) -> Array:
    """A scale of 4 bits exponent and 3 bits fraction for 16 weights each; 127 is none."""
    exponent, fraction = (raw[:, :4] >> 3).astype(np.int32) & 15, (raw[:, :4] & 7).astype(np.float32)
    normal = np.ldexp(1 + fraction / 8, exponent - 8)
    scales = np.where(exponent == 0, np.ldexp(fraction, -10), normal)
    scales = np.where(raw[:, :4] == 127, 0, scales).astype(np.float32)
    levels = _E2M1[_nibbles(raw[:, 4:].reshape(-1, 4, 8))]
    scaled: Array = levels * scales[..., None]
    return scaled.reshape(len(raw), 64)


_FLOATS = ("F32", "F16", "BF16", "F64")
_DECODERS: dict[str, Callable[[Bytes], Array]] = {
    "F32": _float("<f4"),
    "F16": _float("<f2"),
    "F64": _float("<f8"),
    "BF16": _bf16,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q8_A8": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "MXFP4": _mxfp4,
    "TQ1_0": _tq1_0,
    "TQ2_0": _tq2_0,
    "NVFP4": _nvfp4,
    "Q1_0": _q1_0,
    "Q2_0": _q2_0,
}
