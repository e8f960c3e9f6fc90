"""A type's edits as one tree has them: what was left out, kept, replaced and numbered there, remembered."""

from __future__ import annotations

from dataclasses import replace

from patcher.base.errors import UsageError
from patcher.engine import tree_record
from patcher.engine.numbering import is_numbered, with_numbers
from patcher.engine.patchset import PatchSet
from patcher.engine.tree import Tree
from patcher.engine.tree_record import Choices, TypeRecord


def remembered(patchset: PatchSet, tree: Tree) -> PatchSet:
    """``patchset`` with all that ``tree``'s own file says of the type, and the waivers that it has.

    Raises :class:`UsageError` where that file is malformed.
    """
    record = tree_record.read(tree)
    part = record.of(patchset.name)
    made = settled(patchset, part, part.choices)
    return replace(made, waivers=(*made.waivers, *record.waivers))


def chosen(
    patchset: PatchSet,
    tree: Tree | None,
    *,
    only: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    everything: bool = False,
    fixes: tuple[str, ...] = (),
    keep: tuple[str, ...] = (),
    replaced: tuple[str, ...] = (),
) -> PatchSet:
    """:func:`remembered`, with what a command line says over it (:meth:`Choices.merged`).

    Raises :class:`UsageError` for a name that is no edit, group or fix.
    """
    record = tree_record.read(tree) if tree is not None else tree_record.TreeRecord()
    part = record.of(patchset.name)
    known = _names(_with_fixes(patchset, (*_known_fixes(part.choices), *fixes)))
    # who leaves out what isn't there any more has what was asked for
    left_out = [name for name in without if name not in {one.id for one in patchset.retired}]
    unknown = [name for name in (*only, *left_out, *keep, *replaced) if name not in known]
    if unknown:
        raise UsageError(f"{unknown[0]}: no such edit or group", hint="'q8a8-patch status' lists them")
    numbers = [edit.id for edit in patchset.edits if edit.id in keep and is_numbered(edit)]
    if numbers:
        raise UsageError(
            f"--keep {numbers[0]}: a number stands in several files, which have to agree",
            hint="--adopt-id keeps it in all of them",
        )
    both = sorted(set(keep) & set(replaced))
    if both:
        raise UsageError(
            f"{both[0]}: looked for one of --keep and --replace, found both",
            hint="--keep leaves your lines as they are, --replace writes the type's: leave one out",
        )
    choices = part.choices.merged(
        only=only, without=without, everything=everything, fixes=fixes, keep=keep, replaced=replaced
    )
    made = settled(patchset, part, choices)
    return replace(made, waivers=(*made.waivers, *record.waivers))


def settled(patchset: PatchSet, part: TypeRecord, choices: Choices) -> PatchSet:
    """The patch set that ``choices`` leave. Names that this release doesn't know any more are passed over."""
    fixes = _known_fixes(choices)
    made = _with_fixes(patchset, fixes)
    known = _names(made)
    only = tuple(name for name in choices.only if name in known)
    without = tuple(name for name in choices.without if name in known)
    if only or without:
        made = made.select((*only, *fixes) if only else (), without)
    if choices.numbers:
        made = with_numbers(made, choices.numbers)
    return replace(made, choices=choices, wrote=part.wrote)


def _known_fixes(choices: Choices) -> tuple[str, ...]:
    if not choices.fixes:
        return ()
    from patcher.engine.build_fixes import catalogue

    known = catalogue()
    return tuple(name for name in choices.fixes if name in known)


def _with_fixes(patchset: PatchSet, names: tuple[str, ...]) -> PatchSet:
    if not names:
        return patchset
    from patcher.engine.build_fixes import with_fixes

    return with_fixes(patchset, names)


def _names(patchset: PatchSet) -> set[str]:
    return {edit.id for edit in patchset.edits} | {group.id for group in patchset.groups}
