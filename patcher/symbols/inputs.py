"""Which files a check is about: those given, and those below the folders given."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.base.os_errors import reason
from patcher.symbols.elf import ET_DYN, ET_EXEC, ET_REL, ElfObject, UnreadableElfError
from patcher.symbols.elf.constants import MAGIC
from patcher.symbols.elf.identity import head
from patcher.symbols.scope import Library

_EFFECTIVE = os.access in os.supports_effective_ids
ARCHIVES = (b"!<arch>\n", b"!<thin>\n")


class Inputs:
    """What was given: ``objects`` to check, ``hints`` (.o and .a) to look for definitions in."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders  # real paths
        self.objects: list[ElfObject] = []
        self.hints: list[Path] = []
        self.named_parts: list[Path] = []  # of the hints, those that were named outright
        self.unreadable: list[tuple[Path, str]] = []
        self.debug = 0  # split-off debug files, which nothing loads


def gather(paths: list[Path], library: Library) -> Inputs:
    """The programs and libraries at or below ``paths``, each once however many links lead to it.

    Raises :class:`UsageError` for a path that isn't there, and for one named outright that is no ELF
    file or no sound one; the same below a folder is a finding. A folder without any is an error too.
    """
    search = library.search
    if search.places.root is not None:
        paths = [Path(search.places.inside(os.path.normpath(path.absolute()))) for path in paths]
    inputs = Inputs([path.resolve() for path in paths if path.is_dir()])
    seen: set[tuple[int, int]] = set()
    for path in paths:
        if not path.exists():
            raise UsageError(
                f"{path}: looked for ELF files, found nothing of that name",
                hint="check how the path is spelled",
            )
        if path.is_dir():
            for file in _below(path, inputs, library.search.places.inside):
                _take(file, library, inputs, seen, named=False)
        elif path.is_file():
            before = len(inputs.hints)
            taken = _take(str(path), library, inputs, seen, named=True)
            inputs.named_parts += inputs.hints[before:]
            if not taken:
                raise UsageError(
                    f"{path}: looked for an ELF file, found something else",
                    hint=_unpack([path])
                    or "name a Linux program or library (.so), or the folder that they lie in",
                )
        else:
            raise UsageError(
                f"{path}: looked for an ELF file, found a device or a pipe", hint="name a file or a folder"
            )
    if not inputs.objects and not inputs.unreadable and not inputs.hints:
        names, debug = ", ".join(map(str, paths)), inputs.debug
        found = f"{debug} of debug information alone" if debug else "none"
        raise UsageError(
            f"{names}: looked for ELF programs or libraries, found {found}",
            hint=_unpack(paths) or "name the folder that the build wrote them to, such as build/bin",
        )
    return inputs


# what programs travel in, and what takes them out
_PACKED = {
    ".whl": "python3 -m zipfile -e {0} {1}",
    ".zip": "python3 -m zipfile -e {0} {1}",
    ".deb": "dpkg-deb -x {0} {1}",
    ".gz": "mkdir {1} && tar -xf {0} -C {1}",
    ".xz": "mkdir {1} && tar -xf {0} -C {1}",
    ".zst": "mkdir {1} && tar -xf {0} -C {1}",
}


def _unpack(paths: Iterable[Path]) -> str | None:
    """What to do where ELF files are still packed, in wheels say: nothing is unpacked by itself."""
    for path in paths:
        inside = [path] if path.is_file() else sorted(path.iterdir())
        packed = [place for place in inside if place.suffix in _PACKED and place.is_file()]
        if packed:
            folder = packed[0].name.split("-")[0].split(".")[0]
            how = _PACKED[packed[0].suffix].format(shlex.quote(str(packed[0])), shlex.quote(folder))
            many = (
                f"there are {len(packed)} archives" if len(packed) > 1 else f"{packed[0].name} is an archive"
            )
            return f"{many}: unpack, then name the folder: {how}"
    return None


def roots_first(given: list[ElfObject]) -> list[ElfObject]:
    """Programs first, then libraries, those that nobody names before others: what they load is no root."""
    users = Counter(name for item in given for name in item.needed)
    return sorted(given, key=lambda item: (not item.executable, users[item.name]))


def parts_of_a_link(inputs: Inputs) -> list[Path]:
    """The object files and archives whose link is asked about: those that were named, unless programs
    were given, too, which are linked already; or all of them, where there is nothing else."""
    if any(item.executable for item in inputs.objects):
        return []
    return inputs.named_parts or ([] if inputs.objects else inputs.hints)


def _take(file: str, library: Library, inputs: Inputs, seen: set[tuple[int, int]], *, named: bool) -> bool:
    """Sort one file in; False for what is neither ELF nor an archive."""
    start = head(file, 8)
    if not start and not os.access(file, os.R_OK, effective_ids=_EFFECTIVE) and _may_be_elf(file):
        why = f"{file}: can't be opened (Permission denied)"
        if named:
            raise UsageError(why, hint="chmod u+r gives its owner leave to read it; or run as that owner")
        inputs.unreadable.append((Path(file), why))
        return True
    archive = start in ARCHIVES
    if not archive and start[:4] != MAGIC:
        return False
    try:
        status = os.stat(file)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            return True
        seen.add((status.st_dev, status.st_ino))
        if archive:
            inputs.hints.append(Path(file))
            return True
        item = library.read(file)
    except (UnreadableElfError, OSError) as why:
        if named:
            raise
        inputs.unreadable.append((Path(file), str(why)))
        return True
    if item.debug:
        inputs.debug += 1
    elif item.type in (ET_EXEC, ET_DYN):
        inputs.objects.append(item)
    elif item.type == ET_REL:
        inputs.hints.append(Path(file))
    return True


def _may_be_elf(file: str) -> bool:
    """Whether a file that can't be opened looks like a program or a library."""
    status = os.stat(file)  # noqa: PTH116
    return bool(status.st_mode & 0o111) or ".so" in file.rpartition("/")[2]


def _below(folder: Path, inputs: Inputs, inside: Callable[[str], str]) -> Iterator[str]:
    def closed(why: OSError) -> None:
        place = Path(str(why.filename))
        inputs.unreadable.append((place, f"{place}: can't be listed ({reason(why)})"))

    for place, folders, names in os.walk(folder, followlinks=False, onerror=closed):
        folders.sort()
        for name in sorted(names):
            path = inside(os.path.join(place, name))  # noqa: PTH118 - many thousands
            if os.path.isfile(path):  # noqa: PTH113 - follows links; a circle of them is no file
                yield path
