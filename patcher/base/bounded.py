"""Files read and unpacked up to a length that is said beforehand: what a file claims costs no memory."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

from patcher.base import system

MAX_SOURCE = 8 << 20  # bytes of one file that is parsed; upstream's longest has not yet one million
MAX_FILE = 24 << 20  # bytes of one that is only carried from release to release; the longest has 16 million


class TooLongError(ValueError):
    """There is more than was to be expected; the message says so without the file's name."""


def regular_file(path: Path | str, limit: int) -> bytes:
    """The bytes of a regular file, ``limit`` at most.

    A FIFO or a device is not waited for. Raises ``OSError``, and :class:`TooLongError` for what is longer.
    """
    return opened(os.open(path, system.READ), limit)


def opened(handle: int, limit: int) -> bytes:
    """The same of a file that is open as ``handle``, which is closed then."""
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise TooLongError("it is no regular file")
        if status.st_size > limit:  # a sparse file may have any size and takes no room on the disk
            raise TooLongError(f"it has {status.st_size} bytes, {limit} at most are read")
        data = file.read(limit + 1)
    if len(data) > limit:  # it grew
        raise TooLongError(f"it has more than {limit} bytes")
    return data


def inflated(data: bytes, limit: int) -> bytes:
    """zlib's ``data`` unpacked, ``limit`` bytes at most: a kilobyte of it may stand for a megabyte.

    Raises ``zlib.error`` for what is damaged or cut off, and :class:`TooLongError` for what is longer.
    """
    reader = zlib.decompressobj()
    out = reader.decompress(data, limit + 1)
    if len(out) > limit:
        raise TooLongError(f"unpacked it has more than {limit} bytes")
    if not reader.eof:
        raise zlib.error("it is cut off")
    return out
