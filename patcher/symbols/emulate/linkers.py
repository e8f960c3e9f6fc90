"""How the linkers differ over undefined symbols: data, one row per family and range of versions.

Every column was measured by the cases in ``tests/link_cases.py`` on GNU ld 2.40, gold 1.16, lld 14, 15,
16, 19 and 22 and mold 1.10. mold's row for 2.33 and newer comes from its release notes and measurements
on 2.42.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cache

from patcher.base import processes
from patcher.base.environment import asked
from patcher.base.errors import UsageError


class Libraries(Enum):
    """Which shared libraries on the line are asked for what they lack."""

    RECURSIVE = "every one, and what they need, searched for as the loader would"
    KNOWN = "those whose NEEDED are all on the line"
    ALL_KNOWN = "every one, if all NEEDED of all are on the line; else none"
    NONE = "none"


@dataclass(frozen=True)
class Linker:
    """One family from one version on."""

    family: str
    since: tuple[int, int]
    libraries: Libraries
    archives_in_order: bool = False  # a member serves only what was wanted before it on the line
    drops_unneeded: bool = False  # an --as-needed library that serves nothing yet is as if it weren't there
    first_referrer_counts: bool = False  # only the object that wants a symbol first is asked (gold)
    weak_stays_weak: bool = False  # a library's strong reference doesn't harden an earlier weak one
    reports_unexported: bool = False  # what the output defines and doesn't export is nothing for libraries
    follows_unresolved: bool = False  # --unresolved-symbols is meant for libraries too
    goes_on: bool = False  # after a library that isn't found, to say what else is missing
    wraps_libraries: bool = False  # --wrap is for what libraries want, too
    asking_is_enough: bool = False  # a symbol of --undefined is missed by nobody
    unknown_options: tuple[str, ...] = ()  # that it refuses and others know

    @property
    def name(self) -> str:
        """What messages call it."""
        return {"bfd": "ld.bfd", "gold": "ld.gold", "lld": "ld.lld", "mold": "mold"}[self.family]


_COPY = ("--copy-dt-needed-entries", "--add-needed")

LINKERS = (
    Linker(
        "bfd", (0, 0), Libraries.RECURSIVE,
        archives_in_order=True, drops_unneeded=True, reports_unexported=True, follows_unresolved=True,
        wraps_libraries=True, asking_is_enough=True,
    ),
    Linker(
        "gold", (0, 0), Libraries.KNOWN,
        archives_in_order=True, first_referrer_counts=True, weak_stays_weak=True, goes_on=True,
        wraps_libraries=True,
    ),
    Linker(
        "lld", (0, 0), Libraries.KNOWN,
        weak_stays_weak=True, follows_unresolved=True, unknown_options=_COPY,
    ),
    # "non-exported symbol is referenced by DSO"
    Linker(
        "lld", (18, 0), Libraries.KNOWN,
        weak_stays_weak=True, follows_unresolved=True, reports_unexported=True, unknown_options=_COPY,
    ),
    # --no-allow-shlib-undefined is taken and ignored
    Linker(
        "mold", (0, 0), Libraries.NONE,
        weak_stays_weak=True, follows_unresolved=True, unknown_options=_COPY,
    ),
    Linker(
        "mold", (2, 33), Libraries.ALL_KNOWN,
        weak_stays_weak=True, follows_unresolved=True, reports_unexported=True, unknown_options=_COPY,
    ),
)  # fmt: skip

_PROGRAMS = {"bfd": "ld.bfd", "gold": "ld.gold", "lld": "ld.lld", "mold": "mold"}
_VERSION = {
    "bfd": r"\) (\d+)\.(\d+)|ld (\d+)\.(\d+)",
    "gold": r"\) (\d+)\.(\d+)$",
    "lld": r"LLD (\d+)\.(\d+)",
    "mold": r"mold (\d+)\.(\d+)",
}


def linker_named(text: str) -> Linker:
    """The linker for ``FAMILY`` or ``FAMILY-VERSION`` (``lld-19``).

    Without a version it is the one on the PATH; where there is none, the newest known. Raises
    :class:`UsageError` for another family or a version that is none.
    """
    family, dash, version = text.partition("-")
    rows = [row for row in LINKERS if row.family == family]
    if not rows:
        known = ", ".join(dict.fromkeys(row.family for row in LINKERS))
        raise UsageError(f"--emulate {text}: no such linker", hint=f"one of {known}, loader")
    if not dash:
        found = installed(family)
        return rows[-1] if found is None else _at(rows, found)
    numbers = re.fullmatch(r"(\d+)(?:\.(\d+))?(?:\.\d+)*", version)
    if numbers is None:
        raise UsageError(f"--emulate {text}: looked for a version behind the dash", hint="as in lld-19")
    return _at(rows, (int(numbers[1]), int(numbers[2] or 0)))


def _at(rows: list[Linker], version: tuple[int, int]) -> Linker:
    return [row for row in rows if row.since <= version][-1]


@cache
def installed(family: str) -> tuple[int, int] | None:
    """The version of the family's linker on the PATH; None where there is none."""
    try:
        done = processes.run([_PROGRAMS[family], "--version"], env=asked(), seconds=20.0, output=1 << 20)
    except processes.ProcessError:
        return None
    return parse_version(family, done.text.partition("\n")[0])


def parse_version(family: str, line: str) -> tuple[int, int] | None:
    """The version in the first line that a linker says of itself."""
    found = re.search(_VERSION[family], line)
    if found is None:
        return None
    numbers = [int(text) for text in found.groups() if text is not None]
    return numbers[0], numbers[1]
