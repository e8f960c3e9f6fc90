"""How often an item must be in a merge, by how often it is on the sides: the rule of three, for multisets."""

from __future__ import annotations

from typing import NamedTuple


class Counts(NamedTuple):
    """How often an item is in each version of its file; ``bases`` has one count for each merge base."""

    bases: tuple[int, ...]
    ours: int
    theirs: int
    merged: int

    @property
    def base(self) -> int:
        """In the base; in the one that has it least where there are several."""
        return min(self.bases, default=0)

    @property
    def missing(self) -> int:
        """How many fewer there are than the sides ask for."""
        return max(0, self._bounds()[0] - self.merged)

    @property
    def spare(self) -> int:
        """How many more there are than the sides allow."""
        return max(0, self.merged - self._bounds()[1])

    @property
    def added_twice(self) -> bool:
        """Whether each side added it for itself, and the merge has both."""
        each = self.ours > self.base and self.theirs > self.base
        return each and self.merged > max(self.ours, self.theirs)

    @property
    def removed_by(self) -> str:
        """The side that took it away on purpose: ``ours``, ``theirs``, ``both`` or none (empty)."""
        return _sides(self.ours < self.base, self.theirs < self.base)

    @property
    def brought_by(self) -> str:
        """The side that added it, ``both``, or ``base`` where both kept it."""
        return _sides(self.ours > self.base, self.theirs > self.base) or "base"

    def _bounds(self) -> tuple[int, int]:
        pairs = [_allowed(base, self.ours, self.theirs) for base in self.bases or (0,)]
        return min(low for low, _ in pairs), max(high for _, high in pairs)


def _allowed(base: int, ours: int, theirs: int) -> tuple[int, int]:
    """The fewest and the most that a merge of these may have."""
    if ours == base:
        return theirs, theirs
    if theirs == base:
        return ours, ours
    both = ours + theirs - base
    if ours == theirs:  # the same change twice is one change, or two
        return min(ours, max(0, both)), max(ours, both)
    return max(0, min(ours, theirs, both)), max(ours, theirs, both)


def _sides(ours: bool, theirs: bool) -> str:
    return "both" if ours and theirs else "ours" if ours else "theirs" if theirs else ""
