"""What may be said about a symbol that is defined nowhere: where it is after all, or something like it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

from patcher.symbols.demangle import demangle
from patcher.symbols.elf import ElfObject
from patcher.symbols.hidden import Hidden, hidden_definitions
from patcher.symbols.inputs import Inputs
from patcher.symbols.instantiate import function_instance, tidy
from patcher.symbols.repair.signature import signature
from patcher.symbols.scope import Scope
from patcher.symbols.search import GLIBC, Search
from patcher.symbols.whereabouts import Common, common, forgotten, neighbours, passed_by

MAX_NAMES = 400_000  # exported names among which those of the same function are looked for
MAX_SLIPS = 50_000  # and those that are nearly the same
LONG = 64  # characters of a name beyond which nobody mistypes one letter of it; comparing takes their square
COMPARED = 500_000  # names that all searches of a run compare
ALIKE = 16  # of those that have the innermost name in common, so many are looked at


# What the names of plugins' hosts begin with. Such a plugin lacks all of them, and is no worse for it.
_HOSTS = {
    "Py": "a Python interpreter", "_Py": "a Python interpreter", "Perl_": "perl", "PL_": "perl",
    "lua_": "a Lua interpreter", "luaL_": "a Lua interpreter", "rb_": "ruby", "zend_": "php", "ap_": "httpd",
    "ngx_": "nginx", "napi_": "node", "R_": "R", "Rf_": "R", "GOMP_PLUGIN_": "libgomp",
}  # fmt: skip


@dataclass
class Hints:
    """Looks beyond what is loaded: other given files, symbols that aren't exported, objects and archives.

    ``wanted`` has to hold every name that will be asked for: each file is then read once.
    """

    inputs: Inputs
    wanted: set[str] = field(default_factory=set)
    search: Search = field(default_factory=Search)
    loaded: list[ElfObject] = field(default_factory=list)  # by whoever lacks something
    parts: list[tuple[ElfObject, str]] = field(default_factory=list)  # of a link, and what each defines
    _hidden: dict[Path, dict[str, Hidden]] = field(default_factory=dict)
    _common: dict[ElfObject, list[Common]] = field(default_factory=dict)
    _left: int = COMPARED

    def hidden(self, scope: Scope, name: str) -> tuple[Path, Hidden] | None:
        """The loaded file that defines ``name`` without exporting it."""
        for item in scope.objects:
            found = self._hidden_in(item.path).get(name)
            # a bystander's local symbol is nobody's answer where another file exports one of that name
            if found is not None and not found.exported and not (found.local and self._exporters.get(name)):
                return item.path, found
        return None

    @cached_property
    def _keys(self) -> dict[bytes, str]:
        return {name.encode("utf-8", "surrogateescape"): name for name in self.wanted}

    @cached_property
    def _exporters(self) -> dict[str, list[ElfObject]]:
        """Name -> the given files that export it, of the names that are wanted."""
        return self._exporting(self.inputs.objects)

    @cached_property
    def _beside(self) -> dict[str, list[ElfObject]]:
        """Name -> the libraries that export it and weren't given."""
        given = set(self.inputs.objects)
        return self._exporting(one for one in self._all if one not in given and not one.executable)

    def _exporting(self, items: Iterable[ElfObject]) -> dict[str, list[ElfObject]]:
        table: dict[str, list[ElfObject]] = {}
        for item in items:
            for key in self._keys.keys() & item.exports.names.keys():
                table.setdefault(self._keys[key], []).append(item)
        return table

    @cached_property
    def _hidden_given(self) -> dict[str, tuple[Path, Hidden]]:
        table: dict[str, tuple[Path, Hidden]] = {}
        for item in self.inputs.objects:
            for name, found in self._hidden_in(item.path).items():
                if not found.exported:
                    table.setdefault(name, (item.path, found))
        return table

    @cached_property
    def _mute_programs(self) -> dict[str, Path]:
        """Name -> the given program that has it for itself, though nothing but the linker hides it."""
        programs = {item.path for item in self.inputs.objects if item.executable}
        table = self._hidden_given.items()
        return {name: path for name, (path, found) in table if path in programs and not found.local}

    @cached_property
    def _in_objects(self) -> dict[str, list[tuple[Path, Hidden]]]:
        table: dict[str, list[tuple[Path, Hidden]]] = {}
        for path in self.inputs.hints:
            for name, found in self._hidden_in(path).items():
                table.setdefault(name, []).append((path, found))
        return table

    def _hidden_in(self, path: Path) -> dict[str, Hidden]:
        if path not in self._hidden:
            self._hidden[path] = hidden_definitions(path, self._keys)
        return self._hidden[path]

    def suggestion(self, scope: Scope, item: ElfObject, name: str) -> str | None:
        """What would define ``name`` that ``item`` wants, or what was meant; None where nothing is known."""
        return next(self._suggestions(scope, item, name), None)

    def _suggestions(self, scope: Scope, wanting: ElfObject, name: str) -> Iterator[str]:
        known = self._exporters.get(name) or self._beside.get(name, [])
        exporters = [item for item in known if item not in scope.parents]
        for item in exporters:
            passed = passed_by(scope, item, self.search)
            if passed is not None:
                yield passed
        # a plugin is loaded by a program that has what it lacks
        for item in exporters:
            if item.executable:
                plugin = scope.root.name
                yield f"{item.name}, a program, exports it: if it opens {plugin}, say --host {item.path}"
        for item in exporters:
            yield f"link {wanting.name} against {item.name}, which defines it"
        mute = self._mute_programs.get(name)
        if mute is not None:
            yield (
                f"{mute.name}, a program, has it and doesn't export it: if it opens {scope.root.name}, link"
                f" it with -rdynamic (CMake: ENABLE_EXPORTS), and say --host {mute}"
            )
        for path, found in self._in_objects.get(name, ()):
            member = f"({found.member})" if found.member else ""
            yield f"{path.name}{member} defines it and is not linked into what is loaded"
        yield from self._other_abi(wanting, name)
        if standard(name):
            yield _unlinked(scope, wanting, name)
            return
        yield from self._linkage(name)
        yield from self._forgotten(wanting, name, scope.libc)
        yield from _to_make(name)
        yield from self._near(name)
        if "__cxx11" in name or "B5cxx11" in name:
            yield (
                f"{wanting.name} was compiled with _GLIBCXX_USE_CXX11_ABI=1, which its name bears: a library"
                " compiled with 0 defines it under another"
            )
        for start, host in _HOSTS.items():
            if name.startswith(start):
                yield f"{host} has such names: if it opens {scope.root.name}, name it with --host"
        if name in self._hidden_given:
            path, found = self._hidden_given[name]
            yield f"{path.name}, which is not loaded, defines it, but {found.why}"

    def of_a_link(self, wanting: ElfObject, name: str) -> str | None:
        """The same for an object file or an archive, whose link lacks ``name``."""
        told = [*self._other_abi(wanting, name)]
        if not told and not standard(name):
            told = [*self._linkage(name), *self._forgotten(wanting, name, GLIBC)]
            told += [*_to_make(name), *self._near(name)]
        return next(iter(told), None)

    def _forgotten(self, wanting: ElfObject, name: str, libc: str) -> Iterator[str]:
        """A library that everybody has and that wasn't linked."""
        if name.startswith("_Z"):
            return
        if wanting not in self._common:
            self._common[wanting] = common(wanting, self.search, libc, self._by_path)
        word = forgotten(wanting, name, self._common[wanting])
        if word is not None:
            yield word

    def _other_abi(self, wanting: ElfObject, name: str) -> Iterator[str]:
        """The same function, compiled with the other of libstdc++'s two ABIs of strings and lists."""
        base = base_name(name)
        if base is None:
            return
        ours = demangle(name)
        for item, other in self._alike.get(base, ())[:ALIKE]:
            theirs = demangle(other)
            if other != name and _either_abi(theirs) == _either_abi(ours):
                new = "cxx11" in name or "cxx11" in ours
                yield (
                    f"{item.name} has it with the other C++ ABI, {other}: {wanting.name} was compiled with"
                    f" _GLIBCXX_USE_CXX11_ABI={int(new)}, {item.name} with {int(not new)}; compile both alike"
                )

    def _linkage(self, name: str) -> Iterator[str]:
        """C and C++ that don't agree on a name: ``extern "C"`` on one side only."""
        base = base_name(name)
        for item, other in self._alike.get(base or name, ())[:ALIKE]:
            if base is not None and other == base:
                yield (
                    f'{item.name} defines plain {other}: declare it extern "C" where it is used, or'
                    " don't where it is defined"
                )
            elif base is None and other.startswith(f"_Z{len(name)}{name}"):
                yield (
                    f"{item.name} defines {tidy(demangle(other))} with C++ linkage: declare it"
                    ' extern "C" where it is defined'
                )

    def _near(self, name: str) -> Iterator[str]:
        """The same function with other parameters; else a name with a slip of the pen."""
        from difflib import get_close_matches

        base = base_name(name)
        if base is not None:
            function = tidy(demangle(name)).partition("(")[0]
            for item, other in self._alike.get(base, ())[:ALIKE]:
                there = tidy(demangle(other))
                if other != name and there.partition("(")[0] == function:
                    yield f"{item.name} defines {there}: same name, other parameters"
        elif 4 < len(name) <= LONG and self._names <= min(MAX_SLIPS, self._left):
            self._left -= self._names
            for item in self.inputs.objects:
                like = (one for one in item.exports if abs(len(one) - len(name)) < 3 and one[:2] == name[:2])
                for close in get_close_matches(name, like, n=1, cutoff=0.86):
                    yield f"{item.name} defines {close}: a slip of the pen?"

    @cached_property
    def _names(self) -> int:
        """How many names the given files export: beyond a number, looking for likeness takes too long."""
        return sum(len(item.exports) for item in self._all)

    @cached_property
    def _all(self) -> list[ElfObject]:
        """What was given, what is loaded, and the libraries beside what was given."""
        return [*self._by_path.values(), *neighbours(self.inputs.objects, self._by_path)]

    @cached_property
    def _by_path(self) -> dict[str, ElfObject]:
        """What was read already."""
        return {str(one.path): one for one in (*self.inputs.objects, *self.loaded)}

    @cached_property
    def _alike(self) -> dict[str, list[tuple[ElfObject, str]]]:
        """Innermost name -> what is exported under it, mangled or plain, of the names that are wanted."""
        table: dict[str, list[tuple[ElfObject, str]]] = {}
        if self._names > MAX_NAMES:
            return table
        wanted = {base_name(name) or name for name in self.wanted}
        exported = ((item, other) for item in self._all for other in item.exports)
        for item, other in chain(self.parts, exported):
            base = base_name(other) or other
            if base in wanted:
                table.setdefault(base, []).append((item, other))
        return table


def _to_make(name: str) -> Iterator[str]:
    """What makes a compiler define what it doesn't by itself: a template's instance, a class's tables."""
    shape = signature(name)
    if shape is not None:
        yield f"instantiate it where the template is defined: {shape.lines()[0]} (not proven)"
    if name.startswith(("_ZTV", "_ZTI")):
        owner = tidy(demangle(name)).partition(" for ")[2]
        yield f"define {owner}'s first virtual member that is neither inline nor pure: that makes them"


def _either_abi(demangled: str) -> str:
    return tidy(demangled).replace("std::__cxx11::", "std::").replace("[abi:cxx11]", "")


_STANDARD = re.compile(
    r"_Z(?:T[VISTC]|G[VR])?(?:N[rVKRO]*)?(?:S[tabsiod]|10__cxxabiv1)|_Z(?:n[wa]|d[la])[mjPS]|"
    r"__cxa_(?!atexit|finalize|thread_atexit_impl)|__gxx_personality|__dynamic_cast"
)


def standard(name: str) -> bool:
    """Whether the C++ library is who defines a name: never ours to instantiate or to define."""
    if _STANDARD.match(name):
        return True
    shape = function_instance(tidy(demangle(name))) if name.startswith("_Z") else None
    return shape is not None and shape.name.startswith(("std::", "__gnu_cxx::", "__cxxabiv1::"))


def _unlinked(scope: Scope, wanting: ElfObject, name: str) -> str:
    other = "NSt3__1" in name
    library, word = ("libc++", "clang++ -stdlib=libc++") if other else ("libstdc++", "g++")
    there = next((item for item in scope.objects if item.name.startswith(f"{library}.so")), None)
    if there is not None:
        return f"{there.path}, which is loaded, is another {library} than {wanting.name} was built with"
    return f"{wanting.name} isn't linked against {library}: link it with {word}, not with the C compiler"


def base_name(mangled: str) -> str | None:
    """The innermost name of a mangled function, as ``bar`` of ``_ZN3foo3barEi`` (Itanium C++ ABI, 5.1)."""
    if not mangled.startswith("_Z"):
        return None
    at, last = 2, None
    while at < len(mangled) and mangled[at] in "NKVROL":
        at += 1
    while at < len(mangled) and mangled[at].isdigit():
        end = at
        while end < len(mangled) and mangled[end].isdigit() and end - at < 6:
            end += 1
        length = int(mangled[at:end])
        last, at = mangled[end : end + length], end + length
    return last or None
