"""One file, from its bytes to an :class:`ElfObject`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from patcher.symbols.elf import versions
from patcher.symbols.elf.constants import (
    DT_FLAGS,
    DT_FLAGS_1,
    DT_NEEDED,
    DT_RPATH,
    DT_RUNPATH,
    DT_SONAME,
    DT_STRSZ,
    DT_STRTAB,
    DT_SYMTAB,
    DT_VERSYM,
    SHT_NOBITS,
    STB_LOCAL,
    STB_WEAK,
    STT_FILE,
    STT_SECTION,
    STT_TLS,
    VERSYM_HIDDEN,
)
from patcher.symbols.elf.count import symbol_count
from patcher.symbols.elf.gnu_hash import gnu_table
from patcher.symbols.elf.image import MAX_TEXT, Image, Section, UnreadableElfError
from patcher.symbols.elf.objects import ElfObject, Exports, Needed, Reference
from patcher.symbols.elf.table import MAX_STRINGS, SHARED, SPARE_NAMES, Columns

MAX_TAGS = 65_536
MAX_NEEDED = 4096
MAX_PATHS = 65_536  # characters of a whole RPATH or RUNPATH
MAX_LOOKS = 1 << 17  # libraries that are needed times folders that are searched
# st_info -> whether an undefined symbol of that binding and type is a reference to other files
_REFERS = tuple(info >> 4 != STB_LOCAL and info & 15 not in (STT_SECTION, STT_FILE) for info in range(256))


def read(path: Path) -> ElfObject:
    """Read one file. Raises :class:`UnreadableElfError`, never anything else, for what is not sound."""
    try:
        with Image(path) as image:
            return _object(image)
    except UnreadableElfError:
        raise
    except (OSError, ValueError, struct.error, OverflowError, MemoryError) as why:
        raise UnreadableElfError(f"{path}: not a sound ELF file ({why})") from why


def _object(image: Image) -> ElfObject:
    sections = image.sections()
    debug = _is_debug(image, sections)
    if not debug:
        # a copy that was cut off: the loader would die of it, or refuse it
        ends = [offset + size for _, offset, size in image.loads]
        ends += [sum(image.dynamic[:2])] if image.dynamic is not None else []
        if max(ends, default=0) > image.size:
            raise image.fail(f"its segments end at byte {max(ends)}, the file at {image.size}")
    tags = {} if debug else _tags(image)
    if DT_STRTAB not in tags or DT_SYMTAB not in tags:
        if lacking := _NAMED & tags.keys():  # the loader would look them up at address 0
            raise image.fail(f"{len(lacking)} of its dynamic tags have names, and no table of names is there")
        return ElfObject(image.path, image.abi, image.type, image.interpreter, bool(tags), debug)
    if len(tags.get(DT_NEEDED, ())) > MAX_NEEDED:
        raise image.fail(f"it needs {len(tags[DT_NEEDED])} libraries")
    start = image.offset(tags[DT_STRTAB][0])
    length = min(tags.get(DT_STRSZ, [image.size])[0], image.size - start)
    if length > MAX_STRINGS:
        raise image.fail(f"{length} bytes of names")
    strings = image.at(start, length)

    text = _Texts(image, strings).get

    def paths(tag: int) -> tuple[str, ...]:
        value = text(tags[tag][0], MAX_PATHS) if tag in tags else ""
        if any(len(part) > MAX_TEXT for part in value.split(":")):
            raise image.fail(f"a folder with a name of more than {MAX_TEXT} bytes is searched")
        return tuple(value.split(":")) if value else ()  # an empty one counts as none

    rpath, runpath, needed = paths(DT_RPATH), paths(DT_RUNPATH), len(tags.get(DT_NEEDED, ()))
    if needed * (len(rpath) + len(runpath)) > MAX_LOOKS:
        raise image.fail(f"{needed} libraries are looked for in {len(rpath) + len(runpath)} folders")
    defined = versions.defined(image, tags, text)
    wanted, wants = versions.wanted(image, tags, text)
    count = symbol_count(image, tags, sections)
    entry = 24 if image.bits == 64 else 16
    raw = image.at(image.offset(tags[DT_SYMTAB][0]), count * entry)
    table = Columns(raw, image.bits, image.little, strings)
    versyms = None
    if DT_VERSYM in tags:
        packed = image.at(image.offset(tags[DT_VERSYM][0]), 2 * count)
        versyms = struct.unpack(f"{image.order}{count}H", packed)
    return ElfObject(
        image.path,
        image.abi,
        image.type,
        image.interpreter,
        dynamic=True,
        soname=text(tags[DT_SONAME][0]) if DT_SONAME in tags else None,
        needed=tuple(text(value) for value in tags.get(DT_NEEDED, ())),
        rpath=rpath,
        runpath=runpath,
        flags_1=tags.get(DT_FLAGS_1, [0])[0],
        flags=tags.get(DT_FLAGS, [0])[0],
        versioned=versyms is not None,
        versions=frozenset(defined.values()),
        wants=wants,
        exports=Exports(table, versyms, defined, gnu_table(image, tags, count)),
        references=_references(table, versyms, wanted.get),
        symbols=count,
    )


class _Texts:
    """Strings of a table. They may overlap, so what they have together is bounded."""

    def __init__(self, image: Image, strings: bytes) -> None:
        self._image, self._strings = image, strings
        self._known: dict[int, str] = {}
        self._left = SHARED * len(strings) + SPARE_NAMES

    def get(self, at: int, longest: int = MAX_TEXT) -> str:
        """The string at ``at``. Raises :class:`UnreadableElfError` where it has no end, or is too long."""
        if at not in self._known:
            end = self._strings.find(b"\0", at, at + longest + 1)
            if at >= len(self._strings) or end < 0:
                raise self._image.fail(f"string {at} has no end in the string table, or not soon enough")
            self._left -= end - at
            if self._left < 0:
                raise self._image.fail("its names and versions overlap without end")
            self._known[at] = self._strings[at:end].decode("utf-8", "surrogateescape")
        return self._known[at]


# what can't be without a table of names
_NAMED = frozenset((DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH))


def _tags(image: Image) -> dict[int, list[int]]:
    if image.dynamic is None:
        return {}
    tags: dict[int, list[int]] = {}
    offset, length, _ = image.dynamic
    form = image.order + ("QQ" if image.bits == 64 else "II")
    size = struct.calcsize(form)
    length = min(length, MAX_TAGS * size)
    for tag, value in struct.iter_unpack(form, image.at(offset, length - length % size)):
        if tag == 0:
            break
        if tag == DT_NEEDED:
            tags.setdefault(tag, []).append(value)
        else:
            tags[tag] = [value]  # of several, loaders take the last
    return tags


def _is_debug(image: Image, sections: list[Section]) -> bool:
    """Whether the dynamic segment's bytes were left out, as ``objcopy --only-keep-debug`` does."""
    if image.dynamic is None:
        return False
    address = image.dynamic[2]
    return any(one.type == SHT_NOBITS and one.address == address and one.size for one in sections)


def _references(
    table: Columns, versyms: Sequence[int] | None, wanted: Callable[[int], Needed | None]
) -> dict[Reference, bytes]:
    """What it wants, and each name as exports have it; the same twice is wanted once."""
    infos, names, strings, find = table.infos, table.names, table.strings, table.strings.index
    found: dict[Reference, bytes] = {}
    for index in [index for index, section in enumerate(table.sections) if not section]:
        info, at = infos[index], names[index]
        if not at or not _REFERS[info]:
            continue
        key = strings[at : find(b"\0", at)]
        number = versyms[index] if versyms is not None else 1
        weak, hidden, tls = info >> 4 == STB_WEAK, number >= VERSYM_HIDDEN, info & 15 == STT_TLS
        need = wanted(number & 0x7FFF) if number != 1 else None
        version, file = (need.version, need.file) if need is not None else (None, None)
        found[Reference(key.decode("utf-8", "surrogateescape"), weak, version, file, hidden, tls)] = key
    return found
