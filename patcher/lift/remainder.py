"""What else names the type in the tree: an edit by analogy to its neighbour, or listed as not lifted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from patcher.base.units import how_many
from patcher.engine.anchors import Source
from patcher.engine.anchors.definitions import conditions_of
from patcher.engine.foreign import C_SUFFIXES
from patcher.lift.additions import Addition, Analogy
from patcher.lift.texts import FALLBACK, GPU
from patcher.lift.tree_index import TreeIndex
from patcher.lift.type_facts import TypeFacts

_TEXT_SUFFIXES = C_SUFFIXES | frozenset(
    (
        ".py", ".pyi", ".comp", ".glsl", ".glslh", ".wgsl", ".cl", ".txt", ".cmake", ".in", ".tmpl", ".md",
        ".sh", ".ps1", ".mk", ".yml", ".yaml", ".toml", ".nix", ".swift", ".kt", ".java", ".zig", ".rs",
        ".go", ".js", ".ts", ".tsx", ".svelte", "",
    )
)  # fmt: skip
_RECORDS = ".q8a8-patch"  # what this tool notes in a tree that it has written
_BACKEND = re.compile(r"ggml/src/ggml-(?!cpu/)([a-z]+)/|.*\.(cu|cuh|metal|comp|wgsl|cl)$")

Spans = Mapping[str, list[tuple[int, int]]]


@dataclass(frozen=True)
class Left:
    """A place that names the type and isn't carried. ``lines`` as people write them: 12, or 12-40."""

    file: str
    lines: str
    what: str
    reason: str

    def document(self) -> dict[str, str]:
        """The JSON form."""
        return {"file": self.file, "lines": self.lines, "what": self.what, "reason": self.reason}


@dataclass
class Remainder:
    """What was found beyond the sets and the texts."""

    added: list[Addition] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


def of_tree(
    tree: TreeIndex, base: TreeIndex, facts: TypeFacts, word: re.Pattern[str], accounted: Spans
) -> Remainder:
    """Every line of the tree that names the type, isn't in BASE, and isn't ``accounted`` for."""
    found = Remainder()
    names = (facts.name.encode(), facts.upper.encode(), facts.block.encode())
    for path in tree.files:
        if PurePosixPath(path).suffix not in _TEXT_SUFFIXES or path.startswith(_RECORDS):
            continue
        data = tree.tree.read(path)
        if data is None or not any(name in data for name in names):
            continue
        source = tree.source(path)
        if source is not None:
            _Scan(tree, base, facts.name, source, found).scan(word, accounted.get(path, []))
    return found


class _Scan:
    """One file."""

    def __init__(self, tree: TreeIndex, base: TreeIndex, name: str, source: Source, found: Remainder) -> None:
        self.base, self.path, self.source, self.found = base, source.path, source, found
        is_c = PurePosixPath(source.path).suffix in C_SUFFIXES
        self.analogy = Analogy(tree, base, name, source) if is_c else None

    def scan(self, word: re.Pattern[str], spans: list[tuple[int, int]]) -> None:
        before = self.base.same(self.path)
        known = (
            {b" ".join(line.split()) for line in before.data.split(b"\n")} if before is not None else set()
        )
        hits = [
            hit
            for hit in re.compile(word.pattern.encode()).finditer(self._spoken())
            if not any(start <= hit.start() < end for start, end in spans)
            and b" ".join(self.source.line(hit.start()).encode().split()) not in known
        ]
        if not hits:
            return
        backend = _BACKEND.match(self.path)
        if backend is not None:
            self._leave(
                hits,
                how_many(len(hits), "place"),
                f"a GPU backend's ({backend[1] or backend[2]}): its kernels aren't lifted",
            )
            return
        if before is None and not any(FALLBACK.match(self.source.line(hit.start())) for hit in hits):
            said = "what the type doesn't need of it" if spans else "nothing that is carried needs it"
            self._leave(hits, "a file that BASE hasn't", said)
            return
        rest: dict[tuple[str, str], list[re.Match[bytes]]] = {}
        done: list[tuple[int, int]] = []
        for hit in hits:
            if any(start <= hit.start() < end for start, end in done):
                continue
            line = (self.source.line_start(hit.start()), self.source.line_end(hit.start()))
            made = self.analogy.at(hit) if self.analogy is not None else None
            if made is not None:
                addition, span = made
                if addition is not None:
                    self.found.added.append(addition)
                done.append(span)
                continue
            rest.setdefault(self._reason(hit), []).append(hit)
            done.append(line)
        for (what, reason), places in rest.items():
            self._leave(places, what, reason)

    def _spoken(self) -> bytes:
        if self.analogy is not None:
            return self.source.spoken
        if self.path.endswith(".py"):
            return re.sub(
                rb"(?m)(?:^|(?<=[ \t]))#[^\n]*", lambda found: b" " * len(found[0]), self.source.data
            )
        return self.source.data

    def _leave(self, hits: list[re.Match[bytes]], what: str, reason: str) -> None:
        lines = sorted({self.source.line_number(hit.start()) for hit in hits})
        self.found.left.append(Left(self.path, spans_of(lines), what, reason))

    def _reason(self, hit: re.Match[bytes]) -> tuple[str, str]:
        if self.analogy is None:
            if self.path.endswith(".py"):
                return (
                    "Python",
                    "a changed function, or one that reads another format: nothing to put it beside",
                )
            return hit[0].decode("utf-8", "replace"), "no text of C or Python"
        said = " ".join(conditions_of(self.source, hit.start()))
        if GPU.search(said):
            return hit[0].decode(), "under a GPU backend's condition"
        syntax = self.analogy.syntax
        owner = syntax.owner(syntax.at(hit.start(), hit.end()))
        return (
            owner or hit[0].decode()
        ), "a changed function that is not additive" if owner else "no place by analogy"


def spans_of(lines: list[int]) -> str:
    """3-5, 9: neighbours as one span."""
    spans: list[list[int]] = []
    for line in lines:
        if spans and line <= spans[-1][1] + 1:
            spans[-1][1] = line
        else:
            spans.append([line, line])
    said = [str(a) if a == b else f"{a}-{b}" for a, b in spans]
    return ", ".join(said)
