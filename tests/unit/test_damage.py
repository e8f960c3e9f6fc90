"""What is done to a part of the type afterwards is named by the guard, whichever edit put it there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import pytest

from patcher.engine.anchors import ANCHORS
from patcher.engine.anchors.kind import Language
from patcher.engine.patchset import NEW_FILE, load
from patcher.engine.planning import make_plan
from patcher.engine.settled import remembered
from patcher.engine.tree import WorkTree
from patcher.guard.check import edit_problems
from tests.conftest import FIXTURES

PATCHSET = load()
EDITS = {edit.id: edit for edit in PATCHSET.edits if edit.kind != NEW_FILE}


@dataclass
class Memory:
    """A tree in memory that says of one file alone that it is there to be searched."""

    contents: dict[str, bytes]
    looked_at: str
    name: str = "memory"

    def read(self, path: str) -> bytes | None:
        return self.contents.get(path)

    def files(self) -> list[str]:
        return [self.looked_at]


@cache
def applied() -> tuple[dict[str, bytes], dict[str, list[tuple[str, int, int]]]]:
    """The pocket-sized tree with the type in it, and where each edit's text stands: (path, start, end)."""
    tree = WorkTree(FIXTURES / "mini")
    contents = {path: tree.read(path) or b"" for path in tree.files()}
    spans: dict[str, list[tuple[str, int, int]]] = {}
    for file in make_plan(tree, PATCHSET).files:
        contents[file.path] = file.after()
        shift = 0
        for edit, cut in file.splices:
            start = cut.start + shift
            spans.setdefault(edit, []).append((file.path, start, start + len(cut.text)))
            shift += len(cut.text) - (cut.end - cut.start)
    return contents, spans


def problems(edit: str, path: str, data: bytes) -> list[str]:
    """What the guard says of ``edit`` where ``path`` holds ``data``."""
    tree = Memory({**applied()[0], path: data}, path)
    patchset = remembered(PATCHSET, tree)
    alone = replace(patchset, edits=tuple(one for one in patchset.edits if one.id == edit))
    said = edit_problems(make_plan(tree, alone), carried=True)
    return [one.message for one in said if one.rule != "by-another-hand"]


def is_code(text: bytes) -> bool:
    """Whether a line computes anything: neither a comment nor an assertion does, and neither is compared."""
    return bool(text.strip()) and not text.strip().startswith((b"//", b"#", b"*")) and b"assert" not in text


def damages(edit: str, data: bytes, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    """(what was done, the file then)."""
    text, kind = data[start:end], ANCHORS[EDITS[edit].kind]
    before, after = data[:start], data[end:]
    lines = text.endswith(b"\n")
    if kind.name not in ("enum-count", "comparison"):  # these are one expression with what was there
        yield "taken out", before + after
        again = text if lines else text.strip(b" ")
        yield "twice", before + text + again + after
    if kind.language is Language.C and lines:
        body = text.strip(b"\n")
        yield "under a condition", before + b"\n#ifdef MINE\n" + body + b"\n#endif\n" + after
        yield "under #if 0", before + b"\n#if 0\n" + body + b"\n#endif\n" + after
    for number, line in enumerate(text.split(b"\n")):
        for old, new in ((b"Q8_A8", b"Q4_0"), (b"q8_a8", b"q4_0"), (b"==", b"!="), (b"&&", b"||")):
            if old in line and is_code(line):
                changed = b"\n".join(
                    line.replace(old, new, 1) if at == number else one
                    for at, one in enumerate(text.split(b"\n"))
                )
                yield f"'{line.strip().decode()}' with {new.decode()}", before + changed + after


# a second copy of these says what one says
HARMLESS = {("convert-choice", "twice"), ("test-py-quants", "twice")}


@pytest.mark.parametrize("edit", EDITS)
def test_whatever_is_done_to_an_edit_is_named(edit: str) -> None:
    contents, spans = applied()
    silent = []
    for path, start, end in spans[edit]:
        assert not problems(edit, path, contents[path])
        for what, data in damages(edit, contents[path], start, end):
            if (edit, what) not in HARMLESS and not problems(edit, path, data):
                silent.append(what)
    assert not silent


def test_a_statement_in_another_function_is_not_there() -> None:
    contents, spans = applied()
    ((path, start, end),) = spans["cache-as-sibling"]
    data = contents[path]
    moved = data[:start] + data[end:] + b"\nvoid another(int * params) {\n" + data[start:end] + b"}\n"
    assert "is missing" in problems("cache-as-sibling", path, moved)[0]


def test_a_statement_of_somebodys_that_names_the_type_is_not_ours() -> None:
    """Ours stands beside it, and one that stands there without ours doesn't do for it."""
    contents, spans = applied()
    ((path, start, end),) = spans["cache-as-sibling"]
    data = contents[path]
    theirs = b"    if (params.type_k == GGML_TYPE_Q8_A8) { warn(); }\n"
    assert not problems("cache-as-sibling", path, data[:start] + theirs + data[start:])
    assert "in another form" in problems("cache-as-sibling", path, data[:start] + theirs + data[end:])[0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"    int8_t    weight_qs[QK8_A8];", b"    uint8_t weight_qs[QK8_A8];", "as"),
        (b"#define QK8_A8 32", b"#define QK8_A8 64", "without '# define QK8_A8 32'"),
        (b"#define QK8_A8 32\n", b"#define QK8_A8 32 // as Q8_0\n", None),
        (b"static_assert(sizeof(block_q8_a8) == sizeof(block_q8_0)", b"(void)(0", "without 'static_assert ("),
    ],
)
def test_what_the_block_lacks_is_named(old: bytes, new: bytes, said: str | None) -> None:
    contents, spans = applied()
    ((path, start, end),) = spans["block"]
    data = contents[path]
    assert old in data[start:end]
    found = problems("block", path, data[:start] + data[start:end].replace(old, new, 1) + data[end:])
    assert (said is None and not found) or (said is not None and said in found[0])
