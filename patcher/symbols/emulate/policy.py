"""Which undefined symbols a linker reports at all, by the options of its line."""

from __future__ import annotations

from typing import NamedTuple

from patcher.symbols.emulate.commandline import UNRESOLVED, LinkLine
from patcher.symbols.emulate.linkers import Linker


class Reported(NamedTuple):
    """Which undefined symbols are reported: those of objects (hidden ones apart) and of libraries."""

    objects: bool
    hidden: bool
    libraries: bool


def reported(line: LinkLine, linker: Linker) -> Reported:
    """What the options come to. bfd and lld go by the last word, gold and mold by what is said for each."""
    unresolved = line.unresolved
    told = unresolved not in ("ignore-all", "ignore-in-object-files")
    if linker.family == "gold":
        said = next((one for one in reversed(line.policy) if one in ("allow", "refuse")), "")
        libraries = said == "refuse" if said else not line.shared
        ours = not line.shared or "defs" in line.policy or unresolved == "report-all"
        return Reported(told and ours, True, libraries)
    if linker.family == "mold":
        defs = next((one for one in reversed(line.policy) if one in ("defs", "undefs")), "") == "defs"
        return Reported(told and (not line.shared or defs), told, not line.shared and told)
    objects = libraries = not line.shared
    for said in line.policy:
        if said in ("allow", "refuse"):
            libraries = said == "refuse"
        elif said in ("defs", "undefs"):
            objects = said == "defs"
        elif said in UNRESOLVED:
            objects = said in ("report-all", "ignore-in-shared-libs")
            libraries = said in ("report-all", "ignore-in-object-files")
    return Reported(objects, True, libraries)
