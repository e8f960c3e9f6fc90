"""What ``llama-perplexity --kl-divergence-base FILE`` writes, read while it is written: the file is a pipe.

The head: ``_logits_``, the context, the vocabulary, the number of chunks (int32 each), and the tokens of all
chunks. Then, for each chunk, a row for each token that is scored (the second half of the chunk but its last):
two floats, scale and least, and the log probability of every token of the vocabulary in 16 bits, padded to
an even number: ``scale * bits + least``. What is more than 16 below a row's largest is set to that. So a log
probability is off by half a step at most, 16 / 65535 / 2 = 0.00012, and the most likely token's not at all.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patcher.base.errors import BuildError

MAGIC = b"_logits_"
_PIPE = 1 << 20  # bytes that a pipe holds, where the system lets us say
_MOST = 1 << 31  # of a vocabulary times a context: more is no head

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """What is scored. ``tokens`` has the shape (chunks, context)."""

    context: int
    vocabulary: int
    tokens: NDArray[np.int32]

    @property
    def chunks(self) -> int:
        return len(self.tokens)

    @property
    def scored(self) -> int:
        """Tokens of a chunk that are scored."""
        return self.context - 1 - self.context // 2

    @property
    def targets(self) -> NDArray[np.int32]:
        """The tokens that the rows predict, of the shape (chunks, scored)."""
        return self.tokens[:, self.context // 2 + 1 :]


_OTHER_FORM = (
    "this build writes it in another form: name another with --bin, of a release in docs/compatibility.md"
)


class LogitStream:
    """The reading end of such a pipe. ``name`` says whose it is in messages."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor, self._name = descriptor, name
        _widen(descriptor)
        self._vocabulary = 0

    def head(self) -> Head:
        """Read the head, which comes once the model is loaded and the text is cut into tokens.

        Raises :class:`BuildError` where the pipe ends before, or begins with something else.
        """
        start = self._read(20)
        if start[:8] != MAGIC:
            raise BuildError(
                f"{self._name}: looked for the output of llama-perplexity, found something else",
                hint=_OTHER_FORM,
            )
        context, vocabulary, chunks = struct.unpack("<iii", start[8:])
        if min(context, vocabulary, chunks) < 1 or context * max(vocabulary, chunks) > _MOST:
            raise BuildError(
                f"{self._name}: looked for the output of llama-perplexity, found a context of {context},"
                f" {vocabulary} tokens and {chunks} chunks",
                hint=_OTHER_FORM,
            )
        self._vocabulary = vocabulary
        tokens = np.frombuffer(self._read(4 * context * chunks), "<i4").reshape(chunks, context)
        if tokens.min() < 0 or tokens.max() >= vocabulary:
            raise BuildError(
                f"{self._name}: has a token that isn't in the vocabulary of {vocabulary}", hint=_OTHER_FORM
            )
        return Head(context, vocabulary, tokens)

    def rows(self, count: int) -> Floats:
        """The log probabilities of the next ``count`` scored tokens, of the shape (count, vocabulary).

        Raises :class:`BuildError` where the pipe ends before.
        """
        width = 2 * ((self._vocabulary + 1) // 2) + 4
        raw = np.frombuffer(self._read(2 * width * count), "<u2").reshape(count, width)
        scales = np.ascontiguousarray(raw[:, :4]).view("<f4")
        found = raw[:, 4 : 4 + self._vocabulary].astype(np.float32)
        found *= scales[:, :1]
        found += scales[:, 1:]
        return found

    def close(self) -> None:
        """Read no more: a program that still writes is ended by that."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _read(self, size: int) -> bytearray:
        found = bytearray(size)
        view, at = memoryview(found), 0
        while at < size:
            got = os.readv(self._descriptor, [view[at:]])
            if got == 0:
                raise BuildError(
                    f"{self._name}: its output ended before all of the text was read",
                    hint="look at what llama-perplexity itself says of the model and the text: run it"
                    " alone on both",
                )
            at += got
        return found


def _widen(descriptor: int) -> None:
    import fcntl

    if hasattr(fcntl, "F_SETPIPE_SZ"):  # Linux; what a row takes goes through in few pieces
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE)
