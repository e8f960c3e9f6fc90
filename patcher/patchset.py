"""The edits that make a type: ``patches/*.toml`` and the templates that they name."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patcher.anchors import ANCHORS
from patcher.cache import cache_dir
from patcher.errors import PatcherError, UsageError
from patcher.quant_type import QuantType
from patcher.resources import resource_dir
from patcher.tree import Tree

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from jinja2 import Environment


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

    @property
    def besides(self) -> tuple[str, ...]:
        """Of a new file: for each of :attr:`files`, the file that it is put beside."""
        beside = self.anchor["beside"]
        return (beside,) if isinstance(beside, str) else tuple(beside)

    def new_place(self, has: Callable[[str], bool]) -> tuple[str, str] | None:
        """Of a new file: the first of :attr:`files` whose neighbour is there, and that neighbour."""
        return next((pair for pair in zip(self.files, self.besides, strict=True) if has(pair[1])), None)


@dataclass(frozen=True)
class Group:
    """Edits that belong in one commit of the exported series."""

    id: str
    subject: str
    body: str


@dataclass(frozen=True)
class PatchSet:
    """A type and all its edits, in the order in which they are applied."""

    name: str
    type: QuantType
    groups: tuple[Group, ...]
    edits: tuple[Edit, ...]
    templates: Path
    known_good: tuple[str, ...] = field(default=())
    upstream_ids: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # numbers upstream has taken

    @cached_property
    def _environment(self) -> Environment:
        from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined

        return Environment(
            loader=FileSystemLoader(self.templates),
            undefined=StrictUndefined,
            autoescape=False,  # noqa: S701 - the output is C, not HTML
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            # compiling forty templates takes a tenth of a second that every run would pay
            bytecode_cache=FileSystemBytecodeCache(str(cache_dir("templates"))),
        )

    def render(self, edit: Edit, tree: Tree, values: Mapping[str, object]) -> str:
        """The edit's text for one site; ``values`` are what the anchor found there."""
        from jinja2 import TemplateError

        try:
            template = self._environment.get_template(edit.template)
            return template.render(type=self.type, has=_Has(tree), site=dict(values))
        except TemplateError as why:
            raise PatcherError(f"templates/{edit.template}: {why}") from why

    def select(self, only: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> PatchSet:
        """The same set with only, or without, the edits and groups named.

        Raises :class:`UsageError` for a name that is neither.
        """
        known = {edit.id for edit in self.edits} | {group.id for group in self.groups}
        unknown = [name for name in (*only, *without) if name not in known]
        if unknown:
            raise UsageError(f"{unknown[0]}: no such edit or group", hint="'q8a8-patch status' lists them")
        edits = tuple(
            edit
            for edit in self.edits
            if (not only or edit.id in only or edit.group in only)
            and edit.id not in without
            and edit.group not in without
        )
        return replace(self, edits=edits)


class _Has:
    """``has(path, pattern)`` in templates: conditions on what the tree contains, never on a version."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def __call__(self, path: str, pattern: str = "") -> bool:
        data = self._tree.read(path)
        return data is not None and re.search(pattern.encode(), data) is not None


def load(name: str = "q8_a8") -> PatchSet:
    """Read ``patches/<name>.toml``. Raises :class:`PatcherError` where it is malformed."""
    path = resource_dir("patches") / f"{name}.toml"
    where = f"patches/{path.name}"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as why:
        raise PatcherError(f"{where}: {why}") from why
    groups = tuple(Group(**table) for table in document["group"])
    edits = tuple(_edit(table, where) for table in document["edit"])
    ids = [edit.id for edit in edits]
    if len(set(ids)) != len(ids):
        raise PatcherError(f"{where}: two edits have one id")
    unknown = {edit.group for edit in edits} - {group.id for group in groups}
    if unknown:
        raise PatcherError(f"{where}: unknown group {', '.join(sorted(unknown))}")
    return PatchSet(
        name=name,
        type=QuantType.from_table(document["type"], where),
        groups=groups,
        edits=edits,
        templates=resource_dir("templates"),
        known_good=tuple(document.get("known_good", ())),
        upstream_ids=document.get("upstream_ids", {}),
    )


def _edit(table: dict[str, Any], where: str) -> Edit:
    anchor = dict(table.pop("anchor"))
    kind = anchor.pop("kind", None)
    if kind != NEW_FILE and kind not in ANCHORS:
        raise PatcherError(f"{where}: edit {table.get('id')}: unknown anchor kind {kind}")
    try:
        return Edit(files=tuple(table.pop("files")), kind=kind, anchor=anchor, **table)
    except (TypeError, KeyError) as why:
        raise PatcherError(f"{where}: edit {table.get('id')}: {why}") from why
