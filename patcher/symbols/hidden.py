"""Definitions that linkers see and loaders don't: in the ``.symtab`` of whatever was not stripped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from patcher.symbols.relocatable import members


@dataclass(frozen=True)
class Hidden:
    """A definition in a file's full symbol table. ``member`` is its place in an archive."""

    why: str
    exported: bool = False
    member: str = ""
    advice: str = ""  # where it isn't to give it another visibility
    local: bool = False


def hidden_definitions(path: Path, wanted: Mapping[bytes, str]) -> dict[str, Hidden]:
    """Which names the file defines in its full symbol table. Empty for a stripped file."""
    found: dict[str, Hidden] = {}
    for unit in members(path, wanted):
        for symbol in unit.symbols:
            name = wanted[symbol.name]
            if not symbol.defined or name in found:
                continue
            if symbol.local:
                # the linker turns a hidden global into a local one
                why = "it is local: static, in an anonymous namespace, or hidden"
                found[name] = Hidden(why, member=unit.member, local=True)
            elif symbol.hidden:
                found[name] = Hidden("its visibility is hidden", member=unit.member)
            elif unit.relocatable:
                found[name] = Hidden("", exported=True, member=unit.member)
            else:  # a global symbol that the linker kept out of the dynamic table, as it does for programs
                found[name] = Hidden(
                    "doesn't export it",
                    advice=f"link {path.name} with -rdynamic (CMake: ENABLE_EXPORTS), so that it exports it",
                )
    return found
