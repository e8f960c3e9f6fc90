"""Q8_A8 weights rounded so that errors cancel in the products with known inputs.

Rounding to nearest makes each weight's error least; what counts is the error of the product x W^T. Where
inputs are correlated, the error of one column can be taken back in the columns behind it. That is GPTQ
(Frantar et al., 2022, arXiv:2210.17323): with H = X^T X of the inputs and U the upper Cholesky factor of
H^-1, column j is rounded, its error divided by U[j,j], and U[j,j+1:] times that taken from the columns that
follow. A block's scale is the one, of a few about max/127, that leaves the least such error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from patcher.model.blockwise import BLOCK
from patcher.model.tensor_data import Array

GROUP = 2048  # columns that errors are passed on within: their factor takes 16 MB
DAMPING = 0.01  # of H's mean diagonal, added to it: what a sample doesn't show isn't relied upon
HELD = 8  # one token of so many is held out
TOPS = (127.0, 126.5, 126.0, 125.5, 125.0, 124.0, 123.0, 122.0)  # the integer that a block's maximum becomes
BLOCK_TYPE = np.dtype([("scale", "<f2"), ("values", "i1", (BLOCK,))])


@dataclass(frozen=True)
class Factor:
    """The Cholesky factors U of H^-1, for each group of columns [g, g]."""

    groups: tuple[Array, ...]

    @property
    def columns(self) -> int:
        """How many inputs."""
        return sum(len(group) for group in self.groups)


class Known:
    """What is known of a product's inputs [t, n]: enough to round by, and some that rounding hasn't seen.

    The latter are ``judges`` [u, n], another text's inputs, or else one token of eight of the same.
    Tokens all count alike, whatever their size. A text's first token is often a thousand times as large as
    the others; by its energy it would be all that counts.
    """

    def __init__(self, inputs: Array, judges: Array | None = None) -> None:
        even = _even(inputs)
        held = np.arange(len(even)) % HELD == HELD - 1 if judges is None else np.zeros(len(even), bool)
        self.held_out: Array = even[held] if judges is None else _even(judges)
        self._seen: Array = even[~held]
        self.columns = inputs.shape[1]

    @cached_property
    def factor(self) -> Factor:
        """Of the tokens that aren't held out."""
        return factor(self._seen)

    def rounded(self, weights: Array) -> tuple[npt.NDArray[np.void], float, float]:
        """The blocks [m, n / 32] of weights [m, n], and the square errors of the products with the tokens
        held out: of rounding to nearest, and of these blocks. They are the nearest where those do better.
        """
        plain, made = nearest(weights), compensated(weights, self.factor)
        before, after = (
            float(np.square(self.held_out @ (values(blocks) - weights).T).sum()) for blocks in (plain, made)
        )
        return (made, before, after) if after < before else (plain, before, before)


def _even(inputs: Array) -> Array:
    """Rows of the same energy."""
    energy = np.square(inputs).mean(1, keepdims=True)
    result: Array = inputs / np.sqrt(np.maximum(energy, np.finfo(np.float32).tiny))
    return result


def factor(even: Array) -> Factor:
    """What inputs [t, n] tell about errors that cancel."""
    groups = []
    for start in range(0, even.shape[1], GROUP):
        x = even[:, start : start + GROUP].astype(np.float64)
        h = x.T @ x / len(x)
        diagonal = np.einsum("jj->j", h)
        diagonal += DAMPING * max(float(diagonal.mean()), np.finfo(np.float32).tiny)
        # with P the reversal of the order: P H P = L L^T, so that U = P L^-1 P is upper and U^T U = H^-1
        lower = np.linalg.cholesky(h[::-1, ::-1])
        groups.append(np.triu(np.linalg.inv(lower)[::-1, ::-1]).astype(np.float32))
    return Factor(tuple(groups))


def nearest(weights: Array) -> npt.NDArray[np.void]:
    """The blocks [m, n / 32] as ``quantize_row_q8_a8_ref`` makes them, to the bit: halves away from zero."""
    rows, columns = weights.shape
    blocks = weights.reshape(rows, columns // BLOCK, BLOCK)
    top = np.abs(blocks).max(-1, keepdims=True)
    scale = top / np.float32(127)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
    made = np.zeros((rows, columns // BLOCK), BLOCK_TYPE)
    made["scale"] = scale[..., 0]
    scaled = (blocks * inverse).astype(np.float64)  # where adding a half is exact
    made["values"] = np.nan_to_num(np.trunc(scaled + np.copysign(0.5, scaled)), posinf=0, neginf=0)
    return made


def compensated(weights: Array, by: Factor) -> npt.NDArray[np.void]:
    """The blocks [m, n / 32] of weights [m, n], n a multiple of 32, with errors passed on within groups."""
    rows, columns = weights.shape
    left = weights.astype(np.float32, copy=True)
    made = np.zeros((rows, columns // BLOCK), BLOCK_TYPE)
    start = 0
    for upper in by.groups:
        end = start + len(upper)
        for first in range(start, end, BLOCK):
            own = slice(first - start, first - start + BLOCK)
            block, errors = _block(left[:, first : first + BLOCK], upper[own, own])
            made[:, first // BLOCK] = block
            left[:, first + BLOCK : end] -= errors @ upper[own, own.stop :]
        start = end
    return made


def values(blocks: npt.NDArray[np.void]) -> Array:
    """What blocks [m, b] stand for, [m, 32 b]."""
    scaled = blocks["values"].astype(np.float32) * blocks["scale"].astype(np.float32)[..., None]
    result: Array = scaled.reshape(len(blocks), -1)
    return result


def _block(weights: Array, upper: Array) -> tuple[npt.NDArray[np.void], Array]:
    """One block of every row [m, 32]: the best of all scales, and its errors [m, 32] to be passed on."""
    rows = len(weights)
    top = np.abs(weights).max(1)
    tried = (top / np.array(TOPS, np.float32)[:, None]).astype(np.float16).astype(np.float32)  # [s, m]
    inverse = np.divide(np.float32(1), tried, out=np.zeros_like(tried), where=tried > 0)
    left = np.repeat(weights.T[None], len(tried), 0)  # [s, 32, m]
    integers = np.empty(left.shape, np.float32)
    errors = np.empty(left.shape, np.float32)
    for j in range(BLOCK):
        integers[:, j] = np.clip(np.rint(left[:, j] * inverse), -127, 127)
        errors[:, j] = (left[:, j] - integers[:, j] * tried) / upper[j, j]
        left[:, j + 1 :] -= upper[j, j + 1 :, None] * errors[:, None, j]
    best = np.square(errors).sum(1).argmin(0)
    everyone = np.arange(rows)
    made = np.zeros(rows, BLOCK_TYPE)
    made["scale"] = tried[best, everyone]
    made["values"] = integers[best, :, everyone]
    return made, errors[best, :, everyone]
