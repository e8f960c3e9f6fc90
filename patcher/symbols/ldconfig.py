"""ldconfig's files: ``ld.so.cache`` and ``ld.so.conf`` (and musl's list of folders), read without it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

CACHE_MAGIC = b"glibc-ld.so.cache1.1"
MAX_CACHE = 1_000_000
MAX_FILE = 64 << 20
MAX_DEPTH = 16
MAX_CONF_FILES = 4096

Rooted = Callable[[str], Path]


def read_cache(data: bytes) -> dict[str, tuple[str, ...]]:
    """ld.so.cache, new format: soname -> files, in the loader's order. Empty for what is malformed.

    Layout (glibc's sysdeps/generic/dl-cache.h): an old cache may come first; then the magic, the number
    of entries, the length of the strings, a byte of flags whose low bits give the byte order (2 little,
    3 big, 0 unknown), and per entry flags, key, value, OS version and hwcap. Offsets of strings count
    from the magic.
    """
    start = data.find(CACHE_MAGIC)
    if start < 0 or len(data) < start + 48:
        return {}
    order = ">" if data[start + 28] & 3 == 3 else "<"
    count = struct.unpack_from(order + "I", data, start + 20)[0]
    if count > MAX_CACHE or start + 48 + 24 * count > len(data):
        return {}
    entries: dict[str, list[str]] = {}
    for number in range(count):
        _, key, value, _, _ = struct.unpack_from(order + "iIIIQ", data, start + 48 + 24 * number)
        texts = []
        for at in (start + key, start + value):
            end = data.find(b"\0", at, at + 4096)
            if at >= len(data) or end < 0:
                return {}
            texts.append(data[at:end].decode("utf-8", "surrogateescape"))
        entries.setdefault(texts[0], []).append(texts[1])
    return {name: tuple(paths) for name, paths in entries.items()}


def read_file(path: Path) -> bytes:
    """A regular file's bytes; nothing where there is none, or a FIFO, or more than any such file has."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return b""
    with os.fdopen(handle, "rb") as file:
        try:
            data = file.read(MAX_FILE + 1) if path.is_file() else b""
        except OSError:
            return b""
    return data if len(data) <= MAX_FILE else b""


def read_conf(path: Path, rooted: Rooted) -> Iterator[Path]:
    """The folders that an ``ld.so.conf`` names, its includes followed (each file once)."""
    yield from _conf(path, rooted, set(), 0)


def _conf(path: Path, rooted: Rooted, seen: set[Path], depth: int) -> Iterator[Path]:
    real = Path(os.path.realpath(path))
    if real in seen or depth > MAX_DEPTH or len(seen) > MAX_CONF_FILES:
        return
    seen.add(real)
    for line in read_file(path).decode("utf-8", "replace").splitlines():
        words = line.split("#", 1)[0].replace(",", " ").replace(":", " ").split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                # ldconfig reads a relative pattern beside the file that has it
                top = rooted("/") if pattern.startswith("/") else path.parent
                for inner in sorted(top.glob(pattern.lstrip("/"))):
                    yield from _conf(inner, rooted, seen, depth + 1)
        elif words[:1] != ["hwcap"]:
            for word in words:
                folder = word.split("=", 1)[0]  # an old "=TYPE" suffix
                if folder.startswith("/"):
                    yield rooted(folder)


def read_musl_path(path: Path, rooted: Rooted) -> list[Path]:
    """musl's ``/etc/ld-musl-ARCH.path``: folders by colon or line; its built-in ones where there is none."""
    text = read_file(path).decode("utf-8", "replace")
    names = text.replace("\n", ":").split(":") if text else ["/lib", "/usr/local/lib", "/usr/lib"]
    return [rooted(name) for name in names if name.startswith("/")]
