"""What a link of object files and archives would lack: before there is a file that could be checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from patcher.symbols.elf import ET_DYN, Abi, ElfObject, abi_of
from patcher.symbols.elf.identity import head, identify
from patcher.symbols.findings import SymbolFinding
from patcher.symbols.inputs import ARCHIVES, Inputs
from patcher.symbols.platforms import platform_of
from patcher.symbols.relocatable import Unit, members
from patcher.symbols.scope import Library

# what linkers make themselves, whatever script they follow
_MADE = re.compile(
    rb"_GLOBAL_OFFSET_TABLE_|_DYNAMIC|_PROCEDURE_LINKAGE_TABLE_|__ehdr_start|__executable_start|_?_?(?:end|edata|etext)"
    rb"|__bss_start|__(?:pre)?(?:init|fini)_array_(?:start|end)|__rela?_iplt_(?:start|end)|__dso_handle|__TMC_END__"
    rb"|\.TOC\.|_gp|__global_pointer\$|_TLS_MODULE_BASE_|__GNU_EH_FRAME_HDR"
)
_SECTION = re.compile(rb"__(?:start|stop)_([A-Za-z_]\w*)")
_CPP = (b"_Z", b"__gxx_personality")
_COMPILERS = ("usr/lib/gcc", "usr/lib/gcc-cross", "usr/lib64/gcc")


def lacking(parts: list[Path], inputs: Inputs, library: Library) -> Iterator[SymbolFinding]:
    """What the link of ``parts`` (object files, archives) with the libraries of ``inputs`` would lack.

    The C library and the compiler's own are added as the compiler adds them, libstdc++ where there is
    C++. Where objects are given, archives give only what is asked of them; archives alone count whole.
    """
    every = [unit for path in parts for unit in members(path)]
    abi = next((abi for abi in map(_abi, parts) if abi is not None), None)
    if abi is None:
        return
    units = _linked(every)
    names = {one.name for unit in units for one in unit.symbols}
    added, missing = _system(abi, library, cpp=any(name.startswith(_CPP) for name in names))
    if missing:
        detail = "a link adds it, and it isn't found: what it would define isn't known"
        yield SymbolFinding("library-not-found", missing, str(parts[0]), (parts[0].name,), detail)
        return
    defined = {one.name for unit in units for one in unit.symbols if one.defined and not one.local}
    shared = [*inputs.objects, *added]
    wanted = sorted(
        {
            (one.name, str(unit.path), unit.member)
            for unit in units
            for one in unit.symbols
            if not (one.defined or one.weak or one.name in defined)
        }
    )
    open_names = {name for name, _, _ in wanted if not _served(name, shared) and not _made(name, parts)}
    open_names -= _in_archives(open_names, abi, library)
    if not open_names:
        return
    from patcher.symbols.hints import Hints  # slow to load

    texts = {name.decode("utf-8", "surrogateescape") for name in open_names}
    stands = {str(path): ElfObject(path, abi, ET_DYN, None, True) for path in parts}
    hints = Hints(inputs, texts, library.search, shared)
    hints.parts = [
        (stands[str(unit.path)], one.name.decode("utf-8", "surrogateescape"))
        for unit in every
        for one in unit.symbols
        if one.defined and not one.local
    ]
    for name, path, member in wanted:
        if name in open_names:
            where = f"{Path(path).name}({member})" if member else Path(path).name
            detail = f"{where} uses it; none of these, nor what a compiler links by itself, defines it"
            symbol = name.decode("utf-8", "surrogateescape")
            advice = hints.of_a_link(stands[path], symbol)
            yield SymbolFinding("undefined-symbol", symbol, path, (where,), detail, advice, (path,))


def _abi(path: Path) -> Abi | None:
    if head(path, 8) not in ARCHIVES:
        return abi_of(path)
    with path.open("rb") as file:  # the first member that is an ELF file
        start = file.read(1 << 20)
    at = start.find(b"\x7fELF")
    return identify(start[at : at + 64]) if at >= 0 else None


def _linked(units: list[Unit]) -> list[Unit]:
    """The units that a linker takes: objects, and members of archives that define what is wanted."""
    taken = [unit for unit in units if not unit.member]
    left = [unit for unit in units if unit.member]
    if not taken:
        return units
    defined: set[bytes] = set()
    wanted: set[bytes] = set()
    todo = list(taken)
    while todo:
        for unit in todo:
            defined |= {one.name for one in unit.symbols if one.defined and not one.local}
            wanted |= {one.name for one in unit.symbols if not one.defined and not one.weak}
        asked = wanted - defined
        todo = []
        for unit in left:
            if any(one.defined and not one.local and one.name in asked for one in unit.symbols):
                todo.append(unit)
                asked -= {one.name for one in unit.symbols if one.defined}
        left = [unit for unit in left if unit not in todo]
        taken += todo
    return taken


def _system(abi: Abi, library: Library, *, cpp: bool) -> tuple[list[ElfObject], str]:
    """The shared libraries that a compiler adds; and the name of the C library where it isn't found."""
    asker = ElfObject(Path("/"), abi, ET_DYN, None, True)
    found = []
    for name in ("libc.so.6", "libgcc_s.so.1", *(("libstdc++.so.6", "libm.so.6") if cpp else ())):
        file = library.search.find(name, asker, ())
        if file is not None and not file.why:
            found.append(library.read(file.path))
        elif name == "libc.so.6":
            return [], name
    # the loader is the C library's second half
    loader = [library.search.find(name, asker, ()) for name in found[0].needed]
    return [*found, *(library.read(one.path) for one in loader if one is not None and not one.why)], ""


def _served(name: bytes, shared: list[ElfObject]) -> bool:
    plain = name.partition(b"@")[0]  # .symver
    return any(one.exports.get(plain) is not None for one in shared)


def _made(name: bytes, parts: list[Path]) -> bool:
    if _MADE.fullmatch(name):
        return True
    section = _SECTION.fullmatch(name)
    # a section of that name: it stands in a file's table of section names
    return section is not None and any(b"\0" + section[1] + b"\0" in path.read_bytes() for path in parts)


def _in_archives(names: set[bytes], abi: Abi, library: Library) -> set[bytes]:
    """Which of them the compiler's own archives define: libgcc.a, and the C library's static part."""
    if not names:
        return set()
    root, multiarch = library.search.places.rooted("/"), platform_of(abi).multiarch
    places = [path for top in _COMPILERS for path in sorted(root.glob(f"{top}/*/*/libgcc.a"))]
    folders = (f"usr/lib/{multiarch}", f"usr/{multiarch}/lib", "usr/lib64", "usr/lib")
    places += [root / folder / "libc_nonshared.a" for folder in folders]
    found: set[bytes] = set()
    for path in places:
        if path.is_file() and _abi(path) == abi:
            found |= {one.name for unit in members(path, names) for one in unit.symbols if one.defined}
    return found
