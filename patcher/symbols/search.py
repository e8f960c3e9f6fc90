"""Where glibc's loader looks for a library (ld.so(8), glibc's elf/dl-load.c), without running it."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from patcher.symbols.elf import DF_1_NODEFLIB, ElfObject, abi_of

EM_386, EM_PPC64, EM_S390, EM_ARM, EM_X86_64, EM_AARCH64, EM_RISCV = 3, 21, 22, 40, 62, 183, 243

# machine, bits -> Debian's multiarch name, $LIB elsewhere, $PLATFORM
_PLATFORMS = {
    (EM_X86_64, 64): ("x86_64-linux-gnu", "lib64", "x86_64"),
    (EM_386, 32): ("i386-linux-gnu", "lib", "i686"),
    (EM_AARCH64, 64): ("aarch64-linux-gnu", "lib64", "aarch64"),
    (EM_ARM, 32): ("arm-linux-gnueabihf", "lib", "v7l"),
    (EM_RISCV, 64): ("riscv64-linux-gnu", "lib64", "riscv64"),
    (EM_PPC64, 64): ("powerpc64le-linux-gnu", "lib64", "ppc64le"),
    (EM_S390, 64): ("s390x-linux-gnu", "lib64", "s390x"),
}
# the best first, as a current machine has them; the baseline folder comes last
_HWCAPS = {EM_X86_64: ("x86-64-v4", "x86-64-v3", "x86-64-v2")}

_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_MAX_CACHE = 1_000_000


@dataclass(frozen=True)
class SearchOptions:
    """What a user says about where libraries are."""

    library_path: tuple[Path, ...] = ()  # as LD_LIBRARY_PATH
    sysroot: Path | None = None

    @classmethod
    def from_environment(
        cls, library_path: tuple[Path, ...] = (), sysroot: Path | None = None
    ) -> SearchOptions:
        """The options and LD_LIBRARY_PATH, which the loader would honour too (not below a sysroot)."""
        inherited = os.environ.get("LD_LIBRARY_PATH", "") if sysroot is None else ""
        folders = [Path(part or ".") for part in inherited.replace(";", ":").split(":")] if inherited else []
        return cls((*library_path, *folders), sysroot)


@dataclass(frozen=True)
class Found:
    """A library's file, and which rule found it."""

    path: Path
    how: str  # path, rpath, library-path, runpath, cache, default


@dataclass
class Search:
    """One search order, its folders and cache read once."""

    options: SearchOptions = field(default_factory=SearchOptions)
    _known: dict[tuple[object, ...], Path | None] = field(default_factory=dict, repr=False)

    def find(self, name: str, requester: ElfObject, loaders: tuple[ElfObject, ...]) -> Found | None:
        """The file that ``requester`` gets for its NEEDED entry ``name``.

        ``loaders`` are the objects that led to the requester, the nearest first and the program last.
        """
        if "/" in name:
            path = Path(name)
            return Found(path, "path") if self._fits(path, requester) else None
        for how, folders in self._order(requester, loaders):
            for folder in folders:
                there = self._in(folder, name, requester)
                if there is not None:
                    return Found(there, how)
            if how == "runpath":
                cached = self._cached(name, requester)
                if cached is not None:
                    return Found(cached, "cache")
        return None

    def _order(
        self, requester: ElfObject, loaders: tuple[ElfObject, ...]
    ) -> Iterator[tuple[str, list[Path]]]:
        if not requester.runpath:
            # RPATH counts for all that an object leads to, unless the object has a RUNPATH itself
            for origin in (requester, *loaders):
                if not origin.runpath:
                    yield "rpath", self.expand(origin.rpath, origin)
        yield "library-path", list(self.options.library_path)
        yield "runpath", self.expand(requester.runpath, requester)
        if not requester.flags_1 & DF_1_NODEFLIB:
            yield "default", self.default_folders(requester)

    def expand(self, entries: tuple[str, ...], origin: ElfObject) -> list[Path]:
        """RPATH or RUNPATH entries as folders, ``$ORIGIN``, ``$LIB`` and ``$PLATFORM`` filled in."""
        multiarch, lib, platform = _PLATFORMS.get((origin.machine, origin.bits), ("", "lib", ""))
        values = {
            "ORIGIN": str(
                origin.path.resolve().parent if origin.executable else origin.path.absolute().parent
            ),
            "LIB": f"lib/{multiarch}" if multiarch and Path("/lib", multiarch).is_dir() else lib,
            "PLATFORM": platform,
        }
        folders = []
        for entry in entries:
            text = entry
            for key, value in values.items():
                text = text.replace("${" + key + "}", value).replace("$" + key, value)
            rooted = self.options.sysroot is not None and text.startswith("/") and "$ORIGIN" not in entry
            folders.append(self._rooted(text) if rooted and "${ORIGIN}" not in entry else Path(text or "."))
        return folders

    def _rooted(self, text: str) -> Path:
        root = self.options.sysroot
        return root / text.lstrip("/") if root is not None else Path(text)

    def _in(self, folder: Path, name: str, requester: ElfObject) -> Path | None:
        key = (folder, name, requester.abi)
        if key not in self._known:
            inner = [folder / "glibc-hwcaps" / level for level in _HWCAPS.get(requester.machine, ())]
            places = [place / name for place in (*inner, folder)]
            self._known[key] = next((path for path in places if self._fits(path, requester)), None)
        return self._known[key]

    def _fits(self, path: Path, requester: ElfObject) -> bool:
        # an object of another class or machine is passed over, and the search goes on
        return path.is_file() and abi_of(path) == requester.abi

    def default_folders(self, requester: ElfObject) -> list[Path]:
        """The folders of ld.so.conf and the loader's own, for the requester's machine."""
        multiarch, lib, _ = _PLATFORMS.get((requester.machine, requester.bits), ("", "lib", ""))
        names = [f"/lib/{multiarch}", f"/usr/lib/{multiarch}"] if multiarch else []
        names += [f"/{lib}", f"/usr/{lib}", "/lib", "/usr/lib"]
        configured = self._configured if self.options.sysroot is not None or not self._cache else []
        return [*configured, *(self._rooted(name) for name in dict.fromkeys(names))]

    @cached_property
    def _configured(self) -> list[Path]:
        return list(self._read_conf(self._rooted("/etc/ld.so.conf"), depth=0))

    def _read_conf(self, path: Path, depth: int) -> Iterator[Path]:
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            text = line.split("#", 1)[0].strip()
            if text.startswith("include") and depth < 8:
                for pattern in text.split()[1:]:
                    root = self._rooted("/") if pattern.startswith("/") else path.parent
                    for inner in sorted(root.glob(pattern.lstrip("/"))):
                        yield from self._read_conf(inner, depth + 1)
            elif text.startswith("/"):
                yield self._rooted(text)

    def _cached(self, name: str, requester: ElfObject) -> Path | None:
        for text in self._cache.get(name, ()):
            path = Path(text)
            if requester.flags_1 & DF_1_NODEFLIB and path.parent in self.default_folders(requester):
                continue
            if self._fits(path, requester):
                return path
        return None

    @cached_property
    def _cache(self) -> dict[str, tuple[str, ...]]:
        if self.options.sysroot is not None:
            return {}  # its cache holds this machine's view of it, if any
        try:
            data = Path("/etc/ld.so.cache").read_bytes()
        except OSError:
            return {}
        return read_cache(data)


def read_cache(data: bytes) -> dict[str, tuple[str, ...]]:
    """ld.so.cache, new format: soname -> files, in the loader's order. Empty for what is malformed.

    Layout (glibc's sysdeps/generic/dl-cache.h): an old cache may come first; then the magic, the number
    of entries, the length of the strings, five words, and per entry flags, key, value, OS version and
    hwcap. Offsets of strings count from the magic.
    """
    start = data.find(_CACHE_MAGIC)
    if start < 0 or len(data) < start + 48:
        return {}
    order = "<" if data[start + 28] & 3 != 1 or data[start + 28] & 3 == 2 else ">"
    count = struct.unpack_from(order + "I", data, start + 20)[0]
    if count > _MAX_CACHE or start + 48 + 24 * count > len(data):
        return {}
    entries: dict[str, list[str]] = {}
    for number in range(count):
        _, key, value, _, _ = struct.unpack_from(order + "iIIIQ", data, start + 48 + 24 * number)
        texts = []
        for at in (start + key, start + value):
            end = data.find(b"\0", at)
            if at >= len(data) or end < 0:
                return {}
            texts.append(data[at:end].decode("utf-8", "surrogateescape"))
        entries.setdefault(texts[0], []).append(texts[1])
    return {name: tuple(paths) for name, paths in entries.items()}
