"""Verdicts: for each reference of each object, whose fault it is that nothing defines it."""

from __future__ import annotations

from patcher.symbols.elf import ElfObject, Reference
from patcher.symbols.findings import Collection, SymbolFinding
from patcher.symbols.inputs import Inputs
from patcher.symbols.leaks import leaks
from patcher.symbols.mismatches import tls_mismatches
from patcher.symbols.scope import Scope, has_lost_versions, provides
from patcher.symbols.search import MUSL, Search
from patcher.symbols.threads import opened, refused

LACKING = ("undefined-symbol", "hidden-definition", "version-mismatch")
_NOWHERE = "defined nowhere in what is loaded"


class Closures:
    """What each object leads to. Nearly always the same in every scope, so asked once and then checked."""

    def __init__(self) -> None:
        self._known: dict[
            ElfObject, tuple[frozenset[ElfObject], list[tuple[ElfObject, tuple[ElfObject, ...]]]]
        ] = {}

    def of(self, scope: Scope, item: ElfObject) -> frozenset[ElfObject]:
        """:meth:`Scope.closure`."""
        known = self._known.get(item)
        edges = scope.edges
        if known is not None and all(edges.get(member, ()) == there for member, there in known[1]):
            return known[0]
        closure = scope.closure(item)
        self._known[item] = (closure, [(member, edges.get(member, ())) for member in closure])
        return closure


class Verdicts:
    """Collects the findings of every scope; each object counts once per company that it is in."""

    def __init__(self, inputs: Inputs, search: Search) -> None:
        self.inputs, self._search = inputs, search
        self.findings = Collection()
        self.lacking: set[tuple[str, str]] = set()  # file and symbol, told one by one or not
        self.symbols = 0  # references that were looked up
        self._given = set(self.inputs.objects)
        self._followed: set[ElfObject] = set()  # whose search paths were looked at
        self._closures = Closures()
        self._having: dict[str, list[ElfObject]] = {}  # name -> who of this scope exports it
        self._lacking: dict[tuple[ElfObject, frozenset[ElfObject], str], list[Reference]] = {}
        # who provided a name and version the last time, for each loader's rules
        self._served: dict[str, dict[tuple[bytes, str | None], ElfObject]] = {}
        self._open: list[tuple[Scope, ElfObject, Reference]] = []

    def add(
        self,
        scope: Scope,
        item: ElfObject,
        rule: str,
        symbol: str,
        detail: str,
        suggestion: str | None = None,
    ) -> None:
        """Record a finding, unless another root has shown it already."""
        if rule in LACKING:
            self.lacking.add((str(item.path), symbol))
        key = (rule, symbol, str(item.path))
        if key not in self.findings:
            self.findings.add(_finding(scope, item, rule, symbol, detail, suggestion))

    def check(self, scope: Scope) -> None:
        """Look every reference of every object of one scope up."""
        self._having.clear()
        gaps: set[ElfObject] = set()
        for gap in scope.missing:
            gaps.add(gap.requester)
            if gap.why:
                self.add(scope, gap.requester, "unreadable-file", gap.name, gap.why)
            elif not gap.assumed:
                from patcher.symbols.whereabouts import copies, searched

                places = searched(scope, gap, self._search)
                detail = f"{gap.requester.name} needs {gap.name}" + (f"; {places}" if places else "")
                advice = copies(gap, self.inputs.objects)
                self.add(scope, gap.requester, "library-not-found", gap.name, detail, advice)
        # what a library that isn't there would define can't be known to those who lead to it; and
        # what a plugin's host would have brought along may serve the plugin
        lost_company = not gaps.isdisjoint(scope.company)
        self._interpreter(scope)
        self._static_tls(scope)
        for item in scope.objects:
            self._paths(scope, item)
            untold = self._versions(scope, item)
            closure = self._closures.of(scope, item)
            key = (item, closure, scope.libc)
            lacking = self._lacking.get(key)
            if lacking is None:
                self.symbols += len(item.references)
                lacking = self._lacking_in(closure, item, scope)
                self._lacking[key] = lacking
                for name, detail in tls_mismatches(closure, item, scope):
                    self.add(scope, item, "tls-mismatch", name, detail)
            if closure.isdisjoint(gaps) and not (lost_company and item not in scope.company):
                for wanted in lacking:
                    # a version that the library as a whole lacks is told already, with its symbols
                    if (wanted.file, wanted.version) not in untold:
                        self._unresolved(scope, item, wanted)

    def _lacking_in(self, within: frozenset[ElfObject], item: ElfObject, scope: Scope) -> list[Reference]:
        """The references of ``item`` that nothing of ``within`` serves."""
        lacking, libc = [], scope.libc
        by_soname = {one.soname: one for one in within if one.soname}
        served = self._served.setdefault(libc, {})
        # a name without a version was nearly always linked against a library without versions, and that is
        # near; what an object lacks it hardly ever has itself
        near_first = [one for one in scope.objects if one in within and one is not item]
        near_first.sort(key=lambda one: one.versioned)
        near_first.append(item)
        for wanted, key in zip(item.references, item.keys, strict=True):
            known = served.get((key, wanted.version))
            if known is not None and known in within:
                continue
            # the library that the version is wanted from is nearly always the one that has it
            first = by_soname.get(wanted.file) if wanted.file else None
            if first is not None and first.exports.is_version(first.exports.get(key), wanted.version):
                served[key, wanted.version] = first
                continue
            for one in near_first:
                number = one.exports.get(key)
                if number is None or not provides(one.exports.among(number), one, wanted, libc):
                    continue
                # where it isn't served from the library that it names, it is no rule for others
                if wanted.version is None:
                    served[key, None] = one
                elif not (libc == MUSL or one.exports.is_version(number, wanted.version)):
                    detail = f"{one.name} has it without a version: linkers refuse, the loader doesn't"
                    self.add(scope, item, "loader-ok", _symbol(wanted), detail)
                break
            else:
                lacking.append(wanted)
        return lacking

    def _unresolved(self, scope: Scope, item: ElfObject, wanted: Reference) -> None:
        """``wanted`` is in none of the libraries that ``item`` names: is it anywhere?"""
        key = wanted.name
        if key not in self._having:
            self._having[key] = [one for one in scope.objects if key in one.exports]
        having = self._having[key]
        for provider in having:
            if provides(provider.exports.of(wanted.name), provider, wanted, scope.libc):
                if provider in scope.preloaded:
                    detail = f"{provider.name} has it, which is preloaded"
                    self.add(scope, item, "loader-ok", _symbol(wanted), detail)
                # a program that defines what its library calls back is no fault of either, nor is a
                # library that a plugin's host has loaded before it
                elif not (item is scope.root or wanted.weak or provider.executable) and (
                    item in scope.company or provider not in scope.company
                ):
                    detail = f"{provider.name} has it, which {item.name} doesn't name"
                    advice = f"link {item.name} against {provider.name}"
                    self.add(scope, item, "underlinked", _symbol(wanted), detail, advice)
                return
        lost = [one for one in having if has_lost_versions(one, wanted)]
        if lost:
            detail = f"{lost[0].name} has no versions any more, and glibc's loader stops at that"
            self.add(scope, item, "version-mismatch", _symbol(wanted), detail)
        elif wanted.weak:
            self.add(scope, item, "loader-ok", _symbol(wanted), "weak, and defined nowhere")
        elif having:
            versions = sorted({one.version or "unversioned" for one in having[0].exports.of(wanted.name)})
            detail = f"{having[0].name} has it as {', '.join(versions)}"
            self.add(scope, item, "version-mismatch", _symbol(wanted), detail)
        else:
            self._open.append((scope, item, wanted))

    def finish(self) -> None:
        """Say of each symbol that is defined nowhere where it is hidden, or what would define it."""
        if not self._open:
            return
        # not needed for what is clean, and slow to load
        from patcher.symbols.hints import Hints
        from patcher.symbols.hosts import proposed

        scopes = dict.fromkeys(scope for scope, _, _ in self._open)
        loaded = list(dict.fromkeys(item for scope in scopes for item in scope.objects))
        hints = Hints(self.inputs, {wanted.name for _, _, wanted in self._open}, self._search, loaded)
        nowhere: dict[tuple[str, str], tuple[SymbolFinding, Scope, ElfObject, str]] = {}
        for scope, item, wanted in self._open:
            key = (str(item.path), _symbol(wanted))
            if key in nowhere:
                continue
            hidden = hints.hidden(scope, wanted.name)
            if hidden is not None:
                where, found = hidden
                detail = f"{where.name} defines it, but {found.why}"
                advice = found.advice or f"export it from {where.name}"
                self.add(scope, item, "hidden-definition", _symbol(wanted), detail, advice)
            else:
                finding = _finding(scope, item, "undefined-symbol", _symbol(wanted), _NOWHERE)
                nowhere[key] = (finding, scope, item, wanted.name)
        self.lacking |= nowhere.keys()
        # modules that lack one program's names are one finding; advice takes the longest, and is for others
        alone = {key: finding for key, (finding, _, _, _) in nowhere.items()}
        hosted = {str(scope.root.path) for scope in scopes if scope.company}
        for one in proposed(list(alone.values()), self.inputs.objects, self._search, hosted):
            key = (one.object, one.symbol)
            if alone.get(key) is one:
                _, scope, item, name = nowhere[key]
                self.findings.add(one._replace(suggestion=hints.suggestion(scope, item, name)))
            else:
                self.findings.add(one)
        self._open.clear()

    def _versions(self, scope: Scope, item: ElfObject) -> set[tuple[str | None, str | None]]:
        """Versions that are wanted from a library as a whole (glibc's elf/dl-version.c); which it lacks."""
        lacking: set[tuple[str | None, str | None]] = set()
        if not item.wants or scope.libc != "glibc":
            return lacking
        by_name = {part.name: part for part in scope.objects}
        for want in dict.fromkeys(item.wants):
            there = by_name.get(want.file)
            if there is None or not there.versions or want.version in there.versions or want.weak:
                continue
            lacking.add((want.file, want.version))
            users = [
                one.name for one in item.references if (one.version, one.file) == (want.version, want.file)
            ]
            for name in users or [""]:
                symbol = f"{name}@{want.version}"
                detail = f"{want.file} doesn't have {want.version} ({there.path})"
                self.add(scope, item, "version-mismatch", symbol, detail)
        return lacking

    def _interpreter(self, scope: Scope) -> None:
        root = scope.root
        if root.executable and root in self._given and root.interpreter is not None:
            why = self._search.interpreter_problem(root)
            if why:
                detail = f"{root.name} is started by {root.interpreter}: {why}"
                self.add(scope, root, "interpreter-not-found", root.interpreter, detail)

    def _static_tls(self, scope: Scope) -> None:
        """Libraries that somebody opens at run time, and that want room set aside before it."""
        late = opened(scope)
        advice = "compile it with -ftls-model=global-dynamic, or link the program against it"
        for item, why in refused(scope, late):
            self.add(
                scope, item, "static-tls-refused", item.name, f"{item.name} can't be opened: {why}", advice
            )
        for item in late:
            detail = f"{item.name} uses static TLS, for which little room is left when it is opened"
            self.add(scope, item, "static-tls", item.name, detail, advice)

    def _paths(self, scope: Scope, item: ElfObject) -> None:
        if item not in self._given:
            return
        if item.rpath or item.runpath:
            for name in item.needed:
                if scope.found_by.get((item, name)) == "runpath":
                    self.add(
                        scope, item, "runpath-only", name, f"{name} is found through {item.name}'s RUNPATH"
                    )
        if item in self._followed:
            return
        self._followed.add(item)
        for symbol, detail in leaks(item, self._search, self.inputs.folders):
            self.add(scope, item, "build-tree-leak", symbol, detail)


def _symbol(wanted: Reference) -> str:
    return f"{wanted.name}@{wanted.version}" if wanted.version else wanted.name


def _finding(
    scope: Scope, item: ElfObject, rule: str, symbol: str, detail: str, suggestion: str | None = None
) -> SymbolFinding:
    way = scope.way(item)
    names, places = tuple(one.name for one in way), tuple(str(one.path) for one in way)
    return SymbolFinding(rule, symbol, str(item.path), names, detail, suggestion, places)
