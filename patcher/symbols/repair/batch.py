"""All lines of one source, proven together: the file is compiled as it would be written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from patcher.symbols.repair.database import Compilation
from patcher.symbols.repair.proof import Compiled, RepairProof, compiled, judged
from patcher.symbols.repair.signature import Signature

if TYPE_CHECKING:
    from patcher.engine.anchors import Splice

ROUNDS = 24  # compiles of one source


@dataclass
class Candidate:
    """One symbol of one source: the lines that may define it, and which is the one that does."""

    symbol: str
    signature: Signature
    lines: Sequence[str]
    at: int = 0  # which line
    at_end: bool = False  # of the file: beside the others it stands in what isn't compiled
    proof: RepairProof | None = None

    @property
    def line(self) -> str:
        """The line that is tried, or was proven; the first where none was."""
        return self.lines[self.at]

    def give_up(self, why: RepairProof, *, elsewhere: bool) -> None:
        """Go on to the next place or line; ``why`` is the last word where there is none."""
        if elsewhere and not self.at_end:
            self.at_end = True
        elif self.at + 1 < len(self.lines):
            self.at, self.at_end = self.at + 1, False
        else:
            self.at, self.at_end = 0, False
            self.proof = why


@dataclass
class Batch:
    """The candidates of one compilation."""

    compilation: Compilation
    candidates: list[Candidate] = field(default_factory=list)

    def prove(self) -> None:
        """Find for each symbol the line and the place that define it. Few compiles: all lines are in each."""
        for _ in range(ROUNDS):
            tried = [one for one in self.candidates if one.proof is None]
            if not tried:
                return
            kept = [one for one in self.candidates if one.proof is not None and one.proof.proven]
            if self._round([*kept, *tried], tried):
                continue
            for one in tried:  # nobody can say which line it is: each for itself
                if one.proof is None:
                    self._round([*kept, one], [one], alone=True)
        for one in self.candidates:
            one.proof = one.proof or RepairProof(False, f"not found out in {ROUNDS} compiles")

    def _round(self, inside: list[Candidate], tried: list[Candidate], *, alone: bool = False) -> bool:
        """Compile once; False where the compiler refuses it and names none of our lines."""
        text = spliced(self.compilation.source.name, self.compilation.source.read_bytes(), inside)
        done = compiled(text, self.compilation)
        if isinstance(done, RepairProof):
            for one in tried:
                one.proof = done
            return True
        if done.names is None:
            return self._refused(done, text, tried, alone=alone)
        for one in tried:
            proof = judged(done.names, one.symbol)
            if proof.proven:
                one.proof = proof
            else:
                one.give_up(proof, elsewhere=True)
        return True

    @staticmethod
    def _refused(done: Compiled, text: bytes, tried: list[Candidate], *, alone: bool) -> bool:
        lines = text.decode("utf-8", "replace").split("\n")
        blamed = {lines[number - 1].strip() for number in done.lines if 0 < number <= len(lines)}
        named = [one for one in tried if one.line in blamed or alone]
        for one in named:
            one.give_up(RepairProof(False, done.refusal), elsewhere=False)
        return bool(named)


def spliced(path: str, data: bytes, candidates: Sequence[Candidate]) -> bytes:
    """The source with every line in its place."""
    out, position = [], 0
    for _, cut in splices(path, data, candidates):
        out += [data[position : cut.start], cut.text]
        position = cut.end
    return b"".join([*out, data[position:]])


def splices(path: str, data: bytes, candidates: Sequence[Candidate]) -> list[tuple[str, Splice]]:
    """(id of the edit, what is done), in the file's order; a line that serves several symbols once."""
    once = {one.line: one for one in candidates}.values()
    made = [(f"instantiate:{one.symbol}", _splice(path, data, one)) for one in once]
    return sorted(made, key=lambda item: item[1].start)


def _splice(path: str, data: bytes, one: Candidate) -> Splice:
    """Behind the last explicit instantiation of the same template, else at the end of the file."""
    from patcher.engine.anchors import Place, Site, Source, splice

    source = Source(path, data)
    name = rb"(?:\w+\s*::\s*)*" + re.escape(one.signature.base.encode())
    there = list(
        re.finditer(rb"^[ \t]*template\s(?!\s*<)[^;{}]{0,500}\b" + name + rb"\s*<[^;{}]*;", source.code, re.M)
    )
    if there and not one.at_end:
        at = source.line_end(there[-1].end() - 1)
        site = Site(one.signature.name, at, at, Place.LINES, source.indent(there[-1].start()))
    else:
        site = Site(one.signature.name, len(data), len(data), Place.LINES, blank_before=1)
    return splice(source, site, one.line)
