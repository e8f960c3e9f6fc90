"""The description of a model's tensors, found without reading what stands before it.

A vocabulary takes megabytes, and stands between the first bytes and the tensors' names. A head, arrays of
strings and of small numbers and text, looks otherwise than tensors' data: windows spread over the file's
beginning tell about where the head ends, halving the distance tells where exactly. The descriptions stand
there, and have a form of their own: a length, a name, a rank, a shape, a number, a place.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from patcher.model.gguf_format import MAX_DIMS, MAX_NAME
from patcher.model.partial_read import PartialRead, SpentError

WINDOW = 1 << 9  # bytes of one look
STRIDE = 1 << 18  # bytes between the first looks
REACH = 1 << 26  # bytes behind which no head ends that anybody has made
STEP = 1 << 14  # bytes read at once around a hit
_LONGEST = 1 << 12  # bytes of a string in an array
_SMALL = 64  # of numbers that say what a token is
_TEXT = bytes(range(32, 127)) + b"\n\r\t"
_NAME = re.compile(rb"[A-Za-z0-9_.\-]{1,63}")


@dataclass(frozen=True)
class FoundTensor:
    """A tensor as its description has it; ``offset`` from the start of the data."""

    name: str
    dims: tuple[int, ...]
    type: int
    offset: int


def parse(data: bytes, position: int) -> tuple[FoundTensor, int] | None:
    """The description at ``position``, and where it ends; None where none can be."""
    if position + 12 > len(data):
        return None
    (length,) = struct.unpack_from("<Q", data, position)
    start = position + 8
    if not 1 <= length <= MAX_NAME or start + length + 4 > len(data):
        return None
    name = data[start : start + length]
    (rank,) = struct.unpack_from("<I", data, start + length)
    at = start + length + 4
    if _NAME.fullmatch(name) is None or not 1 <= rank <= MAX_DIMS or at + 8 * rank + 12 > len(data):
        return None
    dims = struct.unpack_from(f"<{rank}Q", data, at)
    number, offset = struct.unpack_from("<IQ", data, at + 8 * rank)
    if number >= 1 << 16 or not all(1 <= dim < 1 << 40 for dim in dims) or offset >= 1 << 50:
        return None
    return FoundTensor(name.decode("ascii"), dims, number, offset), at + 8 * rank + 12


def _chain(data: bytes, position: int) -> tuple[list[FoundTensor], int]:
    """Descriptions behind each other from ``position`` on, and where the last one ends."""
    found = []
    while (step := parse(data, position)) is not None:
        tensor, position = step
        found.append(tensor)
    return found, position


def find(source: PartialRead, count: int) -> tuple[list[FoundTensor], int] | None:
    """All ``count`` descriptions and where the last one ends; None where they aren't found."""
    try:
        hit = _hit(source, count)
        return None if hit is None else _around(source, hit, count)
    except SpentError:
        return None


def _hit(source: PartialRead, count: int) -> int | None:
    """Where some descriptions begin, at the end of what looks like a head."""
    reach = min(len(source), REACH)
    inside = [start for start in range(0, reach, STRIDE) if _is_head(_look(source, start))]
    low = max(inside, default=0)
    high = min(low + STRIDE, reach)
    while high - low > WINDOW // 2:
        middle = (low + high) // 2
        low, high = (middle, high) if _is_head(_look(source, middle)) else (low, middle)
    needed, begin = min(2, count), max(0, low - WINDOW)
    data = source.exactly(begin, min(2 * STEP, len(source) - begin))
    for position in range(len(data) - 12):
        if data[position + 1 : position + 8] == bytes(7) and len(_chain(data, position)[0]) >= needed:
            return begin + position
    return None


def _look(source: PartialRead, start: int) -> bytes:
    return source.exactly(start, min(WINDOW, len(source) - start))


def _is_head(window: bytes) -> bool:
    """Whether it looks like an array of strings or small numbers, like text, or like descriptions."""
    if sum(byte in _TEXT for byte in window) > 0.9 * len(window):
        return True
    for shift in range(4):
        words = struct.unpack_from(f"<{(len(window) - shift) // 4}I", window, shift)
        if sum(word < _SMALL for word in words) > 0.95 * len(words):
            return True
        floats = struct.unpack_from(f"<{(len(window) - shift) // 4}f", window, shift)
        if sum(-1e7 < value <= 0 and value == int(value) for value in floats if value == value) > 0.95 * len(
            floats
        ):
            return True
    return any(
        window[start + 2 : start + 8] == bytes(6) and _is_array(window, start)
        for start in range(len(window) // 2)
    )


def _is_array(window: bytes, start: int) -> bool:
    """Whether strings, or descriptions, stand behind each other from ``start`` to the window's end."""
    position, seen = start, 0
    while position + 8 <= len(window):
        if parse(window, position) is not None:
            return True
        (length,) = struct.unpack_from("<Q", window, position)
        if length > _LONGEST or (not length and not seen):
            return False
        position += 8 + length
        seen += 1
    return seen >= 3


def _around(source: PartialRead, hit: int, count: int) -> tuple[list[FoundTensor], int] | None:
    """Forward to the last description, then back until as many as announced stand behind each other."""
    first, data = hit, b""
    while True:  # forward
        piece = source.exactly(first + len(data), min(STEP, len(source) - first - len(data)))
        data += piece
        found, end = _chain(data, 0)
        if end + 512 < len(data) or not piece or len(found) >= count:
            break
    while len(found) < count and first > 0:  # back
        back = min(STEP, first)
        data = source.exactly(first - back, back) + data
        first -= back
        best: tuple[list[FoundTensor], int] = ([], 0)
        for position in range(back + MAX_NAME + 64):
            if data[position + 1 : position + 8] != bytes(7):
                continue
            some = _chain(data, position)
            if len(some[0]) > len(best[0]):
                best = some
            if len(best[0]) >= count:
                break
        if len(best[0]) <= len(found):
            break
        found, end = best
    # what stands before the first may look like one too: only as many as were announced, the last ones
    return (found[-count:], first + end) if len(found) >= count else None
