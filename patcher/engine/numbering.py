"""The type's numbers in a tree where somebody has chosen others: keep theirs, or move them to the reserved.

Numbers are in files, so neither happens without being asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from patcher.base.errors import ConflictError
from patcher.base.progress import SILENT, Reporter
from patcher.engine.anchors import ANCHORS
from patcher.engine.anchors.source import Source
from patcher.engine.enum_numbers import members
from patcher.engine.patchset import Edit, PatchSet
from patcher.engine.tree import Tree

# the enum, in C or Python -> the fact of the type that is its number
_FACTS = {
    "ggml_type": "id",
    "GGMLQuantizationType": "id",
    "ggml_ftype": "ggml_ftype",
    "llama_ftype": "ftype",
    "LlamaFileType": "ftype",
}


@dataclass(frozen=True)
class Number:
    """A number that the tree gives the type: in which enum, in which file."""

    fact: str  # id, ftype or ggml_ftype
    enum: str
    file: str
    value: int


def numbers(tree: Tree, patchset: PatchSet) -> list[Number]:
    """What the tree itself says, C first."""
    found: list[Number] = []
    for edit in patchset.edits:
        enum = _enum(edit)
        if enum not in _FACTS or not is_numbered(edit):
            continue
        path = next((path for path in edit.files if tree.read(path) is not None), None)
        if path is None:
            continue
        source = Source(path, tree.read(path) or b"")
        for member in members(source, enum, ANCHORS[edit.kind].language):
            if member.name == edit.anchor["ours"]:
                found.append(Number(_FACTS[enum], enum, path, member.value))
    return found


def _enum(edit: Edit) -> str | None:
    kind = ANCHORS.get(edit.kind)
    return str(edit.anchor[kind.enum]) if kind is not None and kind.enum else None


def is_numbered(edit: Edit) -> bool:
    """Whether ``edit`` puts the type's own number into an enum: only a tree with the type has it."""
    return edit.kind in ANCHORS and ANCHORS[edit.kind].is_member


def adopt(patchset: PatchSet, tree: Tree, reporter: Reporter = SILENT) -> PatchSet:
    """The patch set with the numbers that the tree has, where it has any; each is warned of.

    Raises :class:`ConflictError` where the tree contradicts itself: files that its C and its Python
    write would differ.
    """
    chosen: dict[str, Number] = {}
    for number in numbers(tree, patchset):
        known = chosen.setdefault(number.fact, number)
        if known.value != number.value:
            raise ConflictError(
                f"{tree.name}: {known.enum} says {known.value} ({known.file}), {number.enum} says"
                f" {number.value} ({number.file})",
                hint="make them agree, or use --renumber",
            )
    for fact, number in chosen.items():
        reserved = getattr(patchset.type, fact)
        if number.value == reserved:
            continue
        later = patchset.upstream_ids.get(fact, {}).get(str(number.value))
        reason = f"upstream uses it for {later}" if later else "upstream may take it for another type any day"
        reporter.warn(
            f"{number.file}: {patchset.type.upper} keeps {number.value} in {number.enum}; {reason}, and files"
            f" written with it can't be read elsewhere (reserved: {reserved}, see --renumber)"
        )
    values = {fact: number.value for fact, number in chosen.items()}
    choices = replace(patchset.choices, numbers=values)
    return replace(with_numbers(patchset, values), choices=choices)


def with_numbers(patchset: PatchSet, values: Mapping[str, int]) -> PatchSet:
    """The patch set with other numbers for the type: ``id``, ``ftype``, ``ggml_ftype``, as far as given."""
    edits = []
    for edit in patchset.edits:
        enum = _enum(edit)
        if enum in _FACTS and _FACTS[enum] in values:
            edits.append(replace(edit, anchor={**edit.anchor, "value": values[_FACTS[enum]]}))
        else:
            edits.append(edit)
    quant_type = patchset.type
    numbered = replace(
        quant_type,
        id=values.get("id", quant_type.id),
        ftype=values.get("ftype", quant_type.ftype),
        ggml_ftype=values.get("ggml_ftype", quant_type.ggml_ftype),
    )
    return replace(patchset, type=numbered, edits=tuple(edits))


def renumber(patchset: PatchSet, tree: Tree, reporter: Reporter = SILENT) -> PatchSet:
    """The patch set with edits that move the tree's own numbers to the reserved ones."""
    moved = [
        number for number in numbers(tree, patchset) if number.value != getattr(patchset.type, number.fact)
    ]
    for number in moved:
        reporter.warn(
            f"{number.file}: {patchset.type.upper} moves from {number.value} to"
            f" {getattr(patchset.type, number.fact)} in {number.enum}; files written with {number.value} need"
            " 'q8a8-patch gguf retag'"
        )
    edits = tuple(
        replace(edit, anchor={**edit.anchor, "renumber": True}) if is_numbered(edit) else edit
        for edit in patchset.edits
    )
    return replace(patchset, edits=edits)
