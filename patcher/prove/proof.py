"""What a proof says: what was compared where, and what differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from patcher.base.units import how_many
from patcher.prove.running import Called


@dataclass(frozen=True)
class Part:
    """One thing that was compared: what the type does (``what``) with one pattern of ``rows``.

    ``numbers`` were compared, of which ``differing`` are not the same; ``first`` is the place of the first,
    ``worst`` the largest difference of two floats in proportion to the larger one. ``detail`` says what else,
    ``beside`` why a difference isn't the type's.
    """

    rows: str
    what: str
    numbers: int
    differing: int
    first: int | None = None
    worst: float | None = None
    detail: str = ""
    beside: str = ""

    def text(self) -> str:
        """One line."""
        if self.detail:
            return f"{self.what} ({self.rows}): {self.detail}"
        worst = f", by up to {self.worst:.2g} of their size" if self.worst is not None else ""
        return f"{self.what} ({self.rows}): {self.differing} of {self.numbers} differ{worst}"


@dataclass(frozen=True)
class NotCompiled:
    """Why one ``side`` (``tree`` or ``base``) has no program: ``error`` is the first one, with its place.

    ``text`` says whose line it stands in: ``type``, ``own`` (what the side has without the type), or
    ``unknown``, where none of its lines is named, as where nothing is linked.
    """

    side: str
    error: str
    text: str
    log: str = ""

    @property
    def differs(self) -> bool:
        """Whether the base fails, by more than what it has without the type, where the tree compiles."""
        return self.side == "base" and self.text != "own"

    def said(self) -> str:
        """For a terminal, in one line."""
        whose = {
            "type": f"the type's text in the {self.side}",
            "own": f"the {self.side}'s own text, without the type",
            "unknown": f"the {self.side}, in none of its own lines",
        }
        return f"not compiled: {self.error} ({whose[self.text]})"


@dataclass
class ArchitectureProof:
    """One architecture. ``way``: ``native`` or an emulator; ``lacking`` says why nothing was compared.

    ``not_compiled`` is the reason where a compiler was there and didn't take one of the sides.
    """

    name: str
    way: str
    compiler: str = ""
    lacking: str = ""
    not_compiled: NotCompiled | None = None
    compared: list[Part] = field(default_factory=list)

    @property
    def differing(self) -> list[Part]:
        """What isn't the same."""
        return [part for part in self.compared if part.differing and not part.beside]

    @property
    def beside(self) -> list[Part]:
        """What isn't the same, and isn't the type's."""
        return [part for part in self.compared if part.differing and part.beside]

    @property
    def ended(self) -> list[Part]:
        """What ends the program, in the same way in both."""
        return [part for part in self.compared if part.what == "end" and not part.differing]

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.name,
            "way": self.way,
            "compiler": self.compiler,
            "lacking": self.lacking,
            "not_compiled": asdict(self.not_compiled) if self.not_compiled else None,
            "comparisons": len(self.compared),
            "numbers": sum(part.numbers for part in self.compared),
            "differing": [_document(part) for part in self.differing],
            "beside": [{**_document(part), "why": part.beside} for part in self.beside],
            "ended": [part.rows for part in self.ended],
        }


@dataclass
class Proof:
    """Of the type ``type``, as the base with it (``base``) and ``tree`` compute it."""

    type: str
    tree: str
    base: str
    work: str
    architectures: list[ArchitectureProof] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether all that was compared is the same; what the type computes was, on each architecture.

        An architecture that couldn't be tried doesn't count: one without a compiler, or where the tree, or
        what the base has without the type, doesn't compile. One where only the base does not, for the type's
        sake, is a difference.
        """
        ran = [one for one in self.architectures if one.compared]
        computed = [any(part.numbers > 1 for part in one.compared) for one in ran]
        broken = any(one.not_compiled and one.not_compiled.differs for one in self.architectures)
        return bool(ran) and all(computed) and not broken and not any(one.differing for one in ran)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "type": self.type,
            "tree": self.tree,
            "base": self.base,
            "work": self.work,
            "equal": self.is_equal,
            "architectures": [one.document() for one in self.architectures],
        }

    def text(self) -> str:
        """For a terminal: the verdict, a line for each architecture, and what differs, if anything."""
        verdict = (
            "computes the same in both, byte by byte"
            if self.is_equal
            else "does not compute the same in both"
        )
        lines = [f"{self.type}: {verdict}", f"  tree  {self.tree}", f"  base  {self.base}, with the type"]
        for one in self.architectures:
            if one.not_compiled:
                lines.append(f"  {one.name:<8} {one.not_compiled.said()}")
                continue
            if one.lacking:
                lines.append(f"  {one.name:<8} not proved: {one.lacking}")
                continue
            numbers = sum(part.numbers for part in one.compared)
            differing = one.differing
            said = f"{len(differing)} differ" if differing else "all the same"
            if one.ended:
                said += f"; the program ends in both: {', '.join(dict.fromkeys(p.rows for p in one.ended))}"
            lines.append(
                f"  {one.name:<8} {one.way}, {one.compiler}: {how_many(len(one.compared), 'comparison')} of"
                f" {how_many(numbers, 'number')}, {said}"
            )
            lines += [f"    {part.text()}" for part in differing]
            lines += [f"    beside the type: {said}" for said in _beside(one.beside)]
        return "\n".join(lines)


def _document(part: Part) -> dict[str, Any]:
    return {name: value for name, value in asdict(part).items() if name != "beside"}


def _beside(parts: list[Part]) -> Iterator[str]:
    """Each reason once, with all that it stands for."""
    for why in dict.fromkeys(part.beside for part in parts):
        found = [part for part in parts if part.beside == why]
        named = [part.rows if part.what == "end" else f"{part.what} ({part.rows})" for part in found]
        yield f"{', '.join(named)}: {why}"


def compared(rows: str, tree: Called, base: Called) -> Iterator[Part]:
    """``tree`` and ``base`` by their parts: every record that one of them has."""
    if tree.ended or base.ended:
        same = tree.ended == base.ended
        both = [f"{who}: {one.ended or 'ends well'}" for who, one in (("tree", tree), ("base", base))]
        words = f" ({base.last_words or tree.last_words})" if not same else ""
        yield Part(rows, "end", 1, 0 if same else 1, detail="; ".join(both) + words)
    for name in dict.fromkeys((*tree.records, *base.records)):
        ours, theirs = base.records.get(name), tree.records.get(name)
        if ours is None or theirs is None:
            if tree.ended or base.ended:
                continue  # said above
            yield Part(rows, name, 1, 1, detail=f"only {'the tree' if ours is None else 'the base'} has it")
        elif theirs[0] == "text" or len(ours[1]) != len(theirs[1]) or ours[0] != theirs[0]:
            yield _texts(rows, name, theirs, ours)
        else:
            yield _numbers(rows, name, theirs, ours)


def _texts(rows: str, name: str, tree: tuple[str, bytes], base: tuple[str, bytes]) -> Part:
    if tree == base:
        return Part(rows, name, 1, 0)
    said = [
        value.decode("utf-8", "replace") if form == "text" else f"{len(value)} bytes"
        for form, value in (tree, base)
    ]
    return Part(rows, name, 1, 1, detail=f"{said[0]} in the tree, {said[1]} in the base")


def _numbers(rows: str, name: str, tree: tuple[str, bytes], base: tuple[str, bytes]) -> Part:
    element = np.dtype("u1") if tree[0] == "u8" else np.dtype("<u4")
    theirs, ours = (np.frombuffer(value, element) for value in (tree[1], base[1]))
    unequal = theirs != ours
    worst = None
    if tree[0] == "f32":
        values = [np.frombuffer(value, "<f4").astype(np.float64) for value in (tree[1], base[1])]
        # which of the many that are no number it is, is the compiler's to choose
        unequal &= ~(np.isnan(values[0]) & np.isnan(values[1]))
        sizes = np.maximum(abs(values[0]), abs(values[1]))
        with np.errstate(all="ignore"):
            errors = np.where(unequal & (sizes > 0), abs(values[0] - values[1]) / sizes, 0)
        finite = errors[np.isfinite(errors)]
        worst = float(finite.max()) if unequal.any() and finite.size else None
    places = np.flatnonzero(unequal)
    return Part(
        rows, name, int(theirs.size), int(places.size), int(places[0]) if places.size else None, worst
    )
