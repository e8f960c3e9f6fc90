"""What one edit means in the one file that it goes to: there, missing, replaced, kept, or in conflict."""

from __future__ import annotations

from collections.abc import Iterable

from patcher.engine import (
    comparison,
    equivalence,
    merging,
    patterns,
    replacement,
)
from patcher.engine.anchors import AnchorError, Existing, Located, ParsedFile, Site, Source, Splice, splice
from patcher.engine.comparison import tokens
from patcher.engine.foreign import Foreign
from patcher.engine.patchset import Edit, PatchSet
from patcher.engine.plan import EditPlan, State
from patcher.engine.tree import Tree
from patcher.engine.tree_record import text_hash

OLDER = "as an earlier q8a8-patch wrote it; 'apply --update' brings it to today's"


def unplaced(
    edit: Edit, path: str, detail: str, *, choosable: bool = False, there: tuple[tuple[int, int], ...] = ()
) -> EditPlan:
    """A conflict; of an optional edit a note, unless somebody's own is in the way of it."""
    if edit.optional is not None and not choosable:
        return EditPlan(edit, State.UNPLACED, path, f"{detail}; optional: {edit.optional}")
    return EditPlan(edit, State.CONFLICT, path, detail, choosable=choosable, there=there)


class Editor:
    """One edit in the one file that it goes to."""

    def __init__(self, tree: Tree, patchset: PatchSet, edit: Edit, file: ParsedFile) -> None:
        self.tree, self.patchset, self.edit, self.file = tree, patchset, edit, file
        self.source = file.source
        self.path = file.source.path

    def plan(self, second: list[Foreign]) -> EditPlan:
        """What the edit means here; ``second`` are definitions of its symbol in other files."""
        edit = self.edit
        merge = merging.progress(self.source)
        if merge is not None:
            return EditPlan(edit, State.CONFLICT, self.path, merge)
        if edit.when is not None and not patterns.search(edit, "when", self.source.data):
            return EditPlan(edit, State.NOT_NEEDED, self.path, f"nothing here matches '{edit.when}'")
        patterns.try_anchor(edit, lambda: self.file.locate(edit.kind, edit.anchor))
        try:
            located = self.file.locate(edit.kind, edit.anchor)
        except AnchorError as why:
            return unplaced(edit, self.path, str(why))
        if located.unneeded:
            return EditPlan(edit, State.NOT_NEEDED, self.path, located.unneeded)
        if not located.sites and not located.existing:
            return unplaced(edit, self.path, f"looked for a place ({edit.kind}); found none")
        hard, soft, proofs, spans, old = self._judged(located)
        hard += [f"{one.name} in {one.file}, line {one.line}: {one.consequence}" for one in second]
        said = hard + soft
        if old and not said and self.patchset.updates:
            return self._replaced(old, second)
        if said and self.patchset.replaces(edit):
            return self._replaced(spans, second)
        if said and self.patchset.keeps(edit):
            return self._kept(located, said, second)
        if hard and edit.optional is None:
            detail = "looked for ours; found " + "; ".join(hard)
            return unplaced(edit, self.path, detail, choosable=True, there=_spans(located))
        return self._as_it_is(located, "; ".join(said), proofs, is_old=bool(old))

    def _judged(
        self, located: Located
    ) -> tuple[list[str], list[str], list[str], list[tuple[int, int]], list[tuple[int, int]]]:
        """What is hard and what is soft of the differences, what was proved equal, and where they are; where
        texts are that an earlier release of this tool wrote."""
        hard = [there.contradiction for there in located.existing if there.contradiction]
        spans = [(there.start, there.end) for there in located.existing if there.contradiction]
        soft: list[str] = []
        proofs: list[str] = []
        old: list[tuple[int, int]] = []
        found = comparison.differences(self.tree, self.patchset, self.edit, self.source, located)
        for one in found:
            reason = self._proof(one.there) if one.may_be_equal else None
            if reason is not None:
                proofs.append(f"{one.there.owner}: {reason}")
            elif one.may_be_equal and self._was_ours(one.there):
                old.append((one.there.start, one.there.end))
            else:
                (hard if one.hard or self.edit.id in self.patchset.wrote else soft).append(one.detail)
                spans.append((one.there.start, one.there.end))
        return hard, soft, proofs, spans, old

    def _was_ours(self, there: Existing) -> bool:
        return comparison.written_before(self.patchset, self.edit, self.source, there)

    def _proof(self, there: Existing) -> str | None:
        theirs = tokens(self.source.data[there.start : there.end], python=self.path.endswith(".py"))
        if there.twin is not None and not self.edit.anchor.get("arm"):
            ours, twin = "", tokens(self.source.data[slice(*there.twin)])
        else:
            text = self.patchset.render(self.edit, self.tree, there.values or {})
            ours, twin = comparison.part_of(self.edit, text), ""
        return equivalence.proof(self.tree, self.patchset, self.edit, self.source, ours, theirs, twin)

    def _cuts(self, sites: Iterable[Site]) -> tuple[Splice, ...]:
        return tuple(splice(self.source, site, self._text(site)) for site in sites)

    def _text(self, site: Site) -> str:
        return site.text if site.text is not None else self.patchset.render(self.edit, self.tree, site.values)

    def _hashes(self, sites: Iterable[Site]) -> tuple[str, ...]:
        texts = [comparison.part_of(self.edit, self._text(site)) for site in sites]
        return tuple(dict.fromkeys(text_hash(text) for text in texts))

    def _replaced(self, spans: list[tuple[int, int]], second: list[Foreign]) -> EditPlan:
        edit = self.edit
        sites: list[Site] = []

        def rendered(site: Site) -> str:
            sites.append(site)
            return self._text(site)

        try:
            cuts = replacement.replaced(edit, self.source, spans, rendered)
        except AnchorError as why:
            return EditPlan(edit, State.CONFLICT, self.path, f"theirs can't be replaced: {why}")
        gone = tuple(
            (one.file, cut)
            for one in second
            for cut in replacement.removed(
                Source(one.file, self.tree.read(one.file) or b""), [(one.start, one.end)]
            )
        )
        where = [f"line {self.source.line_number(start)}" for start, _ in spans]
        where += [f"{one.file}, line {one.line}" for one in second]
        return EditPlan(
            edit, State.MISSING, self.path, f"to replace: theirs in {'; '.join(where)}", cuts,
            tuple(site.owner for site in sites), gone, hashes=self._hashes(sites), resolution="replaced",
        )  # fmt: skip

    def _kept(self, located: Located, said: list[str], second: list[Foreign]) -> EditPlan:
        """Theirs stays; what else the edit puts elsewhere in the file is put there."""
        detail = f"kept: theirs, {'; '.join(said)}; ours was there because: {self.edit.purpose}"
        sites = () if second else located.sites
        cuts = self._cuts(sites)
        owners = tuple(there.owner for there in located.existing) + tuple(site.owner for site in sites)
        return EditPlan(
            self.edit, State.MISSING if cuts else State.PRESENT, self.path, detail, cuts, owners,
            there=_spans(located), hashes=self._hashes(sites), resolution="kept",
        )  # fmt: skip

    def _as_it_is(
        self, located: Located, differs: str, proofs: list[str], *, is_old: bool = False
    ) -> EditPlan:
        edit = self.edit
        there = tuple(item.owner for item in located.existing)
        owners = tuple(site.owner for site in located.sites)
        told = [f"written differently from ours ({differs})"] if differs else []
        told += [f"equal to ours: {one}" for one in proofs]
        told += [OLDER] if is_old else []
        cuts = self._cuts(located.sites)
        if all(cut.start == cut.end and not cut.text for cut in cuts):  # nothing to add, says the template
            detail = "; ".join([_listed("there", there), *told])
            return EditPlan(
                edit, State.PRESENT, self.path, detail, owners=there, there=_spans(located), differs=differs,
                is_old=is_old,
            )  # fmt: skip
        detail = "; ".join([_listed("to add", owners), *([_listed("there", there)] if there else []), *told])
        return EditPlan(
            edit, State.MISSING, self.path, detail, cuts, owners,
            there=_spans(located), hashes=self._hashes(located.sites), differs=differs,
        )  # fmt: skip


def _spans(located: Located) -> tuple[tuple[int, int], ...]:
    return tuple((item.start, item.end) for item in located.existing)


def _listed(word: str, owners: Iterable[str]) -> str:
    names = [name for name in dict.fromkeys(owners) if name]
    return f"{word}: {', '.join(names)}" if names else word
