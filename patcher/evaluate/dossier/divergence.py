"""The distributions of a baseline and of a type, compared token by token, as llama-perplexity does it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patcher.programs.logits_stream import Floats

_LEAST = -16.0  # of a log probability of the baseline's that counts, as llama-perplexity has it
_ARRAYS = ("base_loss", "loss", "divergence")


@dataclass(frozen=True)
class Tokens:
    """Every scored token of one text, in its order, as arrays of the shape (chunks, scored).

    Losses are -log of the probability that a model gave to the token that came, ``divergence`` is KL from the
    baseline, all in nats; ``same`` is whether the most likely token is the baseline's.
    """

    base_loss: Floats
    loss: Floats
    divergence: Floats
    same: NDArray[np.bool_]

    @property
    def count(self) -> int:
        return int(self.loss.size)

    def document(self) -> dict[str, Any]:
        """As JSON, for the cache of stages."""
        shape = list(self.loss.shape)
        return {
            "shape": shape,
            **{name: _packed(np.asarray(getattr(self, name), "<f4")) for name in _ARRAYS},
            "same": _packed(self.same.astype(np.uint8)),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Tokens:
        """The inverse of :meth:`document`."""
        shape = tuple(document["shape"])
        arrays = {name: _unpacked(document[name], "<f4").reshape(shape) for name in _ARRAYS}
        same = _unpacked(document["same"], "u1").astype(np.bool_).reshape(shape)
        return cls(arrays["base_loss"], arrays["loss"], arrays["divergence"], same)


@dataclass(frozen=True)
class Baseline:
    """The baseline's side of some rows, made once for all types."""

    logs: Floats
    chances: Floats
    best: NDArray[np.intp]
    loss: Floats


def baseline(logs: Floats, targets: NDArray[np.int32]) -> Baseline:
    """``logs``: log probabilities, of the shape (rows, vocabulary); ``targets``: what came, (rows,)."""
    chances = np.exp(logs)
    chances[logs <= _LEAST] = 0.0
    return Baseline(logs, chances, logs.argmax(axis=1), -logs[np.arange(len(targets)), targets])


def compared(
    base: Baseline, logs: Floats, targets: NDArray[np.int32]
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Loss, KL divergence from the baseline, and whether the most likely token is the same, each (rows,).
    ``logs`` is overwritten."""
    loss = -logs[np.arange(len(targets)), targets]
    same = logs.argmax(axis=1) == base.best
    np.subtract(base.logs, logs, out=logs)
    logs *= base.chances
    return loss, logs.sum(axis=1, dtype=np.float64).astype(np.float32), same


def _packed(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


def _unpacked(text: str, dtype: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype)
