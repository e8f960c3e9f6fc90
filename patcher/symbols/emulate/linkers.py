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
from typing import Any

from patcher.base import processes
from patcher.base.environment import asked
from patcher.base.errors import UsageError


class Libraries(Enum):
    """Which shared libraries on the line are asked for what they lack."""

    RECURSIVE = "every one, and what they need, searched for as the loader would"
    KNOWN = "those whose NEEDED are all on the line"
    ALL_KNOWN = "every one, if all NEEDED of all are on the line; else none"
    NONE = "none"


class Hardened(Enum):
    """Whose strong reference makes another object's weak one to the same name strong."""

    NONE = "each is for itself"
    OBJECTS = "another object's"
    BOUND = "that which says how it is bound"
    ALL = "another object's, a library's, --undefined"


class Bound(Enum):
    """Whose reference says whether a name is wanted strongly, so that an archive's member is taken for it."""

    ANY = "any strong one"
    FIRST = "an object's strong one; else the first, whoever has it"
    OBJECTS = "an object's strong one; else a weak one of an object, and without any a library's first"


class Anyway(Enum):
    """What stops a link in spite of ``--noinhibit-exec``."""

    ALL = "nothing that is about symbols"
    EXPRESSIONS = "a --defsym of what is nowhere"
    FATAL = "what stops one in spite of --warn-unresolved-symbols"


@dataclass(frozen=True)
class Linker:
    """One family from one version on."""

    family: str
    since: tuple[int, int]
    libraries: Libraries
    # archives
    archives_in_order: bool = False  # a member serves only what was wanted before it on the line
    archives_by_rank: bool = False  # of an archive and a library the first on the line serves
    bound_by: Bound = Bound.ANY  # for whom a member is taken
    excludes_by_stem: bool = False  # --exclude-libs libx is for libx.a, too
    # references
    drops_unneeded: bool = False  # an --as-needed library that serves nothing yet is as if it weren't there
    first_referrer_counts: bool = False  # of libraries the one that wants a symbol first; objects go before
    hardened_by: Hardened = Hardened.OBJECTS  # what makes an object's weak reference a strong one
    hidden_wins: bool = False  # a hidden reference undoes what a library defines
    hidden_is_fatal: bool = True  # one that isn't met is refused, whatever is allowed
    reports_unexported: bool = False  # what the output defines and doesn't export is nothing for libraries
    unexported_is_fatal: bool = False  # and is refused, whatever is allowed
    stops_writing: bool = False  # at a symbol that can't be written, with what libraries lack half told
    relaxes_foreign: bool = True  # accesses to thread-local data of libraries, too
    relaxes_lost: bool = False  # and to such data that is nowhere
    granted: frozenset[str] = frozenset()  # that it takes to be there
    objects_answer: bool = False  # for a name that an object wants, too, no library is asked
    # options
    symbols_by_letter: bool = False  # -R with a file is --just-symbols
    anyway: Anyway = Anyway.ALL
    goes_on: bool = False  # after a library that isn't found, to say what else is missing
    copies_hidden: bool = False  # data of a library serves a program's hidden reference: it is copied
    copies_nothing: bool = False  # --copy-dt-needed-entries is an error where there is something to copy
    wraps_libraries: bool = False  # --wrap is for what libraries want, too
    wraps_definers: bool = False  # and for calls within the object that has the definition
    wraps_defsym: bool = False  # and for what a --defsym names
    wraps_late: bool = False  # when all was read: as the plain name is bound then, its wrapper is wanted
    real_by_defsym: bool = False  # under --wrap=f, __real_f is what a --defsym calls f
    static_refuses: bool = False  # a library under -Bstatic
    asking_is_enough: bool = False  # a symbol of --undefined is missed by nobody
    resolves_defsym: bool = True  # what a --defsym names has to be there
    keeps_named: bool = True  # and is kept by --gc-sections
    follows_aliases: bool = False  # a reference to x of --defsym x=y keeps y
    takes_library_value: bool = False  # a library's will do, for a program that uses it
    expressions_in_order: bool = False  # a --defsym counts for archives behind it
    minds_circles: bool = False  # --defsym x=x defines nothing
    expressions_end: bool = False  # a name of a --defsym that is nowhere: nothing else is looked at
    scripts_end: bool = False  # as a name in a version script
    requires: bool = False  # --require-defined is heeded
    requirements_end: bool = False  # and ends the link at once, where no object mentions the name
    undefined_versions: bool = True  # a version script may name what isn't defined
    scripts_export: bool = False  # what a version script names as global, of a program, too
    lazy_versions: bool = False  # and what a member that isn't taken defines, unless a library serves
    heeds_undefined_version: bool = False  # --[no-]undefined-version
    scripts_demangle: bool = True  # names of C++ in a script are found under --no-demangle, too
    unknown_options: tuple[str, ...] = ()  # that it refuses and others know

    @property
    def name(self) -> str:
        """What messages call it."""
        return _PROGRAMS[self.family]


_COPY = ("--copy-dt-needed-entries", "--add-needed")
_LLD: dict[str, Any] = {
    "libraries": Libraries.KNOWN, "hidden_wins": True, "wraps_definers": True, "wraps_defsym": True,
    "wraps_late": True, "static_refuses": True, "scripts_end": True, "lazy_versions": True,
    "bound_by": Bound.OBJECTS, "hardened_by": Hardened.BOUND, "anyway": Anyway.EXPRESSIONS,
    "heeds_undefined_version": True,
    "unknown_options": (*_COPY, "--require-defined"),
}  # fmt: skip
_MOLD: dict[str, Any] = {
    "hardened_by": Hardened.NONE, "archives_by_rank": True, "relaxes_foreign": False, "requires": True,
    "requirements_end": True, "scripts_export": True,
    "hidden_is_fatal": False, "resolves_defsym": False, "keeps_named": False,
    "unknown_options": (*_COPY, "--just-symbols"),
}  # fmt: skip

LINKERS = (
    Linker(
        "bfd", (0, 0), Libraries.RECURSIVE,
        archives_in_order=True, excludes_by_stem=True, drops_unneeded=True, hardened_by=Hardened.ALL,
        relaxes_lost=True, hidden_wins=True, reports_unexported=True, unexported_is_fatal=True,
        wraps_libraries=True, wraps_defsym=True, static_refuses=True, asking_is_enough=True,
        objects_answer=True, takes_library_value=True, minds_circles=True, expressions_end=True,
        expressions_in_order=True, keeps_named=False, follows_aliases=True, scripts_end=True,
        stops_writing=True, requires=True, heeds_undefined_version=True, symbols_by_letter=True,
        anyway=Anyway.FATAL, unknown_options=("--start-lib",),
    ),
    Linker(
        "gold", (0, 0), Libraries.KNOWN,
        archives_in_order=True, bound_by=Bound.FIRST, excludes_by_stem=True, first_referrer_counts=True,
        hidden_is_fatal=False, heeds_undefined_version=True, granted=frozenset({"__tls_get_addr"}),
        goes_on=True, copies_hidden=True, copies_nothing=True, wraps_libraries=True, symbols_by_letter=True,
        unknown_options=("-z undefs", "--require-defined"),
    ),
    Linker("lld", (0, 0), **_LLD, real_by_defsym=True),
    Linker("lld", (14, 0), **_LLD, real_by_defsym=True, scripts_demangle=False),
    Linker("lld", (15, 0), **_LLD, scripts_demangle=False),
    Linker("lld", (16, 0), **_LLD),
    # a version script that names what isn't defined is an error
    Linker("lld", (17, 0), **_LLD, undefined_versions=False),
    # "non-exported symbol is referenced by DSO"
    Linker("lld", (18, 0), **_LLD, undefined_versions=False, reports_unexported=True),
    # --no-allow-shlib-undefined is taken and ignored
    Linker("mold", (0, 0), Libraries.NONE, **_MOLD),
    Linker("mold", (2, 33), Libraries.ALL_KNOWN, **_MOLD, reports_unexported=True),
)  # fmt: skip

FAMILIES = tuple(dict.fromkeys(row.family for row in LINKERS))
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
        raise UsageError(f"--emulate {text}: no such linker", hint=f"name {', '.join(FAMILIES)} or loader")
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
