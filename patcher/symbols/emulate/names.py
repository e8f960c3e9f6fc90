"""The names of a link: what is wanted and by whom, what linkers define themselves, what libraries export."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from patcher.symbols.elf import ElfObject
from patcher.symbols.elf.constants import VERSYM_HIDDEN

Key = tuple[str, str | None]  # a name, and the version that is wanted or defined
TLS_CALL = "__tls_get_addr"
# What every linker defines itself (GNU ld's scripts; lld's addReservedSymbols).
OWN = frozenset(
    [
        "_GLOBAL_OFFSET_TABLE_",
        "_DYNAMIC",
        "__bss_start",
        "__bss_start__",
        "_edata",
        "edata",
        "_end",
        "end",
        "__end__",
        "_etext",
        "etext",
        "__executable_start",
        "__ehdr_start",
        "_PROCEDURE_LINKAGE_TABLE_",
        "__GNU_EH_FRAME_HDR",
        "__preinit_array_start",
        "__preinit_array_end",
        "__init_array_start",
        "__init_array_end",
        "__fini_array_start",
        "__fini_array_end",
        "__rela_iplt_start",
        "__rela_iplt_end",
        "__rel_iplt_start",
        "__rel_iplt_end",
        "__dso_handle",
        "_TLS_MODULE_BASE_",
        "__global_pointer$",
        "_SDA_BASE_",
        "__data_start",
        "data_start",
    ]
)


class ObjectUse(NamedTuple):
    """One object's reference: the number of its unit, and the name that it has there."""

    unit: int
    name: bytes
    weak: bool
    hidden: bool


@dataclass
class UndefinedName:
    """One undefined name; ``users`` in their order."""

    hard: bool = False  # any reference, of whatever file, is strong
    objects: list[ObjectUse] = field(default_factory=list)
    users: list[tuple[Path, ElfObject | None]] = field(default_factory=list)
    strong_users: list[tuple[Path, ElfObject | None]] = field(default_factory=list)


def linker_own(name: str) -> bool:
    """Whether linkers define ``name`` themselves."""
    return name in OWN or name.startswith(("__start_", "__stop_"))


class _Defines:
    """The keys of one library's exports, in its table's order, made once.

    Linkers match versions by their name alone.
    """

    def __init__(self) -> None:
        self._known: dict[ElfObject, dict[Key, None]] = {}

    def __call__(self, library: ElfObject) -> dict[Key, None]:
        if library not in self._known:
            self._known[library] = dict.fromkeys(self._keys(library))
        return self._known[library]

    @staticmethod
    def _keys(library: ElfObject) -> Iterable[Key]:
        for raw, numbers in library.exports.names.items():
            name = raw.decode("utf-8", "surrogateescape")
            several = numbers if isinstance(numbers, tuple) else (numbers,)
            for number, one in zip(several, library.exports.of(name), strict=True):
                if not number & VERSYM_HIDDEN:
                    yield (name, None)
                if one.version is not None:
                    yield (name, one.version)


defines = _Defines()
