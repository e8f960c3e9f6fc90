"""What a running program says: its two outputs, read by a thread each, so that it never waits for us."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import IO

_LINE = 1 << 16  # bytes without an end of line that are handed on as a line
_PIECE = 1 << 16
_TICK = 0.05
_WAITING = 64  # pieces that may wait to be taken
PENDING = 2 * _WAITING  # more than there can be when a program ends: those, and what its two pipes hold


class Listener:
    """Cuts pieces into lines, each stream's by itself."""

    def __init__(self, on_line: Callable[[str], None] | None, on_text: Callable[[str], None] | None) -> None:
        self._on_line, self._on_text = on_line, on_text
        self._rest = [b"", b""]

    @property
    def is_there(self) -> bool:
        """Whether anybody listens."""
        return self._on_line is not None or self._on_text is not None

    def take(self, which: int, piece: bytes) -> None:
        """Hand on what stream ``which`` (0: stdout, 1: stderr) said."""
        if self._on_text is not None:
            self._on_text(piece.decode("utf-8", "replace"))
        if self._on_line is None:
            return
        *lines, rest = (self._rest[which] + piece).split(b"\n")
        for line in lines:
            self._on_line(line.decode("utf-8", "replace").removesuffix("\r"))
        if len(rest) >= _LINE:
            self._on_line(rest.decode("utf-8", "replace"))
            rest = b""
        self._rest[which] = rest

    def finish(self) -> None:
        """Hand on the last lines, which have no end."""
        for rest in self._rest:
            if rest and self._on_line is not None:
                self._on_line(rest.decode("utf-8", "replace"))
        self._rest = [b"", b""]


class Streams:
    """A program's outputs, of which the last ``keep`` bytes of each are kept (up to twice as many)."""

    def __init__(self, outputs: Sequence[IO[bytes] | None], keep: int, listener: Listener) -> None:
        self._keep, self._listener = keep, listener
        self._parts = [bytearray(), bytearray()]
        self._said = [0, 0]
        self._pieces: queue.Queue[tuple[int, bytes]] = queue.Queue(maxsize=_WAITING)
        self._open = 0
        self._left = threading.Event()  # nobody listens any more
        for which, stream in enumerate(outputs):
            if stream is not None:
                self._open += 1
                threading.Thread(target=self._read, args=(which, stream), daemon=True).start()

    def _read(self, which: int, stream: IO[bytes]) -> None:
        piece = b"first"
        while piece and not self._left.is_set():
            try:
                piece = os.read(stream.fileno(), _PIECE)
            except (OSError, ValueError):  # closed behind our back: it lingered
                piece = b""
            while not self._left.is_set():
                with contextlib.suppress(queue.Full):
                    self._pieces.put((which, piece), timeout=_TICK)
                    break

    @property
    def are_open(self) -> bool:
        """Whether one of them hasn't ended yet."""
        return self._open > 0

    @property
    def most(self) -> int:
        """Bytes that one of them has said, the larger number of the two."""
        return max(self._said)

    def take(self, seconds: float) -> bool:
        """Hand on and keep the next piece, where one comes within ``seconds``; whether one came."""
        try:
            which, piece = self._pieces.get(timeout=seconds)
        except queue.Empty:
            return False
        if not piece:
            self._open -= 1
            return True
        part = self._parts[which]
        part += piece
        self._said[which] += len(piece)
        if len(part) > 2 * self._keep:
            del part[: -self._keep]
        self._listener.take(which, piece)
        return True

    def leave(self) -> None:
        """Read no more."""
        self._left.set()

    def text(self, which: int) -> bytes:
        """What is kept of stdout (0) or stderr (1)."""
        return bytes(self._parts[which])
