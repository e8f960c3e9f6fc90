"""ldconfig's files: ``ld.so.cache`` and ``ld.so.conf`` (and musl's list of folders), read without it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from patcher.base import system

CACHE_MAGIC = b"glibc-ld.so.cache1.1"
MAX_CACHE = 1_000_000
MAX_FILE = 64 << 20
MAX_DEPTH = 16
MAX_CONF_FILES = 4096
MAX_PARTS = 64  # of a pattern

Rooted = Callable[[str], Path]


class Cache:
    """ld.so.cache, new format: soname -> files, in the loader's order. Empty for what is malformed.

    Layout (glibc's sysdeps/generic/dl-cache.h): an old cache may come first; then the magic, the number
    of entries, the length of the strings, a byte of flags whose low bits give the byte order (2 little,
    3 big, 0 unknown), and per entry flags, key, value, OS version and hwcap. Offsets of strings count
    from the magic. Names are taken out as they are asked for: a machine has thousands.
    """

    def __init__(self, data: bytes) -> None:
        start = data.find(CACHE_MAGIC)
        self._data = data[start:] if start >= 0 else b""
        self._values: dict[int, list[tuple[int, int]]] = {}  # offset of a name -> entry, offset of its file
        if len(self._data) < 48:
            return
        order = ">" if self._data[28] & 3 == 3 else "<"
        count: int = struct.unpack_from(order + "I", self._data, 20)[0]
        end = 48 + 24 * count
        if count > MAX_CACHE or end > len(self._data):
            return
        last = self._data.rfind(b"\0")
        entries = struct.iter_unpack(order + "iIIIQ", self._data[48:end])
        for number, (_, key, value, _, _) in enumerate(entries):
            if key > last or value > last:
                self._values.clear()
                return
            self._values.setdefault(key, []).append((number, value))

    def __bool__(self) -> bool:
        return bool(self._values)

    def get(self, name: str) -> tuple[str, ...]:
        """The files of a soname, the first the one that the loader takes."""
        wanted = name.encode("utf-8", "surrogateescape") + b"\0"
        found: list[tuple[int, int]] = []
        at = self._data.find(wanted) if self._values else -1
        while at >= 0:  # names may be the ends of other strings, and stand there more than once
            found += self._values.get(at, ())
            at = self._data.find(wanted, at + 1)
        return tuple(self._text(value) for _, value in sorted(found))

    def _text(self, at: int) -> str:
        return self._data[at : self._data.index(b"\0", at)].decode("utf-8", "surrogateescape")


def read_file(path: Path) -> bytes:
    """A regular file's bytes; nothing where there is none, or a FIFO, or more than any such file has."""
    try:
        handle = os.open(path, system.READ)
    except (OSError, ValueError):
        return b""
    with os.fdopen(handle, "rb") as file:
        try:
            data = file.read(MAX_FILE + 1) if path.is_file() else b""
        except OSError:
            return b""
    return data if len(data) <= MAX_FILE else b""


def read_conf(path: Path, rooted: Rooted) -> Iterator[Path]:
    """The folders that an ``ld.so.conf`` in ``/etc`` names, its includes followed (each file once).

    What it includes is looked for by ``rooted``, component by component: no link leads elsewhere.
    """
    yield from _conf(path, "/etc", rooted, set(), 0)


def _conf(path: Path, home: str, rooted: Rooted, seen: set[Path], depth: int) -> Iterator[Path]:
    if "\0" in str(path):  # a circle of links
        return
    real = Path(os.path.realpath(path))
    if real in seen or depth > MAX_DEPTH or len(seen) > MAX_CONF_FILES:
        return
    seen.add(real)
    for line in read_file(path).decode("utf-8", "replace").splitlines():
        words = line.split("#", 1)[0].replace(",", " ").replace(":", " ").split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                # ldconfig reads a relative pattern beside the file that has it
                for name in _matching(pattern if pattern.startswith("/") else f"{home}/{pattern}", rooted):
                    beside = name.rpartition("/")[0] or "/"
                    yield from _conf(rooted(name), beside, rooted, seen, depth + 1)
        elif words[:1] != ["hwcap"]:
            for word in words:
                folder = word.split("=", 1)[0]  # an old "=TYPE" suffix
                if folder.startswith("/"):
                    yield rooted(folder)


def _matching(pattern: str, rooted: Rooted) -> list[str]:
    """The names of the system that a pattern of ldconfig's fits, as glob(3) has it: ``**`` is ``*``."""
    found = [""]
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if not parts or len(parts) > MAX_PARTS or "\0" in pattern:
        return []
    for part in parts:
        if not any(sign in part for sign in "*?["):
            found = [f"{name}/{part}" for name in found]
            continue
        fitting: list[str] = []
        for name in found:
            try:
                inner = sorted(os.listdir(rooted(name or "/")))[:MAX_CONF_FILES]  # noqa: PTH208 - names
            except (OSError, ValueError):  # no folder, or a circle of links
                continue
            fitting += [
                f"{name}/{one}"
                for one in inner
                if fnmatchcase(one, part) and (part.startswith(".") or not one.startswith("."))
            ]
        found = fitting[:MAX_CONF_FILES]
    return found


def read_musl_path(path: Path, rooted: Rooted) -> list[Path]:
    """musl's ``/etc/ld-musl-ARCH.path``: folders by colon or line; its built-in ones where there is none."""
    text = read_file(path).decode("utf-8", "replace")
    names = text.replace("\n", ":").split(":") if text else ["/lib", "/usr/local/lib", "/usr/lib"]
    return [rooted(name) for name in names if name.startswith("/")]
