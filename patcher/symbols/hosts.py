"""Who opens a plugin: mapped to folders by the user, or proposed by the names that plugins lack.

A folder of modules for an interpreter lacks thousands of names, and all of them for one reason. That is one
finding, which says which program has them.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from patcher.base.errors import UsageError
from patcher.symbols.elf import ElfObject, UnreadableElfError
from patcher.symbols.findings import SymbolFinding
from patcher.symbols.scope import Library
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
    """A family of hosts: what its names begin with, its programs, and how plugins' paths tell its version."""

    title: str
    starts: tuple[str, ...]
    programs: tuple[str, ...]  # {} is the version
    version: re.Pattern[str]
    releases: Mapping[str, str] = {}  # where paths tell the number of an interface: number -> version

    def told(self, path: str) -> str:
        """The version that a plugin's path tells; "" where it tells none."""
        found = self.version.search(path)
        text = ".".join(part for part in found.groups() if part) if found else ""
        known = self.releases.get(text, text)
        return f"of interface {text}" if known == text and self.releases and len(text) > 2 else known

    def places(self, version: str) -> Iterator[str]:
        """Where a program of the version may lie."""
        texts = dict.fromkeys((version, ".".join(version.split(".")[:2]))) if version else {}
        for pattern in self.programs:
            if "{}" in pattern:
                yield from (pattern.format(text) for text in texts)
            else:
                yield pattern


_ANY = r"(\d+(?:\.\d+)*)"
_PHP = {
    "20151012": "7.0", "20160303": "7.1", "20170718": "7.2", "20180731": "7.3", "20190902": "7.4",
    "20200930": "8.0", "20210902": "8.1", "20220829": "8.2", "20230831": "8.3", "20240924": "8.4",
}  # fmt: skip
_NODE = {"72": "12", "83": "14", "93": "16", "108": "18", "115": "20", "127": "22", "137": "24"}
FAMILIES = (
    HostFamily("Python", ("Py", "_Py"), ("/usr/bin/python{}", "/usr/local/bin/python{}"),
           re.compile(rf"(?:cpython-|pypy)(3)(\d+)|python{_ANY}")),
    HostFamily("Perl", ("Perl_", "PL_"), ("/usr/bin/perl{}", "/usr/bin/perl", "/usr/local/bin/perl"),
           re.compile(rf"perl5?/{_ANY}")),
    HostFamily("Ruby", ("rb_", "ruby_"), ("/usr/bin/ruby{}", "/usr/bin/ruby", "/usr/local/bin/ruby"),
           re.compile(rf"ruby/(?:\w+/)?{_ANY}")),
    HostFamily("Node.js", ("napi_", "node_module_register", "_ZN2v8", "_ZNK2v8", "_ZN4node"),
           ("/usr/bin/node", "/usr/local/bin/node"), re.compile(r"node-v(\d+)"), _NODE),
    HostFamily("PostgreSQL", ("palloc", "pfree", "errstart", "errfinish", "SPI_", "CurrentMemoryContext"),
           ("/usr/lib/postgresql/{}/bin/postgres", "/usr/pgsql-{}/bin/postgres", "/usr/bin/postgres",
            "/usr/local/bin/postgres"),
           re.compile(r"postgresql/?(\d+)|pgsql-(\d+)")),
    HostFamily("PHP", ("zend_", "_zend_", "php_", "executor_globals", "_efree", "_emalloc"),
           ("/usr/bin/php{}", "/usr/bin/php", "/usr/local/bin/php"),
           re.compile(r"(?:php\d*/|zts-)(20\d{6})\b|php/?(\d+\.\d+)"), _PHP),
    HostFamily("Lua", ("lua_", "luaL_"), ("/usr/bin/lua{}", "/usr/bin/lua"), re.compile(rf"lua/?{_ANY}")),
    HostFamily("R", ("R_", "Rf_"), ("/usr/lib/R/bin/exec/R",), re.compile(r"$^")),
    HostFamily("Tcl", ("Tcl_", "Tk_"), ("/usr/bin/tclsh{}", "/usr/bin/tclsh"), re.compile(rf"tcl/?{_ANY}")),
    HostFamily("Erlang", ("enif_",), ("/usr/lib/erlang/erts-{}/bin/beam.smp",), re.compile(rf"erts-{_ANY}")),
    HostFamily("Apache httpd", ("ap_",), ("/usr/sbin/apache2", "/usr/sbin/httpd"), re.compile(r"$^")),
    HostFamily("nginx", ("ngx_",), ("/usr/sbin/nginx",), re.compile(r"$^")),
    HostFamily("the X server", ("xf86", "LoaderSymbol"), ("/usr/lib/xorg/Xorg", "/usr/bin/Xorg"),
           re.compile(r"$^")),
)  # fmt: skip


class _Group(NamedTuple):
    """Who has what modules lack: a title, a file ("" is one that isn't known), a library beside them?"""

    title: str
    file: str
    beside: bool = False


def proposed(
    findings: list[SymbolFinding], given: list[ElfObject], search: Search, hosted: Container[str] = ()
) -> list[SymbolFinding]:
    """``findings`` with one for each host, where several modules or many names lack one.

    ``hosted`` are the paths of the modules whose host was named: what those lack still, another module may
    have that their host opens before them.
    """
    programs = [item for item in given if item.executable and item.dynamic]
    modules = [item for item in given if not item.executable]
    libraries = {str(item.path) for item in modules}
    lacking: dict[str, list[SymbolFinding]] = {}
    for one in findings:
        root = one.paths[0] if one.paths else one.object
        if one.rule == "undefined-symbol" and root in libraries:
            lacking.setdefault(root, []).append(one)
    names = {one.symbol for every in lacking.values() for one in every}
    exporters, beside = _exporters(names, programs), _exporters(names, modules) if hosted else {}
    known = _Programs(search)
    groups: dict[_Group, list[SymbolFinding]] = {}
    strange: list[str] = []
    for root, every in lacking.items():
        host = _given_host(root, every, exporters)
        if host is not None:
            served = [one for one in every if host in exporters.get(one.symbol, ())]
            groups.setdefault(_Group(host.name, str(host.path)), []).extend(served)
        elif root in hosted:
            for one in every:
                for item in beside.get(one.symbol, ())[:1]:
                    groups.setdefault(_Group(item.name, str(item.path), beside=True), []).append(one)
        else:
            group = known.proposed(root, every)
            if group is None:
                strange.append(root)
            else:
                groups.setdefault(group, []).extend(every)
    for root in strange:  # its names aren't like a host's, and may be one's all the same
        near = [one for one in groups if one.file and not one.beside and known.has(one.file, lacking[root])]
        if near:
            best = max(near, key=lambda one: len(os.path.commonpath([root, *_roots(groups[one])[:1]])))
            groups[best].extend(lacking[root])
    gone: set[int] = set()
    told: list[SymbolFinding] = []
    for group, every in groups.items():
        if group.beside or len(_roots(every)) > 1 or len({one.symbol for one in every}) > MANY:
            gone |= {id(one) for one in every}
            told.append(_one(group, every))
    return [one for one in findings if id(one) not in gone] + told


def _roots(every: list[SymbolFinding]) -> tuple[str, ...]:
    """The modules that they are about."""
    return tuple(dict.fromkeys(one.paths[0] if one.paths else one.object for one in every))


class _Programs:
    """Hosts that weren't given: each is read once, with what it loads."""

    def __init__(self, search: Search) -> None:
        self._library = Library(search)
        self._exports: dict[str, set[bytes]] = {}

    def has(self, program: str, every: list[SymbolFinding]) -> bool:
        """Whether a program has half at least of what a module lacks."""
        if program not in self._exports:
            try:
                scope = self._library.load(self._library.read(program))
                self._exports[program] = {name for one in scope.objects for name in one.exports.names}
            except (UnreadableElfError, OSError):
                self._exports[program] = set()
        names = [one.symbol.partition("@")[0].encode("utf-8", "surrogateescape") for one in every]
        return 2 * sum(name in self._exports[program] for name in names) >= len(names)

    def proposed(self, root: str, every: list[SymbolFinding]) -> _Group | None:
        """A host by the names that are lacking: its title, and its program if it is there."""
        family = _family(every)
        if family is None:
            return None
        version = family.told(root)
        rooted = self._library.search.places.rooted
        for place in family.places(version):
            program = rooted(place)
            other = re.search(r"(?<!\d)\d+\.\d+", program.resolve().name)
            if version and other is not None and not f"{version}.".startswith(f"{other[0]}."):
                continue  # /usr/bin/php, which is another version's
            if program.is_file() and self.has(str(program), every):
                return _Group(f"{family.title} {version}".strip(), str(program))
        return _Group(f"{family.title} {version}".strip(), "")


def _one(group: _Group, every: list[SymbolFinding]) -> SymbolFinding:
    modules = _roots(every)
    names = dict.fromkeys(one.demangled for one in every)
    some = ", ".join(list(names)[:3]) + (" ..." if len(names) > 3 else "")
    files = "1 file lacks" if len(modules) == 1 else f"{len(modules)} files lack"
    count = f"{len(names)} symbol{'s' if len(names) > 1 else ''}"
    where = _common(modules) if len(modules) > 1 else modules[0] if group.beside else ""
    there = group.file or "/path/to/it"
    hint = f"--host '{where}={there}'" if where else f"--host {group.file or 'PROGRAM'}"
    if group.beside:
        detail = f"{files} {count} that {group.title} has, which is given and not loaded with them: {some}"
        advice = (
            f"if their host opens {group.title} before them, for all, say {hint}; if not, link them to it"
        )
    else:
        detail = f"{files} {count} that the program has which opens them: {some}"
        advice = f"{group.title} has such names: say {hint}"
    first = modules[0]
    return SymbolFinding(
        "host-not-named", group.title, first, (Path(first).name,), detail, advice, (first,), modules
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
    counts = [sum(finding.symbol.startswith(one.starts) for finding in every) for one in FAMILIES]
    return FAMILIES[counts.index(max(counts))] if any(counts) else None


def _told_version(root: str, every: list[SymbolFinding]) -> str:
    """The version of its host that a module's path tells; "" where it tells none."""
    family = _family(every)
    return family.told(root) if family is not None else ""
