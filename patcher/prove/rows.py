"""The numbers that a type is tried on: the same ones every time, on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COUNT = 1 << 15  # weights, and as many activations
_SEED = 20
_EXTREMES = np.array(
    [65504.0, -65504.0, 65520.0, 1e30, -1e30, 1e-30, -1e-30, 1e-8, 6e-8, 1.0, -1.0, 0.5, 1.5, 2.0**-24, 0.0],
    dtype=np.float32,
)

Floats = NDArray[np.float32]


def patterns() -> Iterator[tuple[str, Floats, Floats]]:
    """Each pattern of rows: its name, ``(COUNT,)`` weights, ``(COUNT,)`` activations."""
    random = np.random.default_rng(_SEED)

    def normal() -> Floats:
        return random.standard_normal(COUNT).astype(np.float32)

    yield "random", normal(), normal()
    yield "zero", np.zeros(COUNT, np.float32), np.zeros(COUNT, np.float32)
    yield "extreme", _extreme(random), _extreme(random)
    yield "model-like", _weights(random), _activations(random)


def _extreme(random: np.random.Generator) -> Floats:
    """Stretches of 256: one far outlier, one number all over, the ends of f16 and of f32, hardly anything."""
    parts = random.standard_normal((COUNT // 256, 256)).astype(np.float32)
    for number, part in enumerate(parts):
        way = number % 6
        if way == 0:
            part[random.integers(256)] = random.choice([1e4, -1e4])
        elif way == 1:
            part[:] = random.choice(_EXTREMES)
        elif way == 2:
            part[:] = random.choice(_EXTREMES, 256)
        elif way == 3:
            part[:] = part * np.float32(1e-7)
        elif way == 4:
            part[:] = np.sign(part) * np.exp2(np.floor(part * 4))
        else:
            part[: random.integers(256)] = 0
    flat: Floats = parts.reshape(-1)
    return flat


def _weights(random: np.random.Generator) -> Floats:
    """As matrices of models are: heavy tails, and each stretch of 1024 with a size of its own."""
    sizes = np.exp(random.normal(-4, 0.5, COUNT // 1024)).repeat(1024)
    tailed: Floats = (random.standard_t(5, COUNT) * sizes).astype(np.float32)
    return tailed


def _activations(random: np.random.Generator) -> Floats:
    """As what flows through models is: one channel of fifty is larger by far."""
    loud = np.where(random.random(COUNT) < 0.02, 20.0, 1.0)
    flowing: Floats = (random.standard_normal(COUNT) * loud).astype(np.float32)
    return flowing


def write(place: Path, weights: Floats, activations: Floats) -> None:
    """The file that the harness reads, in this machine's order of bytes (all that are proved on have it)."""
    place.write_bytes(weights.tobytes() + activations.tobytes())


def any_bytes() -> tuple[Floats, Floats]:
    """Any bytes at all, to be taken as blocks, and activations."""
    random = np.random.default_rng(_SEED + 1)
    data = np.frombuffer(random.bytes(4 * COUNT), np.float32)
    return data, random.standard_normal(COUNT).astype(np.float32)
