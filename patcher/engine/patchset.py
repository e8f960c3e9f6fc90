"""The edits that make a type: ``patches/*.toml`` and the templates that they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from patcher.base.errors import ShippedFileError, UsageError
from patcher.base.resources import resource_dir
from patcher.engine import rendering, type_file
from patcher.engine.anchors import ANCHORS
from patcher.engine.quant_type import QuantType
from patcher.engine.tree import Tree
from patcher.engine.tree_record import Choices

NEW_FILE = "new-file"  # the kind of an edit that adds a whole file; its anchor is {beside = PATH or PATHS}


@dataclass(frozen=True)
class Edit:
    """One intention: what is put where, and why."""

    id: str
    group: str
    purpose: str
    files: tuple[str, ...]  # candidates, newest path first; the first one that the tree has is meant
    kind: str  # of the anchor
    anchor: Mapping[str, Any]
    template: str
    when: str | None = None  # a pattern that the file has to match for the edit to be needed
    unless_missing: str | None = None  # why the file may be absent; None: it must be there
    exact: bool = False  # what stands there under our name must be ours, token by token
    compare: str | None = None  # a pattern whose first group must agree between ours and theirs
    signature: str | None = None  # a function whose parameters' types must agree
    required: str | None = None  # why the type doesn't compile or compute without it
    optional: str | None = None  # what the type does without it: a missing anchor is a note
    unneeded: str | None = None  # why this tree's layout has no place for it
    equals: tuple[Mapping[str, str], ...] = ()  # other texts that mean the same: template, because
    own: bool = False  # of a user's own type: the template lies beside its file, and is rendered in a sandbox

    @property
    def besides(self) -> tuple[str, ...]:
        """Of a new file: for each of :attr:`files`, the file that it is put beside."""
        beside = self.anchor["beside"]
        return (beside,) if isinstance(beside, str) else tuple(beside)

    def new_place(self, has: Callable[[str], bool]) -> tuple[str, str] | None:
        """Of a new file: the first of :attr:`files` whose neighbour is there, and that neighbour."""
        return next((pair for pair in zip(self.files, self.besides, strict=True) if has(pair[1])), None)


@dataclass(frozen=True)
class Retired:
    """An edit of an earlier release of this tool, for trees that still have what it wrote."""

    id: str
    files: tuple[str, ...]
    text: str  # a pattern for what it put there; what a group ``keep`` matches was there before
    because: str  # why there is no such edit any more
    of: str = ""  # the edit that wrote it, where that is still there and writes something else

    @property
    def by(self) -> str:
        """The name under which a tree says that it was written."""
        return self.of or self.id


@dataclass(frozen=True)
class Group:
    """Edits that belong in one commit of the exported series."""

    id: str
    subject: str
    body: str
    needs: tuple[str, ...] = ()  # groups without which this one's text calls what isn't there
    wants: tuple[str, ...] = ()  # groups that it does without, but does better with


@dataclass(frozen=True)
class PatchSet:
    """A type and all its edits, in the order in which they are applied."""

    name: str
    type: QuantType
    groups: tuple[Group, ...]
    edits: tuple[Edit, ...]
    templates: Path
    known_good: tuple[str, ...] = field(default=())
    retired: tuple[Retired, ...] = ()  # see patcher.engine.retired
    upstream_ids: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # numbers upstream has taken
    source: str = "q8_a8"  # what load() takes to make this set once more
    home: Path | None = None  # the folder of a user's own file
    waivers: tuple[Mapping[str, str], ...] = ()  # sites of the sibling that need nothing of this type's
    lifted: Mapping[str, str] | None = None  # where 'type lift' took the type from
    not_lifted: tuple[Mapping[str, str], ...] = ()  # what names it there, and isn't carried
    strip: str = ""  # a folder that the edits' paths have and the tree's don't, see layout.fitted
    fitted: bool = False
    choices: Choices = field(default_factory=Choices)  # what was decided for the tree that it is meant for
    updates: bool = False  # texts that an earlier release of this tool wrote give way to today's
    wrote: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # edit -> hashes of what we put there

    def render(self, edit: Edit, tree: Tree, values: Mapping[str, object]) -> str:
        """The edit's text for one site; ``values`` are what the anchor found there."""
        return self.render_text(edit, edit.template, tree, values)

    def render_text(
        self, edit: Edit, template: str, tree: Tree, values: Mapping[str, object] | None = None
    ) -> str:
        """:meth:`render` with another ``template`` than the edit's own."""
        given = {"type": self.type, "has": rendering.Has(tree, self.strip), "site": dict(values or {})}
        if edit.own and self.home is not None:
            return rendering.theirs(template, self.home, self.templates, given)
        return rendering.ours(template, self.templates, given)

    def select(self, only: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> PatchSet:
        """The same set with only, or without, the edits and groups named. A group brings those that it needs
        or wants, and goes with those that it needs.

        Raises :class:`UsageError` for a name that is neither.
        """
        known = {edit.id for edit in self.edits} | {group.id for group in self.groups}
        unknown = [name for name in (*only, *without) if name not in known]
        if unknown:
            raise UsageError(f"{unknown[0]}: no such edit or group", hint="'q8a8-patch status' lists them")
        for group in self.groups:
            only += (*group.needs, *group.wants) if group.id in only else ()
            without += (group.id,) if set(group.needs) & set(without) else ()
        edits = tuple(
            edit
            for edit in self.edits
            if (not only or edit.id in only or edit.group in only)
            and edit.id not in without
            and edit.group not in without
        )
        return replace(self, edits=edits)

    def keeps(self, edit: Edit) -> bool:
        """Whether somebody has decided that what the tree has for ``edit`` stays."""
        return edit.id in self.choices.keep or edit.group in self.choices.keep

    def replaces(self, edit: Edit) -> bool:
        """Whether somebody has decided that ours takes the place of what the tree has for ``edit``."""
        return edit.id in self.choices.replace or edit.group in self.choices.replace


def load(which: str | Path = "q8_a8") -> PatchSet:
    """The type that ships under the name ``which``, or the one of a user's own file.

    Raises :class:`PatcherError` where what ships is malformed, :class:`UsageError` where a user's file is.
    """
    if which in type_file.SHIPPED:
        document, source = type_file.shipped(str(which)), str(which)
    else:
        place = type_file.in_folder(Path(which))  # which drift reads again, and a record names
        document, source = type_file.own(place), str(place.absolute())
    where, templates = document.where, resource_dir("templates")
    edits = tuple(edit_from_table(table, where) for table in document.edits.values())
    if document.home is not None:
        for edit in edits:
            if edit.own:
                try:
                    rendering.place_of(edit.template, document.home, templates)
                except UsageError as why:
                    raise UsageError(f"{where}: {edit.id}: {why.message}", hint=why.hint) from why
    return PatchSet(
        name=document.type.name,
        type=document.type,
        groups=tuple(
            Group(**table | {key: tuple(table.get(key, ())) for key in ("needs", "wants")})
            for table in document.groups.values()
        ),
        edits=edits,
        templates=templates,
        known_good=document.known_good,
        retired=tuple(
            Retired(**table | {"files": tuple(table["files"])})
            for table in document.retired
            if table["id"] not in document.edits
        ),
        upstream_ids=document.upstream_ids,
        source=source,
        home=document.home,
        waivers=tuple(document.waivers),
        lifted=document.lifted,
        not_lifted=tuple(document.not_lifted),
    )


def edit_from_table(table: dict[str, Any], where: str) -> Edit:
    """One ``[[edit]]`` table. Raises :class:`PatcherError` where it is malformed."""
    anchor = dict(table.pop("anchor"))
    kind = anchor.pop("kind", None)
    if kind != NEW_FILE and kind not in ANCHORS:
        raise ShippedFileError(f"{where}: edit {table.get('id')}: unknown anchor kind {kind}")
    try:
        equals = tuple(table.pop("equals", ()))
        return Edit(files=tuple(table.pop("files")), kind=kind, anchor=anchor, equals=equals, **table)
    except (TypeError, KeyError) as why:
        raise ShippedFileError(f"{where}: edit {table.get('id')}: {why}") from why
