"""Which files a check is about: those given, and those below the folders given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from patcher.errors import UsageError
from patcher.symbols.elf import ET_DYN, ET_EXEC, ET_REL, ElfObject, UnreadableElfError, is_elf
from patcher.symbols.elf.identity import head
from patcher.symbols.scope import Library

ARCHIVES = (b"!<arch>\n", b"!<thin>\n")


@dataclass
class Inputs:
    """What was given: ``objects`` to check, ``hints`` (.o and .a) to look for definitions in."""

    objects: list[ElfObject] = field(default_factory=list)
    hints: list[Path] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    debug: int = 0  # split-off debug files, which nothing loads


def gather(paths: list[Path], library: Library) -> Inputs:
    """The programs and libraries at or below ``paths``, each once however many links lead to it.

    Raises :class:`UsageError` for a path that isn't there, and for one named outright that is no ELF
    file or no sound one; the same below a folder is a finding. A folder without any is an error too.
    """
    inputs = Inputs(folders=[path.resolve() for path in paths if path.is_dir()])
    seen: set[tuple[int, int]] = set()
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: looked for ELF files, found nothing of that name")
        if path.is_dir():
            for file in _below(path):
                _take(file, library, inputs, seen, named=False)
        elif path.is_file():
            if not _take(path, library, inputs, seen, named=True):
                raise UsageError(f"{path}: looked for an ELF file, found something else")
        else:
            raise UsageError(f"{path}: looked for an ELF file, found a device or a pipe")
    if not inputs.objects and not inputs.unreadable:
        names, others = ", ".join(map(str, paths)), len(inputs.hints) + inputs.debug
        raise UsageError(f"{names}: looked for ELF programs or libraries, found {others} other ELF files")
    return inputs


def _take(file: Path, library: Library, inputs: Inputs, seen: set[tuple[int, int]], *, named: bool) -> bool:
    """Sort one file in; False for what is neither ELF nor an archive."""
    archive = head(file, 8) in ARCHIVES
    if not archive and not is_elf(file):
        return False
    try:
        status = file.stat()
        if (status.st_dev, status.st_ino) in seen:
            return True
        seen.add((status.st_dev, status.st_ino))
        if archive:
            inputs.hints.append(file)
            return True
        item = library.read(file)
    except (UnreadableElfError, OSError) as why:
        if named:
            raise
        inputs.unreadable.append((file, str(why)))
        return True
    if item.debug:
        inputs.debug += 1
    elif item.type in (ET_EXEC, ET_DYN):
        inputs.objects.append(item)
    elif item.type == ET_REL:
        inputs.hints.append(file)
    return True


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file():  # follows links; a circle of them is no file
                yield path
