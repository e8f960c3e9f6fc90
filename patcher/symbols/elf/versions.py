"""Symbol versions: what a file defines and what it wants (LSB, "Symbol Versioning")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from patcher.symbols.elf.constants import (
    DT_VERDEF,
    DT_VERDEFNUM,
    DT_VERNEED,
    DT_VERNEEDNUM,
    VER_FLG_BASE,
    VER_FLG_WEAK,
)
from patcher.symbols.elf.image import Image
from patcher.symbols.elf.objects import Needed

MAX_VERSIONS = 65_536
Text = Callable[[int], str]


def defined(image: Image, tags: Mapping[int, list[int]], text: Text) -> dict[int, str]:
    """Number -> version, of the versions that the file defines. The base, its own name, is none."""
    names: dict[int, str] = {}
    for at in _chain(image, tags, DT_VERDEF, DT_VERDEFNUM, "HHHHIII", 6):
        _, flags, index, _, _, aux, _ = image.unpack("HHHHIII", at)
        if not flags & VER_FLG_BASE:
            names[index & 0x7FFF] = text(image.unpack("I", at + aux)[0])
    return names


def wanted(
    image: Image, tags: Mapping[int, list[int]], text: Text
) -> tuple[dict[int, Needed], tuple[Needed, ...]]:
    """Number -> version, of the versions that the file wants; and all of them in the file's order."""
    numbers: dict[int, Needed] = {}
    wants: list[Needed] = []
    for at in _chain(image, tags, DT_VERNEED, DT_VERNEEDNUM, "HHIII", 4):
        _, count, file, aux, _ = image.unpack("HHIII", at)
        place, library = at + aux, text(file)
        for _ in range(count):
            _, flags, index, name, following = image.unpack("IHHII", place)
            need = Needed(library, text(name), bool(flags & VER_FLG_WEAK))
            wants.append(need)
            numbers[index & 0x7FFF] = need
            if len(wants) > MAX_VERSIONS:
                raise image.fail("more versions than there can be")
            if not following:
                break
            place += following
    return numbers, tuple(wants)


def _chain(
    image: Image, tags: Mapping[int, list[int]], tag: int, count: int, form: str, link: int
) -> Iterator[int]:
    """Offsets of the entries of a linked table; field ``link`` leads to the next, always forwards."""
    if tag not in tags:
        return
    at = image.offset(tags[tag][0])
    for _ in range(min(tags.get(count, [MAX_VERSIONS])[0], MAX_VERSIONS)):
        following = image.unpack(form, at)[link]
        yield at
        if not following:
            return
        at += following
