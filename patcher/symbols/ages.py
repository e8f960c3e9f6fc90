"""How old a system may be: the newest versions of its libraries that files want (GLIBC_2.34)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from patcher.base.errors import UsageError
from patcher.symbols.elf import ElfObject

FAMILIES = ("GLIBC", "GLIBCXX", "CXXABI")  # what is told of every folder
_KNOWN = (*FAMILIES, "GCC", "ZLIB")  # of which people say how new they may be, whatever is wanted
# versions that are features: the release that brought them
_FEATURES = {"GLIBC_ABI_DT_RELR": "GLIBC_2.36"}


class Age(NamedTuple):
    """One version of a library: ``GLIBC_2.34``."""

    family: str
    numbers: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.family}_{'.'.join(map(str, self.numbers))}"


@cache  # every file wants the same ones
def age_of(version: str) -> Age | None:
    """The version as numbers; None for one that has none, as GLIBC_PRIVATE."""
    # taken apart without a pattern: compiling one takes longer than a whole check of a small program
    family, _, numbers = _FEATURES.get(version, version).rpartition("_")
    parts = numbers.split(".")
    if not (
        family.isascii() and family.isidentifier() and all(one.isascii() and one.isdigit() for one in parts)
    ):
        return None
    return Age(family, tuple(map(int, parts)))


def limits(values: Iterable[str]) -> tuple[Age, ...]:
    """What ``--at-most`` says. Raises :class:`UsageError` for what is no version."""
    found = []
    for value in values:
        age = age_of(value)
        if age is None:
            raise UsageError(
                f"--at-most {value}: looked for a version, found none",
                hint="write it like GLIBC_2.28, GLIBCXX_3.4.25 or CXXABI_1.3.11",
            )
        found.append(age)
    return tuple(found)


def heard_of(most: Iterable[Age], objects: Iterable[ElfObject]) -> None:
    """Raise :class:`UsageError` for a limit of what nobody wants or has, and whose name isn't a known one."""
    given = list(objects)
    versions = {want.version for item in given for want in item.wants}.union(*(one.versions for one in given))
    families = {age.family for age in map(age_of, versions) if age is not None and age.family}
    for limit in most:
        if limit.family not in families and limit.family not in _KNOWN:
            there = ", ".join(sorted(families)) or "none of any"
            raise UsageError(
                f"--at-most {limit}: looked for a file that wants a version of {limit.family}, found {there}",
                hint="name one of these families, or leave that --at-most out",
            )


def wanted(objects: Iterable[ElfObject]) -> Iterator[tuple[ElfObject, str, Age]]:
    """Each file, version as it says it, and age, of what it wants from libraries that aren't given too."""
    given = list(objects)
    own = {item.name for item in given}
    for item in given:
        for want in item.wants:
            age = age_of(want.version)
            if age is not None and not want.weak and want.file not in own:
                yield item, want.version, age


def oldest(objects: Iterable[ElfObject]) -> dict[str, str]:
    """Family -> the oldest version that serves all these files: ``{"GLIBC": "2.34"}``."""
    newest: dict[str, tuple[int, ...]] = {}
    for _, _, age in wanted(objects):
        if age.family in FAMILIES:
            newest[age.family] = max(newest.get(age.family, ()), age.numbers)
    return {name: ".".join(map(str, newest[name])) for name in FAMILIES if name in newest}


def too_new(objects: Iterable[ElfObject], most: Iterable[Age]) -> Iterator[tuple[ElfObject, str, str]]:
    """Each file with a version that it wants and that is newer than allowed, and why."""
    allowed = {age.family: age for age in most}
    for item, version, age in wanted(objects):
        limit = allowed.get(age.family)
        if limit is not None and age.numbers > limit.numbers:
            names = [one.name for one in item.references if one.version == version]
            some = f" for {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else ""
            yield item, version, f"{item.name} needs {version}{some}, newer than {limit}"
