"""The linkers that are here, which of them a build would use, and in which the strict check is blind."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator

from patcher.doctor.check import Examination, Health, program, said

_LINKERS = ("ld.bfd", "ld.gold", "ld.lld", "mold")


def checks() -> Iterator[Examination]:
    """The linker that the compiler takes, then each that is known."""
    compiler = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if compiler is not None:
        yield _in_use(compiler)
    for name in _LINKERS:
        check = program(name, Health.ABSENT, "can't be tried here; verify-symbols --emulate needs none")
        if check.state is Health.ABSENT:
            yield check
            continue
        spoken = said(name, "--version")
        blind = blindness(name, spoken)
        first = spoken.splitlines()[0] if spoken else check.found
        yield Examination(name, Health.WARNING if blind else Health.OK, first, blind)


def _in_use(compiler: str) -> Examination:
    spoken = said(compiler, "-Wl,--version", "-x", "c++", os.devnull, "-o", os.devnull)
    if not spoken:
        return Examination("linker in use", Health.OK, "doesn't say")
    first = spoken.splitlines()[0]
    blind = blindness(_family(first), first)
    return Examination("linker in use", Health.WARNING if blind else Health.OK, first, blind)


def _family(first: str) -> str:
    """The linker's name by the first line that it says."""
    for word, name in (("mold", "mold"), ("LLD", "ld.lld"), ("gold", "ld.gold")):
        if word in first:
            return name
    return "ld.bfd"


def blindness(linker: str, version: str) -> str:
    """In which cases ``--no-allow-shlib-undefined`` of this linker passes undefined symbols.

    Measured with bfd 2.40, gold 1.16, lld 14-22 and mold 2.42; empty for a linker without gaps.
    """
    numbers = re.search(r"(?<!\d)(\d+)\.(\d+)", version)
    release = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if linker == "mold":
        if release < (2, 33):
            return "ignores --no-allow-shlib-undefined; 'verify-symbols' after the build sees what it passes"
        return "checks nothing where one needed library is not on the link line; 'verify-symbols' does"
    if linker in ("ld.gold", "ld.lld"):
        return "checks a library only where all that it needs is on the link line; 'verify-symbols' does"
    return ""
