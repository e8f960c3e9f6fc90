"""The source file that a template's instance belongs in: whose object defines others, or that defines it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from patcher.symbols.ldconfig import read_file
from patcher.symbols.relocatable import members
from patcher.symbols.repair.database import Compilation
from patcher.symbols.repair.signature import Signature, bare, signature


@dataclass(frozen=True)
class Owner:
    """A compilation and how many instances of the template its object defines; 0: its source defines it."""

    compilation: Compilation
    instances: int


def find_owner(wanted: Signature, database: list[Compilation]) -> Owner | None:
    """The compilation whose object defines most instances of ``wanted``'s template; None where none does."""
    needle = f"{len(wanted.word)}{wanted.word}".encode()  # as it stands in the mangled name
    best: Owner | None = None
    for compilation in database:
        data = read_file(compilation.object)
        if needle not in data:
            continue
        count = 0
        for unit in members(compilation.object):
            for symbol in unit.symbols:
                if not symbol.defined or needle not in symbol.name:
                    continue
                there = signature(symbol.name.decode("utf-8", "replace"))
                count += there is not None and _same(there, wanted)
        if count and (best is None or count > best.instances):
            best = Owner(compilation, count)
    return best or _defining(wanted, database)


def _defining(wanted: Signature, database: list[Compilation]) -> Owner | None:
    """The compilation whose source has most definitions of the template, which has no instance yet.

    What looks like one by its text may be another's; whether the line helps is for the compiler to say.
    """
    needle, best, most = wanted.word.encode(), None, 0
    name = rb"\b" + re.escape(needle) + rb"\b"
    if wanted.base.startswith("operator") and wanted.entity == "function":
        needle = b"operator"  # a free one: its name's last identifier is its namespace
        name = (
            rb"\boperator\s*" + re.escape(wanted.base.removeprefix("operator").strip().encode()) + rb"\s*\("
        )
    defines = re.compile(rb"\btemplate\s*<[^;{}]{1,300}" + name + rb"[^;{}]{0,300}(?:\{|=[^;{}]{0,300}[;{])")
    for compilation in database:
        data = read_file(compilation.source)
        count = len(defines.findall(data)) if needle in data else 0
        if count > most:
            best, most = Owner(compilation, 0), count
    return best


def _same(there: Signature, wanted: Signature) -> bool:
    # a conversion is called after the type that it makes
    names = (bare(one.name).partition("::operator ")[0] for one in (there, wanted))
    return next(names) == next(names) and there.is_class == wanted.is_class and there.entity == wanted.entity
