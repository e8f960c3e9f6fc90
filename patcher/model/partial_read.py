"""A file, here or on the web, read a little at a time and with a limit: to know a model by its head."""

from __future__ import annotations

import http.client
import os
import re
import stat
import urllib.request
from collections.abc import Callable
from pathlib import Path

from patcher.base import system
from patcher.base.errors import SourceError, UsageError
from patcher.base.os_errors import refused

CHUNK = 1 << 15  # bytes read at once, and kept
_SECONDS = 30.0


class SpentError(Exception):
    """More would be read than is allowed."""


class PartialRead:
    """Bytes by position, like an mmap; ``spent`` is how many were read, never more than ``limit``."""

    def __init__(self, name: str, size: int, fetch: Callable[[int, int], bytes], limit: int) -> None:
        self.name, self._size, self._fetch, self.limit = name, size, fetch, limit
        self.spent = 0
        self._chunks: dict[int, bytes] = {}

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        """The bytes of a slice, by way of chunks that are kept. Raises :class:`SpentError`."""
        start, end, _ = part.indices(self._size)
        pieces = []
        for number in range(start // CHUNK, -(-end // CHUNK)):
            first = number * CHUNK
            if number not in self._chunks:
                self._chunks[number] = self.exactly(first, min(CHUNK, self._size - first))
            pieces.append(self._chunks[number][max(0, start - first) : end - first])
        return b"".join(pieces)

    def exactly(self, start: int, count: int) -> bytes:
        """``count`` bytes from ``start`` on and no more, kept by nobody. Raises :class:`SpentError`."""
        kept = self._chunks.get(start // CHUNK, b"")[start % CHUNK :][:count]
        if len(kept) == count:  # was read before
            return kept
        if self.spent + count > self.limit:
            raise SpentError(self.name)
        self.spent += count
        found = self._fetch(start, count)
        if len(found) != count:
            raise UsageError(
                f"{self.name}: looked for {self._size} bytes, found the end at byte {start + len(found)}",
                hint="it was cut off: download the whole file, and name that",
            )
        return found


def of_file(path: Path, limit: int) -> PartialRead:
    """Raises :class:`UsageError` where the file can't be read."""
    try:
        handle = os.open(path, system.READ)
        facts = os.fstat(handle)
    except OSError as why:
        raise refused(path, why, what="read") from why
    if not stat.S_ISREG(facts.st_mode):
        raise UsageError(
            f"{path}: looked for a GGUF file, found something that is no file", hint="name a .gguf file"
        )

    def fetch(start: int, count: int) -> bytes:
        try:
            return system.read_at(handle, count, start)
        except OSError as why:
            raise refused(path, why, what="read") from why

    return PartialRead(str(path), facts.st_size, fetch, limit)


_PART = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)
_DOWNLOAD = "download the whole file, and name that"


def of_url(url: str, limit: int) -> PartialRead:
    """A file behind an https address. Raises :class:`SourceError` where the server gives no parts of it."""

    def ask(start: int, count: int) -> tuple[bytes, str]:
        request = urllib.request.Request(url, headers={"Range": f"bytes={start}-{start + count - 1}"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - https, see below
                if answer.status != 206 or not str(answer.url).startswith("https:"):
                    raise SourceError(
                        f"{url}: the server gives no part of the file, only all of it", hint=_DOWNLOAD
                    )
                part = _PART.fullmatch(str(answer.headers.get("Content-Range") or ""))
                if part is None or (int(part[1]), int(part[2])) != (start, start + count - 1):
                    raise SourceError(
                        f"{url}: asked for bytes {start} to {start + count - 1}, the server gives"
                        f" {part[0] if part else 'a part of which it does not say where it lies'}",
                        hint=_DOWNLOAD,
                    )
                return answer.read(count), part[3]
        except (OSError, ValueError, http.client.HTTPException) as why:
            raise SourceError(
                f"{url}: can't be read ({getattr(why, 'reason', None) or why or type(why).__name__})",
                hint="open the address in a browser: it has to lead to the file itself; or download it,"
                " and name that",
            ) from why

    if not url.startswith("https:"):
        raise UsageError(
            f"{url}: looked for a file or an https address",
            hint="write it as https://HOST/FILE.gguf, or download it and name the file",
        )
    _, total = ask(0, 1)
    if not total.isdecimal():
        raise SourceError(f"{url}: the server doesn't say how long the file is", hint=_DOWNLOAD)
    return PartialRead(url, int(total), lambda start, count: ask(start, count)[0], limit)
