"""Where a library is after all: copies that a loader passes by, and what would make it find them."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from patcher.symbols.elf import ElfObject, UnreadableElfError, read
from patcher.symbols.scope import Missing, Scope
from patcher.symbols.search import Search

SHOWN = 6  # folders
BESIDE = 64  # libraries of one folder that are looked at
# What is forgotten on a command line: the library, and the word for it.
_COMMON = (
    ("libm.so.6", "-lm"), ("libz.so.1", "-lz"), ("libpthread.so.0", "-pthread"), ("libdl.so.2", "-ldl"),
    ("librt.so.1", "-lrt"), ("libatomic.so.1", "-latomic"), ("libgomp.so.1", "-fopenmp"),
    ("libcrypto.so.3", "-lcrypto"), ("libssl.so.3", "-lssl"), ("libcurl.so.4", "-lcurl"),
    ("libgfortran.so.5", "-lgfortran"), ("libquadmath.so.0", "-lquadmath"), ("libuuid.so.1", "-luuid"),
    ("libbz2.so.1.0", "-lbz2"), ("liblzma.so.5", "-llzma"), ("libzstd.so.1", "-lzstd"),
    ("libopenblas.so.0", "-lopenblas"), ("libblas.so.3", "-lblas"), ("liblapack.so.3", "-llapack"),
    ("libcrypt.so.1", "-lcrypt"), ("libX11.so.6", "-lX11"), ("libncursesw.so.6", "-lncursesw"),
)  # fmt: skip
Common = tuple[str, str, ElfObject]  # of those: soname, word and file


def searched(scope: Scope, gap: Missing, search: Search) -> str:
    """The folders in which a loader looked for what it didn't find."""
    loaders = scope.loaders.get(gap.requester, ())
    steps = search.steps(gap.name, gap.requester, loaders, scope.libc, scope.places)
    folders = list(dict.fromkeys(os.path.normpath(step.place) for step in steps if step.how != "cache"))
    if not folders:
        return ""
    more = f" and {len(folders) - SHOWN} more" if len(folders) > SHOWN else ""
    return f"searched: {', '.join(folders[:SHOWN])}{more}"


def copies(gap: Missing, given: Iterable[ElfObject]) -> str | None:
    """What would make the loader find a file of the name that is missing: a given one, or one near by."""
    given = list(given)
    fitting = [one for one in given if _serves(one, gap)] or [
        one for one in _near(gap, given) if _serves(one, gap)
    ]
    if not fitting:
        return None
    # a library's file is mostly called after its version, and a link to it after the soname
    linked = [one.path.with_name(Path(gap.name).name) for one in fitting]
    files = [link if link.is_file() else one.path for link, one in zip(linked, fitting, strict=True)]
    there, places = files[0], ", ".join(map(str, files[:3]))
    if there.name != gap.name:
        return f"{places} is that library by its soname: give it the name {gap.name}, or link it so"
    between = os.path.relpath(there.parent, gap.requester.path.parent)
    origin = "$ORIGIN" if between == "." else f"$ORIGIN/{between}"
    name = gap.requester.name
    return f"it lies in {places}: a RUNPATH of {origin} in {name} reaches it (-Wl,-rpath,'{origin}')"


def _serves(item: ElfObject, gap: Missing) -> bool:
    return not item.executable and item.abi == gap.requester.abi and gap.name in (item.name, item.path.name)


def _near(gap: Missing, given: list[ElfObject]) -> Iterator[ElfObject]:
    """The files of a name that is missing, where builds and packages put libraries: beside, and in lib."""
    if "/" in gap.name:
        return
    folders = dict.fromkeys(one.path.parent for one in (gap.requester, *given))
    places = [
        place / gap.name
        for folder in list(folders)[:SHOWN]
        for place in (folder, folder / "lib", *(folder.parent / name for name in ("lib", "lib64", "bin")))
    ]
    there = {
        os.path.realpath(place): os.path.normpath(place) for place in reversed(places) if place.is_file()
    }
    for file in reversed(there.values()):
        try:
            yield _read(file)
        except (UnreadableElfError, OSError):
            continue


def passed_by(scope: Scope, exporter: ElfObject, search: Search) -> str | None:
    """Why another file of an exporter's name was loaded in its place; None where none was."""
    twin = next((one for one in scope.objects if one.name == exporter.name and one is not exporter), None)
    if twin is None:
        return None
    asker = next((one for one, name in scope.found_by if scope.chosen.get((one, name)) is twin), None)
    name = next(
        (name for one, name in scope.found_by if one is asker and scope.chosen[one, name] is twin), ""
    )
    how = scope.found_by.get((asker, name), "") if asker is not None else ""
    rule = _RULES.get(how, how)
    why = f", found by {rule}" if rule else ""
    text = f"{twin.path} is loaded as {twin.name}{why}, and lacks it; {exporter.path} has it"
    if asker is None:
        return text
    steps = search.steps(name, asker, scope.loaders.get(asker, ()), scope.libc, scope.places)
    looked = {os.path.realpath(step.place) for step in steps}
    if str(exporter.path.parent) in looked:
        return text
    return f"{text} and is in a folder that would be searched after it or not at all"


_RULES = {
    "library-path": "LD_LIBRARY_PATH or --library-path, which go before any RUNPATH",
    "rpath": "an RPATH",
    "runpath": "a RUNPATH",
    "cache": "the loader's cache",
    "default": "the loader's own folders",
    "loaded": "its name, as it was loaded before",
}


def neighbours(given: Iterable[ElfObject], known: Container[str]) -> list[ElfObject]:
    """The libraries in the folders of what was given, as far as there are not too many.

    ``known`` are the files that were read already.
    """
    found: list[ElfObject] = []
    seen: set[str] = set()
    for folder in list(dict.fromkeys(item.path.parent for item in given))[:SHOWN]:
        files = sorted(path for path in folder.glob("*.so*") if path.is_file())
        for path in files[:BESIDE]:
            real = str(path.resolve())
            if real in known or real in seen:
                continue
            seen.add(real)
            try:
                found.append(_read(real))
            except (UnreadableElfError, OSError):
                continue
    return found


def common(item: ElfObject, search: Search, libc: str, known: Mapping[str, ElfObject]) -> list[Common]:
    """Those of the common libraries that ``item`` would get. ``known``: what was read, by its path."""
    there = []
    for soname, word in _COMMON:
        found = search.find(soname, item, (), libc)
        if found is None or found.why:
            continue
        try:
            real = os.path.realpath(found.path)
            there.append((soname, word, known.get(real) or _read(real)))
        except (UnreadableElfError, OSError):
            continue
    return there


def forgotten(item: ElfObject, name: str, libraries: Iterable[Common]) -> str | None:
    """The word that links one of the common libraries, if it is installed and has ``name``."""
    for soname, word, there in libraries:
        if name in there.exports:
            return f"{soname} has it, and {item.name} isn't linked against it: add {word}"
    return None


@cache
def _read(path: str) -> ElfObject:
    return read(Path(path))
