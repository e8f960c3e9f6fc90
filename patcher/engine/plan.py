"""What every edit means for one tree, and what its files would be: a plan, which is a value.

It is made by :mod:`patcher.engine.planning`. A plan with a conflict is refused whole by whoever would
write it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from enum import Enum

from patcher.base.errors import ConflictError
from patcher.base.units import how_many
from patcher.engine.anchors import ANCHORS, Splice
from patcher.engine.foreign import Foreign
from patcher.engine.merging import MERGE
from patcher.engine.patchset import Edit, PatchSet


class State(str, Enum):
    """What an edit is, in a tree. The values are part of the JSON contract."""

    APPLIED = "applied"  # written by us
    PRESENT = "present"  # there already, by another hand
    MISSING = "missing"  # to be written
    CONFLICT = "conflict"
    NOT_NEEDED = "not-needed"
    UNPLACED = "unplaced"  # has no place here, and the type goes in without it: the edit is optional


@dataclass(frozen=True)
class EditPlan:
    """What one edit means for one tree."""

    edit: Edit
    state: State
    file: str
    detail: str = ""
    splices: tuple[Splice, ...] = ()
    owners: tuple[str, ...] = ()
    elsewhere: tuple[tuple[str, Splice], ...] = ()  # of a replacement: (file, what takes theirs out of it)
    there: tuple[tuple[int, int], ...] = ()  # the bytes of the file that are this edit's already
    is_old: bool = False  # what is there is ours, of an earlier release of this tool
    hashes: tuple[str, ...] = ()  # of the texts that ``splices`` write, see tree_record.text_hash
    resolution: str = ""  # kept or replaced, where somebody has chosen between theirs and ours
    differs: str = ""  # how what is there differs from ours, where that may be right
    choosable: bool = False  # of a conflict: --keep and --replace are ways out


@dataclass(frozen=True)
class FilePlan:
    """One file before and after all edits."""

    path: str
    before: bytes
    splices: tuple[tuple[str, Splice], ...]  # (edit id, splice), in file order
    is_new: bool = False  # the tree has no such file

    def after(self, edits: set[str] | None = None) -> bytes:
        """The content with the splices of ``edits`` (all where None)."""
        out, position = [], 0
        for edit, cut in self.splices:
            if edits is None or edit in edits:
                out += [self.before[position : cut.start], cut.text]
                position = cut.end
        return b"".join([*out, self.before[position:]])


@dataclass(frozen=True)
class Plan:
    """All edits and all files of one tree."""

    tree: str
    patchset: PatchSet
    edits: tuple[EditPlan, ...]
    files: tuple[FilePlan, ...] = field(repr=False)
    foreign: tuple[Foreign, ...] = field(default=(), repr=False)  # what another hand wrote about the type

    @property
    def differing(self) -> tuple[EditPlan, ...]:
        """The edits that stand there in another form than ours, which nobody has decided on."""
        return tuple(edit for edit in self.edits if edit.differs and not edit.resolution)

    @property
    def conflicts(self) -> tuple[EditPlan, ...]:
        """The edits that stand in the way of all."""
        return tuple(edit for edit in self.edits if edit.state is State.CONFLICT)

    @property
    def extent(self) -> str:
        """What there is to do, in words: ``65 edits in 40 files``."""
        return f"{how_many(len(self.missing), 'edit')} in {how_many(len(self.files), 'file')}"

    @property
    def missing(self) -> tuple[EditPlan, ...]:
        """The edits that would be written."""
        return tuple(edit for edit in self.edits if edit.state is State.MISSING)

    @property
    def state(self) -> str:
        """The whole tree in one word: ``clean``, ``partial``, ``applied`` or ``conflict``."""
        if self.conflicts:
            return "conflict"
        if not self.missing:
            return "applied"
        there = any(edit.state in (State.PRESENT, State.APPLIED) for edit in self.edits)
        return "partial" if there else "clean"

    def require_clean(self) -> None:
        """Raise :class:`ConflictError`, all conflicts named, where there is one."""
        if not self.conflicts:
            return
        merges = sorted({f"{edit.file}: {edit.detail}" for edit in self.conflicts if MERGE in edit.detail})
        others = [edit for edit in self.conflicts if MERGE not in edit.detail]
        lines = merges + [f"{edit.edit.id}: {edit.file}: {edit.detail}" for edit in others]
        count = f"{how_many(len(lines), 'edit')} can't be placed, nothing was written"
        if merges and not others:
            count = f"a merge is in progress in {how_many(len(lines), 'file')}, nothing was written"
        raise ConflictError(f"{self.tree}: {count}", hint=self._ways_out(others), details=lines)

    def _ways_out(self, conflicts: list[EditPlan]) -> str:
        quant_type, ways = self.patchset.type, []
        if len(conflicts) < len(self.conflicts):
            ways.append("take upstream's side of the merge, then apply: the type's own lines come back")
        if any(f", not {quant_type.id}" in edit.detail for edit in conflicts):
            ways.append("--renumber moves the number to the reserved one, --adopt-id keeps theirs")
            ways.append(f"where {quant_type.upper} is a type of upstream's own, neither will do")
        names = [edit.edit.id for edit in conflicts if edit.choosable and not _is_number(edit.edit)]
        if names:
            ways.append(
                f"for each of {', '.join(names)}: --keep {names[0]} leaves theirs,"
                f" --replace {names[0]} puts ours there"
            )
        taken = [edit.edit.id for edit in conflicts if edit.choosable and _is_number(edit.edit)]
        if taken and not ways:
            ways.append(f"--replace {taken[0]} puts ours there")
        stuck = [edit.edit for edit in conflicts if not edit.choosable]
        if stuck:
            loss = f", and then {stuck[0].required}" if stuck[0].required else ""
            ways.append(f"--without {stuck[0].id} leaves that edit out{loss}")
        if conflicts:
            ways.append(
                f"known to work: {', '.join(self.patchset.known_good)}; 'q8a8-patch status' shows the rest"
            )
        return "; ".join(ways)

    def diff(self) -> str:
        """The plan as a unified diff that ``git apply`` takes."""
        return "".join(
            unified(file.path, None if file.is_new else file.before, file.after()) for file in self.files
        )


def _is_number(edit: Edit) -> bool:
    """Whether ``edit`` puts a number of the type's into an enum: the others have to agree with it."""
    return edit.kind in ANCHORS and ANCHORS[edit.kind].is_member


def unified(path: str, before: bytes | None, after: bytes) -> str:
    """A git-style unified diff of one file (``before`` is None for a new one).

    Bytes that aren't UTF-8 survive as surrogates.
    """
    old = (before or b"").decode("utf-8", "surrogateescape").splitlines(keepends=True)
    new = after.decode("utf-8", "surrogateescape").splitlines(keepends=True)
    out = []
    head = "new file mode 100644\n" if before is None else ""
    for line in difflib.unified_diff(
        old, new, f"a/{path}" if before is not None else "/dev/null", f"b/{path}"
    ):
        out.append(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n")
    return f"diff --git a/{path} b/{path}\n{head}{''.join(out)}" if out else ""


__all__ = ["EditPlan", "FilePlan", "Plan", "State", "unified"]
