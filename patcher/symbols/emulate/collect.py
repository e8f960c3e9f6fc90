"""``--gc-sections``: which sections of a link are kept, and so which references count."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from patcher.symbols.elf.constants import EM_MIPS, SHN_UNDEF, SHT_SYMTAB, STB_LOCAL
from patcher.symbols.elf.image import Image, Section, UnreadableElfError
from patcher.symbols.elf.table import Columns
from patcher.symbols.relocatable import Unit

SHT_RELA, SHT_NOTE, SHT_REL, SHT_INIT_ARRAY, SHT_FINI_ARRAY, SHT_PREINIT_ARRAY = 4, 7, 9, 14, 15, 16
SHT_GROUP = 17
SHF_ALLOC, SHF_LINK_ORDER, SHF_GNU_RETAIN = 0x2, 0x80, 0x200000
SHN_XINDEX = 0xFFFF

_KEPT_TYPES = (SHT_NOTE, SHT_INIT_ARRAY, SHT_FINI_ARRAY, SHT_PREINIT_ARRAY)
# what linkers' own scripts put in KEEP
_KEPT_NAMES = (b".init", b".fini", b".ctors", b".dtors", b".jcr", b".preinit_array")

Place = tuple[int, int]  # a unit's number, a section's


@dataclass
class Sections:
    """The sections of one object: what each leads to, by name or (a number) by section."""

    leads: dict[int, list[bytes | int]] = field(default_factory=dict)
    defined: dict[bytes, int] = field(default_factory=dict)  # global name -> section
    kept: list[int] = field(default_factory=list)  # whatever refers to them
    named: dict[bytes, list[int]] = field(default_factory=dict)  # that __start_NAME keeps


@dataclass
class Kept:
    """What is kept of a link's units, by their numbers. One that can't be read isn't here: all is kept."""

    wants: dict[int, set[bytes]]  # the names that it refers to
    defines: set[bytes]

    def wanted(self, unit: int, name: bytes) -> bool:
        """Whether the reference of ``unit`` to ``name`` counts."""
        return unit not in self.wants or name in self.wants[unit]


def collect(
    units: list[Unit], roots: Iterable[bytes], meant: Callable[[int, bytes], bytes] = lambda _, name: name
) -> Kept:
    """Follow references from ``roots``, the symbols that a link keeps by name: its entry, what it exports.

    ``meant`` is given a unit's number and a name that it refers to, and says whose definition that reaches.
    """
    parts = {number: part for number, unit in enumerate(units) if (part := sections(unit)) is not None}
    where: dict[bytes, Place] = {}
    for number, part in parts.items():
        for name, section in part.defined.items():
            where.setdefault(name, (number, section))
    for number, part in parts.items():  # a strong definition goes before a weak one
        strong = {one.name for one in units[number].symbols if one.defined and not one.weak}
        where.update({name: (number, part.defined[name]) for name in part.defined.keys() & strong})
    alive: dict[int, set[bytes]] = {number: set() for number in parts}
    todo: list[Place] = [(number, section) for number, part in parts.items() for section in part.kept]
    todo += [where[name] for name in roots if name in where]
    opaque = [unit for number, unit in enumerate(units) if number not in parts]
    todo += [where[one.name] for unit in opaque for one in unit.symbols if one.name in where]
    seen = set(todo)
    while todo:
        number, section = todo.pop()
        reached: list[Place] = []
        for lead in parts[number].leads.get(section, ()):
            if isinstance(lead, int):
                reached.append((number, lead))
                continue
            alive[number].add(lead)
            target = meant(number, lead)
            if target in where:
                reached.append(where[target])
            elif lead.startswith((b"__start_", b"__stop_")):
                named = lead.partition(b"_start_" if lead.startswith(b"__start_") else b"_stop_")[2]
                reached += [
                    (other, one) for other, part in parts.items() for one in part.named.get(named, ())
                ]
        todo += [place for place in reached if place not in seen]
        seen.update(reached)
    everything = {one.name for unit in opaque for one in unit.symbols if one.defined}
    return Kept(alive, everything | {name for name, place in where.items() if place in seen})


def sections(unit: Unit) -> Sections | None:
    """The sections of an object or a member of an archive; None for what can't be read so."""
    if unit.lto or not unit.relocatable:
        return None
    try:
        with Image(unit.file or unit.path, unit.start, unit.size) as image:
            return _sections(image)
    except (UnreadableElfError, OSError, ValueError, struct.error, OverflowError, MemoryError, IndexError):
        return None


def _sections(image: Image) -> Sections | None:
    headers = image.sections()
    names = image.names(headers)
    at = next((number for number, one in enumerate(headers) if one.type == SHT_SYMTAB), None)
    if at is None:
        return None
    table, strings = headers[at], headers[headers[at].link]
    symbols = Columns(
        image.at(table.offset, table.size),
        image.bits,
        image.little,
        image.at(strings.offset, strings.size),
    )
    if SHN_XINDEX in symbols.sections:
        return None  # more sections than the table has room for: their numbers lie elsewhere
    found = Sections()
    for index in range(1, symbols.count):
        if symbols.infos[index] >> 4 != STB_LOCAL and 0 < symbols.sections[index] < len(headers):
            found.defined[symbols.name(index)] = symbols.sections[index]
    for number, (header, name) in enumerate(zip(headers, names, strict=True)):
        if header.type in (SHT_REL, SHT_RELA) and header.info < len(headers):
            _leads(image, header, symbols, found, unwinding=names[header.info] == b".eh_frame")
        elif header.type == SHT_GROUP:  # one is kept with all others
            raw = image.at(header.offset, header.size)
            inside = struct.unpack(f"{image.order}{len(raw) // 4}I", raw)[1:]
            for first in inside:
                found.leads.setdefault(first, []).extend(inside)
        elif header.flags & SHF_LINK_ORDER:
            found.leads.setdefault(header.link, []).append(number)
        if not header.flags & SHF_ALLOC:
            continue
        plain = name.split(b".")[1:2]
        kept = header.type in _KEPT_TYPES or bool(plain and b"." + plain[0] in _KEPT_NAMES)
        if kept or header.flags & SHF_GNU_RETAIN:
            found.kept.append(number)
        if name.replace(b"_", b"a").isalnum() and not name[:1].isdigit():
            found.named.setdefault(name, []).append(number)
    # debugging information keeps nothing, whatever it refers to
    for number, header in enumerate(headers):
        if not header.flags & SHF_ALLOC:
            found.leads.pop(number, None)
    return found


def _leads(image: Image, header: Section, symbols: Columns, found: Sections, *, unwinding: bool) -> None:
    """What the relocations of one section refer to."""
    places = [(offset, _target(symbols, number)) for offset, number in _relocations(image, header) if number]
    if not unwinding:
        found.leads.setdefault(header.info, []).extend(target for _, target in places)
        return
    # Each function's record leads from the function to its table of exceptions, and keeps nothing itself;
    # the first reference of a record is the function's own.
    sections = image.sections()
    raw = image.at(sections[header.info].offset, sections[header.info].size)
    starts, at = [], 0
    while at + 8 <= len(raw):
        length, identity = struct.unpack_from(f"{image.order}II", raw, at)
        if not 0 < length < 0xFFFFFFF0:
            break
        starts.append((at, at + 4 + length, identity == 0))
        at += 4 + length
    common: list[bytes | int] = []
    for start, end, is_common in starts:
        inside = [target for offset, target in places if start <= offset < end]
        if is_common:
            common += inside
        elif inside and isinstance(inside[0], int):
            found.leads.setdefault(inside[0], []).extend(inside[1:] + common)
        elif inside and inside[0] in found.defined:
            found.leads.setdefault(found.defined[inside[0]], []).extend(inside[1:] + common)


def _target(symbols: Columns, number: int) -> bytes | int:
    local = symbols.infos[number] >> 4 == STB_LOCAL
    return (
        symbols.sections[number] if local and symbols.sections[number] != SHN_UNDEF else symbols.name(number)
    )


def _relocations(image: Image, header: Section) -> Iterator[tuple[int, int]]:
    """(offset, number of the symbol) of each entry of a REL or RELA section."""
    more = header.type == SHT_RELA
    word = "Q" if image.bits == 64 else "I"
    form = image.order + word * (3 if more else 2)
    raw = image.at(header.offset, header.size)
    for row in struct.iter_unpack(form, raw[: len(raw) - len(raw) % struct.calcsize(form)]):
        if image.bits == 32:
            number = row[1] >> 8
        elif image.machine == EM_MIPS and image.little:
            number = row[1] & 0xFFFFFFFF
        else:
            number = row[1] >> 32
        yield row[0], number
