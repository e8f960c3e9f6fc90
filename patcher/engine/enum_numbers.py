"""The numbers of everybody's types in the tree's enums: none twice, and C and Python agree.

Two enumerators with one number are what a merge of two forks gives. A compiler takes them as long as no
switch names both, and files of the one are read as the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from patcher.engine.anchors import ANCHORS, AnchorError, Source
from patcher.engine.anchors.enums import members_of
from patcher.engine.anchors.kind import Language
from patcher.engine.anchors.python_module import Module, member_lines
from patcher.engine.foreign import Foreign
from patcher.engine.patchset import PatchSet
from patcher.engine.tree import Tree

# an enum of C and the class of Python that says the same; what the names of the one have before the other's
_PAIRS = (
    ("ggml_type", "GGMLQuantizationType", "GGML_TYPE_"),
    ("llama_ftype", "LlamaFileType", "LLAMA_FTYPE_"),
)


@dataclass(frozen=True)
class NumberedMember:
    """One member of an enum, and whether it is there under a condition alone."""

    name: str
    value: int
    file: str
    line: int
    conditional: bool


def clashes(tree: Tree, patchset: PatchSet) -> Iterator[Foreign]:
    """Every number that is two types', and every type that has two numbers, in the enums that edits go to."""
    enums = {enum: list(found) for enum, found in _enums(tree, patchset)}
    for enum, found in enums.items():
        first: dict[int, NumberedMember] = {}
        for one in found:
            other = first.setdefault(one.value, one)
            if other is one or other.name == one.name or (other.conditional and one.conditional):
                continue
            said = f"{one.value} is {other.name}'s, too (line {other.line}): their files can't be told apart"
            yield Foreign(one.file, one.line, "number", enum, one.name, said)
    for c_enum, python_enum, prefix in _PAIRS:
        spoken = {one.name: one for one in enums.get(python_enum, ())}
        for one in enums.get(c_enum, ()):
            twin = spoken.get(one.name.removeprefix(prefix))
            if twin is not None and twin.value != one.value:
                said = f"{one.value} in {one.file}, line {one.line}, and {twin.value} here: one is wrong"
                yield Foreign(twin.file, twin.line, "number", python_enum, twin.name, said)


def _enums(tree: Tree, patchset: PatchSet) -> Iterator[tuple[str, Iterator[NumberedMember]]]:
    seen = set()
    for edit in patchset.edits:
        kind = ANCHORS.get(edit.kind)
        if kind is None or not kind.is_member:
            continue
        enum = str(edit.anchor[kind.enum])
        path = next((path for path in edit.files if tree.read(path) is not None), None)
        if path is None or enum in seen:
            continue
        seen.add(enum)
        yield enum, members(Source(path, tree.read(path) or b""), enum, kind.language)


def members(source: Source, enum: str, language: Language) -> Iterator[NumberedMember]:
    """The members of ``enum`` in ``source`` whose number can be told; none where there is no such enum."""
    try:
        if language is Language.PYTHON:
            for name, value, offset in member_lines(Module(source, [f"class {enum}"]), enum):
                yield NumberedMember(name, value, source.path, source.line_number(offset), False)
            return
        for name, value, offset, conditional in members_of(source, enum):
            if not name.endswith("_COUNT"):
                yield NumberedMember(name, value, source.path, source.line_number(offset), conditional)
    except AnchorError:
        return  # the edit that goes there says what is wrong
