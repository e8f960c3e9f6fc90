"""Who opens a plugin: mapped to folders by the user, or proposed by the names that plugins lack.

A folder of modules for an interpreter lacks thousands of names, and all of them for one reason. That is one
finding, which says which program has them.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from patcher.base.errors import UsageError
from patcher.symbols.elf import ElfObject
from patcher.symbols.findings import SymbolFinding
from patcher.symbols.search import Search

MANY = 8  # names beyond which one cause is one finding, as for modules beyond one


class Host(NamedTuple):
    """A program, and the files that it opens: all that are given, or those whose path fits a pattern."""

    program: Path
    pattern: str = ""

    def opens(self, path: Path) -> bool:
        """Whether the program opens that file. ``*`` and ``**`` stand for anything, ``/`` included."""
        if not self.pattern:
            return True
        pattern = self.pattern if self.pattern.startswith("/") else f"*/{self.pattern}"
        return fnmatchcase(str(path), pattern)


def host_of(value: str | Path) -> Host:
    """What ``--host`` says: ``PROGRAM``, or ``GLOB=PROGRAM``. Raises :class:`UsageError`."""
    text = str(value)
    pattern, equals, program = text.rpartition("=")
    if not equals or Path(text).is_file():
        pattern, program = "", text
    if not Path(program).is_file():
        hint = "name the program itself, or GLOB=PROGRAM for the files that it opens"
        raise UsageError(f"--host {text}: looked for a program at {program}, found none", hint=hint)
    return Host(Path(program), pattern)


class HostFamily(NamedTuple):
    """A kind of host: what its names begin with, its program, and how plugins' paths tell its version."""

    title: str
    starts: tuple[str, ...]
    programs: tuple[str, ...]  # {} is the version
    version: re.Pattern[str]


_ANY = r"(\d+(?:\.\d+)*)"
FAMILIES = (
    HostFamily("Python", ("Py", "_Py"), ("/usr/bin/python{}", "/usr/local/bin/python{}"),
           re.compile(rf"(?:cpython-|pypy)(3)(\d+)|python{_ANY}")),
    HostFamily("Perl", ("Perl_", "PL_"), ("/usr/bin/perl",), re.compile(rf"perl5?/{_ANY}")),
    HostFamily("Ruby", ("rb_", "ruby_"), ("/usr/bin/ruby{}", "/usr/bin/ruby"),
           re.compile(rf"ruby/(?:\w+/)?{_ANY}")),
    HostFamily("Node.js", ("napi_", "node_module_register", "_ZN2v8", "_ZNK2v8", "_ZN4node"),
           ("/usr/bin/node", "/usr/local/bin/node"), re.compile(r"node-v(\d+)")),
    HostFamily("PostgreSQL", ("palloc", "pfree", "errstart", "errfinish", "SPI_", "CurrentMemoryContext"),
           ("/usr/lib/postgresql/{}/bin/postgres", "/usr/bin/postgres"), re.compile(r"postgresql/?(\d+)")),
    HostFamily("PHP", ("zend_", "_zend_", "php_", "executor_globals", "_efree", "_emalloc"),
           ("/usr/bin/php{}", "/usr/bin/php"), re.compile(rf"php/?{_ANY}/")),
    HostFamily("Lua", ("lua_", "luaL_"), ("/usr/bin/lua{}", "/usr/bin/lua"), re.compile(rf"lua/?{_ANY}")),
    HostFamily("R", ("R_", "Rf_"), ("/usr/lib/R/bin/exec/R",), re.compile(r"$^")),
    HostFamily("Tcl", ("Tcl_", "Tk_"), ("/usr/bin/tclsh{}", "/usr/bin/tclsh"), re.compile(rf"tcl/?{_ANY}")),
    HostFamily("Erlang", ("enif_",), ("/usr/lib/erlang/erts-{}/bin/beam.smp",), re.compile(rf"erts-{_ANY}")),
    HostFamily("Apache httpd", ("ap_",), ("/usr/sbin/apache2", "/usr/sbin/httpd"), re.compile(r"$^")),
    HostFamily("nginx", ("ngx_",), ("/usr/sbin/nginx",), re.compile(r"$^")),
    HostFamily("the X server", ("xf86", "LoaderSymbol"), ("/usr/lib/xorg/Xorg", "/usr/bin/Xorg"),
           re.compile(r"$^")),
)  # fmt: skip


def proposed(findings: list[SymbolFinding], given: list[ElfObject], search: Search) -> list[SymbolFinding]:
    """``findings`` with one for each host, where several modules or many names lack one."""
    programs = [item for item in given if item.executable and item.dynamic]
    libraries = {str(item.path) for item in given if not item.executable}
    lacking: dict[str, list[SymbolFinding]] = {}
    for one in findings:
        root = one.paths[0] if one.paths else one.object
        if one.rule == "undefined-symbol" and root in libraries:
            lacking.setdefault(root, []).append(one)
    exporters = _exporters({one.symbol for every in lacking.values() for one in every}, programs)
    groups: dict[tuple[str, str], list[SymbolFinding]] = {}
    for root, every in lacking.items():
        host = _given_host(root, every, exporters)
        if host is not None:
            served = [one for one in every if host in exporters.get(one.symbol, ())]
            groups.setdefault((host.name, str(host.path)), []).extend(served)
        else:
            known = _known_host(root, every, search)
            if known is not None:
                groups.setdefault(known, []).extend(every)
    gone: set[int] = set()
    told: list[SymbolFinding] = []
    for (name, program), every in groups.items():
        modules = tuple(dict.fromkeys(one.paths[0] if one.paths else one.object for one in every))
        if len(modules) > 1 or len({one.symbol for one in every}) > MANY:
            gone |= {id(one) for one in every}
            told.append(_one(name, program, modules, every))
    return [one for one in findings if id(one) not in gone] + told


def _one(name: str, program: str, modules: tuple[str, ...], every: list[SymbolFinding]) -> SymbolFinding:
    names = dict.fromkeys(one.demangled for one in every)
    some = ", ".join(list(names)[:3]) + (" ..." if len(names) > 3 else "")
    files = "1 file lacks" if len(modules) == 1 else f"{len(modules)} files lack"
    count = f"{len(names)} symbol{'s' if len(names) > 1 else ''}"
    detail = f"{files} {count} that the program has which opens them: {some}"
    there = program or "PROGRAM"
    where = _common(modules)
    hint = f"say --host '{where}=/path/to/it'" if not program else f"say --host {there}"
    if program and len(modules) > 1:
        hint = f"say --host '{where}={there}'"
    first = modules[0]
    advice = f"{name} has such names: {hint}"
    return SymbolFinding(
        "host-not-named", name, first, (Path(first).name,), detail, advice, (first,), modules
    )


def _common(modules: tuple[str, ...]) -> str:
    """A pattern for all of them: the folder that they have in common."""
    parts = [Path(module).parent.parts for module in modules]
    same = []
    for names in zip(*parts, strict=False):
        if len(set(names)) > 1:
            break
        same.append(names[0])
    return f"{Path(*same)}/**" if len(same) > 1 else "**"


def _exporters(names: set[str], programs: Iterable[ElfObject]) -> dict[str, list[ElfObject]]:
    keys = {name.encode("utf-8", "surrogateescape"): name for name in names}
    table: dict[str, list[ElfObject]] = {}
    for program in programs if keys else ():
        for key in keys.keys() & program.exports.names.keys():
            table.setdefault(keys[key], []).append(program)
    return table


def _given_host(
    root: str, every: list[SymbolFinding], exporters: Mapping[str, list[ElfObject]]
) -> ElfObject | None:
    """The given program that has the most of what a module lacks, half of it at least.

    Of several the one of the version that the module's path tells, and the nearest: none of another version.
    """
    counts = Counter(program for one in every for program in exporters.get(one.symbol, ()))
    told = _told_version(root, every)
    ranks = []
    for program, count in counts.items():
        version = re.search(r"(?<!\d)\d+\.\d+", program.path.name)
        if 2 * count >= len(every) and not (told and version is not None and version[0] != told):
            near = len(os.path.commonpath([root, program.path]))
            ranks.append(
                (count, version is not None, near, -len(program.path.name), str(program.path), program)
            )
    return max(ranks, key=lambda rank: rank[:-1])[-1] if ranks else None


def _family(every: list[SymbolFinding]) -> HostFamily | None:
    """Whose names they are."""
    counts = {one: sum(finding.symbol.startswith(one.starts) for finding in every) for one in FAMILIES}
    family = max(FAMILIES, key=lambda one: counts[one])
    return family if counts[family] else None


def _told_version(root: str, every: list[SymbolFinding]) -> str:
    """The version of its host that a module's path tells; "" where it tells none."""
    family = _family(every)
    found = family.version.search(root) if family is not None else None
    return ".".join(part for part in found.groups() if part) if found else ""


def _known_host(root: str, every: list[SymbolFinding], search: Search) -> tuple[str, str] | None:
    """A host that isn't given, by the names that are lacking: its title, and its program if it is there."""
    family, version = _family(every), _told_version(root, every)
    if family is None:
        return None
    name = f"{family.title} {version}".strip()
    for pattern in family.programs:
        if "{}" in pattern and not version:
            continue
        program = pattern.format(version)
        if search.places.rooted(program).is_file():
            return name, str(search.places.rooted(program))
    return name, ""
