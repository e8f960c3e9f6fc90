"""Weights rounded so that errors cancel: never a worse product, the reference's blocks where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from patcher.model.blockwise import quantized
from patcher.model.rounding import DAMPING, HELD, TOPS, Factor, Known, compensated, factor, nearest, values
from patcher.model.tensor_data import Array

RNG = np.random.default_rng(5)


def correlated(tokens: int, channels: int) -> Array:
    """Inputs that lie near a space of a quarter of the dimensions."""
    basis = RNG.normal(size=(channels // 4, channels))
    made: Array = (RNG.normal(size=(tokens, channels // 4)) @ basis).astype(np.float32)
    return made + RNG.normal(0, 0.1, made.shape).astype(np.float32)


def test_nearest_is_the_blocks_arithmetic() -> None:
    weights = RNG.normal(size=(7, 96)).astype(np.float32)
    weights[3, 32:64] = 0
    assert np.allclose(values(nearest(weights)), quantized(weights), rtol=1e-6, atol=1e-9)
    assert nearest(weights).tobytes()[34 * 10 : 34 * 11] == bytes(34)  # row 3, block 1
    assert nearest(weights).nbytes == 7 * 3 * 34


def test_the_factor_is_that_of_the_inverse() -> None:
    x = correlated(400, 64)
    even = x / np.sqrt(np.square(x).mean(1, keepdims=True))
    h = even.T @ even / len(even)
    h += DAMPING * np.trace(h) / 64 * np.eye(64, dtype=np.float32)
    (upper,) = factor(even).groups
    assert np.abs(np.tril(upper, -1)).max() == 0
    assert np.allclose(upper.T @ upper @ h, np.eye(64), atol=1e-3)


@pytest.mark.parametrize("channels", [32, 96])
def test_products_of_other_tokens_are_nearer(channels: int) -> None:
    x = correlated(1600, channels)
    weights = RNG.normal(size=(40, channels)).astype(np.float32)
    made = compensated(weights, factor(x[:1200]))
    held_out = x[1200:]
    exact = held_out @ weights.T

    def error(rounded: Array) -> float:
        return float(np.square(held_out @ rounded.T - exact).sum())

    assert error(values(made)) < 0.5 * error(values(nearest(weights)))
    # an error that is passed on with the wrong sign makes it worse: the comparison can fail
    wrong = Factor(tuple(2 * np.diag(np.diag(u)) - u for u in factor(x[:1200]).groups))
    assert error(values(compensated(weights, wrong))) > error(values(nearest(weights)))


def test_without_correlation_only_the_scale_is_searched() -> None:
    weights = RNG.normal(size=(64, 64)).astype(np.float32)
    weights[5, :32] = 0
    made = compensated(weights, Factor((np.eye(64, dtype=np.float32),)))
    error, plain = (np.square(values(blocks) - weights).sum() for blocks in (made, nearest(weights)))
    assert error < plain
    assert np.abs(made["values"]).max() <= max(TOPS)
    assert not values(made)[5, :32].any()


def test_weights_on_the_grid_stay_there() -> None:
    """A block that Q8_A8 holds exactly has no error to pass on."""
    blocks = nearest(RNG.normal(size=(9, 64)).astype(np.float32))
    again = compensated(values(blocks), factor(correlated(300, 64)))
    assert np.allclose(values(again), values(blocks), rtol=0, atol=1e-6)


def test_tokens_count_alike_and_some_are_held_out() -> None:
    x = correlated(160, 32)
    large = x * np.where(np.arange(160) % 16 == 3, np.float32(1000), np.float32(1))[:, None]
    one, other = Known(x), Known(large)
    assert len(one.held_out) == 160 // HELD
    assert np.allclose(one.held_out, other.held_out, rtol=1e-5)
    for a, b in zip(one.factor.groups, other.factor.groups, strict=True):
        assert np.allclose(a, b, rtol=1e-3, atol=1e-4)
    assert np.isfinite(Known(np.zeros((16, 32), np.float32)).factor.groups[0]).all()


def test_the_blocks_are_the_nearest_where_tokens_held_out_say_so() -> None:
    weights = RNG.normal(size=(40, 96)).astype(np.float32)
    known = Known(correlated(1600, 96))
    blocks, before, after = known.rounded(weights)
    assert after < 0.5 * before
    assert blocks.tobytes() != nearest(weights).tobytes()
    known.__dict__["factor"] = Factor(
        tuple(2 * np.diag(np.diag(u)) - u for u in known.factor.groups)  # errors passed on with a wrong sign
    )
    blocks, before, after = known.rounded(weights)
    assert after == before > 0
    assert blocks.tobytes() == nearest(weights).tobytes()
