"""Definitions that exist and can't be seen: in ``.symtab``, local or with hidden visibility."""

from __future__ import annotations

from pathlib import Path

HIDDEN = ("STV_HIDDEN", "STV_INTERNAL")


def hidden_definitions(path: Path, names: set[str]) -> dict[str, str]:
    """Which of ``names`` the file defines without exporting: name -> why. Empty for a stripped file.

    Asked only where something is undefined, so pyelftools' own, slower, symbol table serves.
    """
    from elftools.common.exceptions import ELFError
    from elftools.construct.core import ConstructError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    found: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            table = ELFFile(file).get_section_by_name(".symtab")
            if not isinstance(table, SymbolTableSection):
                return found
            for symbol in table.iter_symbols():
                if symbol.name not in names or symbol["st_shndx"] == "SHN_UNDEF":
                    continue
                if symbol["st_info"]["bind"] == "STB_LOCAL":
                    # the linker turns a hidden global into a local one
                    found[symbol.name] = "it is local: static, in an anonymous namespace, or hidden"
                if symbol["st_other"]["visibility"] in HIDDEN:
                    found[symbol.name] = "its visibility is hidden"
    except (OSError, ELFError, ConstructError, ValueError, UnicodeDecodeError):
        return found  # what can't be read explains nothing; the finding itself stands
    return found
