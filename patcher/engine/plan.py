"""Every edit computed in memory: what would be written, what is there, what is in the way.

Nothing is written here. A plan with a conflict is refused whole by whoever would write it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from patcher.base.errors import ConflictError
from patcher.base.progress import SILENT, Reporter
from patcher.engine.anchors import (
    ANCHORS,
    AnchorError,
    Existing,
    Located,
    ParsedFile,
    Place,
    Site,
    Source,
    Splice,
    splice,
)
from patcher.engine.anchors.source import blank_run
from patcher.engine.patchset import NEW_FILE, Edit, PatchSet
from patcher.engine.tree import Tree


class State(str, Enum):
    """What an edit is, in a tree. The values are part of the JSON contract."""

    APPLIED = "applied"  # written by us
    PRESENT = "present"  # there already, by another hand
    MISSING = "missing"  # to be written
    CONFLICT = "conflict"
    NOT_NEEDED = "not-needed"


@dataclass(frozen=True)
class EditPlan:
    """What one edit means for one tree."""

    edit: Edit
    state: State
    file: str
    detail: str = ""
    splices: tuple[Splice, ...] = ()
    owners: tuple[str, ...] = ()


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

    @property
    def conflicts(self) -> tuple[EditPlan, ...]:
        """The edits that stand in the way of all."""
        return tuple(edit for edit in self.edits if edit.state is State.CONFLICT)

    @property
    def extent(self) -> str:
        """What there is to do, in words: ``67 edits in 43 files``."""
        edits, files = len(self.missing), len(self.files)
        return f"{edits} edit{'s' * (edits != 1)} in {files} file{'s' * (files != 1)}"

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
        lines = [f"{edit.edit.id}: {edit.file}: {edit.detail}" for edit in self.conflicts]
        known = ", ".join(self.patchset.known_good)
        count = f"{len(lines)} edit{'s' if len(lines) > 1 else ''} can't be placed, nothing was written"
        hint = f"known to work: {known}; 'q8a8-patch status' shows the rest"
        if any(f", not {self.patchset.type.id}" in edit.detail for edit in self.conflicts):
            ours = "--renumber moves the number to the reserved one, --adopt-id keeps theirs"
            other = f"where {self.patchset.type.upper} is a type of upstream's own, neither will do"
            hint = f"{ours}; {other}; {hint}"
        raise ConflictError("\n  ".join([f"{self.tree}: {count}", *lines]), hint=hint)

    def diff(self) -> str:
        """The plan as a unified diff that ``git apply`` takes."""
        return "".join(
            unified(file.path, None if file.is_new else file.before, file.after()) for file in self.files
        )


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


def make_plan(tree: Tree, patchset: PatchSet, reporter: Reporter = SILENT) -> Plan:
    """Compute every edit of ``patchset`` on ``tree``. Never raises for a conflict: it is in the plan."""
    paths = {edit.id: _candidate(tree, edit) for edit in patchset.edits}
    parsed = _parsed(tree, patchset, paths)
    plans: list[EditPlan] = []
    with reporter.step("Planning", total=len(patchset.edits)) as step:
        for number, edit in enumerate(patchset.edits):
            step.update(done=number, detail=edit.id)
            path = paths[edit.id]
            if edit.kind == NEW_FILE:
                plans.append(_plan_new_file(tree, patchset, edit))
            else:
                plans.append(_plan_edit(tree, patchset, edit, parsed[path]) if path else _without_file(edit))
    files, plans = _merge(plans, parsed)
    return Plan(tree.name, patchset, tuple(plans), files)


def _candidate(tree: Tree, edit: Edit) -> str | None:
    """The first of the edit's files that the tree has."""
    return next((path for path in edit.files if tree.read(path) is not None), None)


def _parsed(tree: Tree, patchset: PatchSet, paths: Mapping[str, str | None]) -> dict[str, ParsedFile]:
    """Every file that an edit goes to, with all the anchors that will be looked for in it."""
    anchors: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for edit in patchset.edits:
        path = paths[edit.id]
        if path is not None and edit.kind != NEW_FILE:
            anchors.setdefault(path, []).append((edit.kind, edit.anchor))
    return {path: ParsedFile(Source(path, tree.read(path) or b""), asked) for path, asked in anchors.items()}


def _without_file(edit: Edit) -> EditPlan:
    if edit.unless_missing is not None:
        return EditPlan(edit, State.NOT_NEEDED, edit.files[0], edit.unless_missing)
    return EditPlan(edit, State.CONFLICT, edit.files[0], "looked for the file; found none of that name")


def _plan_new_file(tree: Tree, patchset: PatchSet, edit: Edit) -> EditPlan:
    """A file of our own: it is the whole template, or it is somebody else's."""
    place = edit.new_place(lambda name: tree.read(name) is not None)
    if place is None:
        if edit.unless_missing is not None:
            return EditPlan(edit, State.NOT_NEEDED, edit.files[0], edit.unless_missing)
        return EditPlan(edit, State.CONFLICT, edit.files[0], no_neighbour(edit))
    path, beside = place
    if edit.when is not None and not re.search(edit.when.encode(), tree.read(beside) or b""):
        return EditPlan(edit, State.NOT_NEEDED, path, f"nothing in {beside} matches '{edit.when}'")
    text = patchset.render(edit, tree, {}).encode()
    there = tree.read(path)
    if there is None:
        return EditPlan(edit, State.MISSING, path, "to add: the file", (Splice(0, 0, text),), (path,))
    if _tokens(there) == _tokens(text):
        return EditPlan(edit, State.PRESENT, path, "there", owners=(path,))
    detail = f"looked for no file, or ours; found one {_difference(_tokens(text), _tokens(there))}"
    return EditPlan(edit, State.CONFLICT, path, detail)


def no_neighbour(edit: Edit) -> str:
    """What is said of a new file that has no place."""
    return f"looked for {' or '.join(edit.besides)}, to put it beside; found none"


def _plan_edit(tree: Tree, patchset: PatchSet, edit: Edit, file: ParsedFile) -> EditPlan:
    path = file.source.path
    if edit.when is not None and not re.search(edit.when.encode(), file.source.data):
        return EditPlan(edit, State.NOT_NEEDED, path, f"nothing here matches '{edit.when}'")
    try:
        located = file.locate(edit.kind, edit.anchor)
    except AnchorError as why:
        return EditPlan(edit, State.CONFLICT, path, str(why))
    if not located.sites and not located.existing:
        return EditPlan(edit, State.CONFLICT, path, f"looked for a place ({edit.kind}); found none")
    problems = [there.contradiction for there in located.existing if there.contradiction]
    problems += _differences(tree, patchset, edit, file.source, located)
    if problems:
        return EditPlan(edit, State.CONFLICT, path, "looked for ours; found " + "; ".join(problems))
    splices = tuple(
        splice(
            file.source,
            site,
            site.text if site.text is not None else patchset.render(edit, tree, site.values),
        )
        for site in located.sites
    )
    there = tuple(item.owner for item in located.existing)
    owners = tuple(site.owner for site in located.sites)
    if not splices:
        detail = _listed("there", there)
        if _differs(tree, patchset, edit, file.source, located):
            detail += "; written differently from ours"
        return EditPlan(edit, State.PRESENT, path, detail, owners=there)
    detail = _listed("to add", owners) + (f"; {_listed('there', there)}" if there else "")
    return EditPlan(edit, State.MISSING, path, detail, splices, owners)


def _differs(tree: Tree, patchset: PatchSet, edit: Edit, source: Source, located: Located) -> bool:
    """Whether a part that is there does not say what ours would: no contradiction, but worth knowing."""
    if not ANCHORS[edit.kind].is_whole or len(located.existing) != 1:
        return False
    there = located.existing[0]
    return _tokens(patchset.render(edit, tree, {}).encode()) not in _tokens(
        source.data[there.start : there.end]
    )


def _listed(word: str, owners: Iterable[str]) -> str:
    names = [name for name in dict.fromkeys(owners) if name]
    return f"{word}: {', '.join(names)}" if names else word


def _differences(tree: Tree, patchset: PatchSet, edit: Edit, source: Source, located: Located) -> list[str]:
    """How a part that is there under our name contradicts ours."""
    if not (edit.exact or edit.compare or edit.signature) or not located.existing:
        return []
    ours = _tokens(patchset.render(edit, tree, {}).encode())
    problems = []
    for there in located.existing:
        theirs = _tokens(source.data[there.start : there.end])
        if edit.signature is not None:
            wanted, found = (signature(text, edit.signature) for text in (ours, theirs))
            if wanted is not None and found is not None and _interchangeable(wanted, found, patchset):
                continue
        elif edit.compare is not None:
            wanted, found = _part(edit.compare, ours), _part(edit.compare, theirs)
        else:
            wanted, found = ours, theirs
        if wanted != found:
            line = source.line_number(there.start)
            problems.append(f"{there.owner} in line {line}, {_difference(wanted or ours, found or theirs)}")
    return problems


_QUALIFIER = re.compile(r"\b(?:GGML_RESTRICT|restrict|__restrict|RESTRICT)\b")


def signature(tokens: str, function: str) -> str | None:
    """The types of a function's parameters, out of its text with one space between tokens.

    Names and ``restrict`` say nothing to a caller and are left out.
    """
    found = re.search(rf"\b{re.escape(function)} \(([^()]*)\)", tokens)
    if found is None:
        return None
    parameters = []
    for text in _QUALIFIER.sub("", found.group(1)).split(","):
        words = text.split()
        if len(words) > 1 and re.fullmatch(r"[A-Za-z_]\w*", words[-1]):
            words.pop()  # the parameter's name
        parameters.append(" ".join(words))
    return " , ".join(parameters)


def _interchangeable(ours: str, theirs: str, patchset: PatchSet) -> bool:
    """Whether C takes one for the other at every call: blocks may go by ``void *``."""
    block = rf"\bblock_{patchset.type.name} \*"
    return re.sub(block, "void *", ours) == re.sub(block, "void *", theirs)


def _difference(wanted: str, found: str) -> str:
    """Where two token texts part, with a little of what follows."""
    ours, theirs = wanted.split(), found.split()
    same = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    start = max(0, (min(len(ours), len(theirs)) if same is None else same) - 3)
    return f"as '{' '.join(theirs[start : start + 8])}' instead of '{' '.join(ours[start : start + 8])}'"


def _part(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found.group(1) if found else None


_TOKEN = re.compile(r"\w+|[^\w\s]")
_COMMENT = re.compile(rb"//[^\n]*|/\*(?:.|\n)*?\*/")


def _tokens(data: bytes) -> str:
    """The text with comments dropped and one space between tokens: what the compiler would compare."""
    code = _COMMENT.sub(lambda found: blank_run(found.group()), data)
    return " ".join(_TOKEN.findall(code.decode("utf-8", "replace"))).rstrip(" ,;")


def _merge(
    plans: list[EditPlan], parsed: Mapping[str, ParsedFile]
) -> tuple[tuple[FilePlan, ...], list[EditPlan]]:
    """Bring each file's splices in order; two that overlap are a conflict of the later edit."""
    by_file: dict[str, list[tuple[str, Splice]]] = {}
    out: list[EditPlan] = []
    for plan in plans:
        taken = by_file.setdefault(plan.file, [])
        clash = next((name for name, cut in taken if any(_overlap(cut, ours) for ours in plan.splices)), None)
        if clash is not None:
            detail = f"looked for free text; found edit {clash} there"
            out.append(EditPlan(plan.edit, State.CONFLICT, plan.file, detail))
            continue
        taken += [(plan.edit.id, cut) for cut in plan.splices]
        out.append(plan)
    files = tuple(
        # a stable sort: where two edits insert at one offset, the patch set's order holds
        FilePlan(
            path,
            parsed[path].source.data if path in parsed else b"",
            tuple(sorted(cuts, key=lambda item: item[1].start)),
            path not in parsed,
        )
        for path, cuts in by_file.items()
        if cuts
    )
    return files, out


def _overlap(one: Splice, other: Splice) -> bool:
    if one.start == one.end or other.start == other.end:  # an insertion clashes only inside a replacement
        return one.start < other.start < one.end or other.start < one.start < other.end
    return one.start < other.end and other.start < one.end


__all__ = ["EditPlan", "Existing", "FilePlan", "Place", "Plan", "Site", "State", "make_plan", "unified"]
