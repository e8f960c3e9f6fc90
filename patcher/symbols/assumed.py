"""Libraries that will be there when the program runs, and aren't here: a driver, a vendor's closed part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.symbols.elf import UnreadableElfError, is_elf, read


def assumed(values: Iterable[str]) -> Mapping[str, Path | None]:
    """What ``--assume-library`` says, as ``SearchOptions.assumed`` takes it.

    ``NAME`` is a library whose symbols are unknown, ``NAME=FILE`` one with those of FILE. A file, or every
    library of a folder, stands for its own soname: so does a stub whose file name isn't its soname.
    Raises :class:`UsageError` for a file that isn't there or is no library.
    """
    table: dict[str, Path | None] = {}
    for value in values:
        name, equals, file = value.partition("=")
        place = Path(file if equals else value)
        if equals and name:
            table[name] = _library(place, value)[1]
        elif equals or not value:
            raise UsageError(
                f"--assume-library {value}: looked for NAME, NAME=FILE, a file or a folder",
                hint="write it like libcuda.so.1, libcuda.so.1=FILE, or the path of a stub file or a"
                " folder of them",
            )
        elif place.is_dir():
            stubs = [_library(one, value) for one in sorted(place.iterdir()) if one.is_file() and is_elf(one)]
            if not stubs:
                raise UsageError(
                    f"--assume-library {value}: looked for libraries in the folder, found none",
                    hint="name a folder of .so files for that machine, or the library's name alone",
                )
            table |= dict(stubs)
        elif "/" in value or place.is_file():
            soname, path = _library(place, value)
            table[soname] = path
        else:
            table[value] = None
    return table


def _library(place: Path, value: str) -> tuple[str, Path]:
    if not place.is_file():
        raise UsageError(
            f"--assume-library {value}: looked for a library at {place}, found no file",
            hint="check how the path is spelled, or name the library without a path: its symbols are not"
            " checked then",
        )
    try:
        return read(place).name, place.absolute()
    except UnreadableElfError as why:
        raise UsageError(
            f"--assume-library {value}: looked for a library, found {why.message}",
            hint="name an ELF library, such as the stub that the driver's toolkit brings",
        ) from why
