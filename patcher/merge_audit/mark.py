"""An item that a merge has too rarely or too often, and what one file has of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from patcher.merge_audit.finding import Finding
from patcher.merge_audit.item import ONCE, Key
from patcher.merge_audit.weighing import Counts


@dataclass
class Mark:
    """An item that the merge has too rarely or too often, by ``number``."""

    key: Key
    number: int
    counts: Counts
    side: str  # that brought it: ours, theirs, both, base
    was: int  # its line there
    near: int | None  # the nearest line in the merge
    owned: tuple[bool, bool, bool, bool] = (True, True, True, True)  # whether its owner is in each version
    form: Mark | None = None  # what the merge has instead of it
    without: frozenset[str] = frozenset()  # the words of it that ``form`` lacks
    gone: str = ""  # which owner of it the other side removed
    removed_by: str = ""
    fits: bool = False  # git's merge of lines has it, and no conflict: nothing takes its place

    @property
    def is_double(self) -> bool:
        """Whether it is one more of what a side has in that very place: it came from nowhere else."""
        return (
            self.key.construct in ONCE
            and max(self.counts.ours, self.counts.theirs) > 0
            and not self.counts.removed_by
        )


@dataclass
class Compared:
    """What a file's versions say. ``lost`` and ``spare`` may still find each other in other files."""

    path: str
    findings: list[Finding] = field(default_factory=list)
    lost: list[Mark] = field(default_factory=list)
    spare: list[Mark] = field(default_factory=list)
    elsewhere: list[tuple[Mark, str]] = field(
        default_factory=list
    )  # under another condition, and what is said
    own: int = 0  # items that only the merge has
    is_bare: bool = False  # no version of it has any item
    left: set[Key] = field(default_factory=set)  # that both sides have fewer of than the base
    grown: dict[Key, int] = field(default_factory=dict)  # how many more a side has of what the other removed
    enums: dict[str, dict[tuple[str, ...], dict[str, tuple[int | None, int, bool]]]] = field(
        default_factory=dict
    )


def finding(rule: str, path: str, mark: Mark, detail: str, *, line: int | None = None) -> Finding:
    """``mark`` as a finding in ``path``; ``line`` where it stands in the merge, else the nearest place."""
    was = (path, mark.was) if mark.was else None
    key = mark.key
    return Finding(
        rule, path, line or mark.near, key.construct, key.owner, key.text, mark.side, was, detail, mark.number
    )
