"""Every kind of anchor says all that is derived from it, and says it right."""

from __future__ import annotations

import inspect
import json

import pytest

from manual import anchor_kinds
from patcher.base import toml
from patcher.engine.anchors import ANCHORS, AnchorKind
from patcher.engine.patchset import NEW_FILE, load
from patcher.engine.type_schema import check_anchor

KINDS = pytest.mark.parametrize("kind", ANCHORS.values(), ids=list(ANCHORS))


@KINDS
def test_the_example_is_one_that_a_type_could_have(kind: AnchorKind) -> None:
    parameters = toml.loads(f"it = {{ {kind.example} }}")["it"]
    check_anchor({"id": "example", "files": ["a"], "anchor": {"kind": kind.name, **parameters}}, "a page")
    assert kind.hangs_on(parameters)
    known = inspect.signature(kind.locate).parameters
    named = {*kind.patterns, *filter(None, (kind.shows, kind.enum))}
    assert named <= set(known), f"{kind.name} speaks of parameters that it hasn't"
    if kind.shows in parameters:
        assert "`" in kind.where(parameters)


@KINDS
def test_a_kind_explains_itself(kind: AnchorKind) -> None:
    assert kind.explains.endswith("."), f"{kind.name}: the docstring of its function is the reference page"


def test_the_schema_follows_the_objects() -> None:
    before = anchor_kinds.PLACE.read_text(encoding="utf-8")
    made = anchor_kinds.renewed(before, [*ANCHORS, "toy", NEW_FILE])
    names = json.loads(made)["properties"]["edit"]["items"]["properties"]["anchor"]["properties"]["kind"][
        "enum"
    ]
    assert set(names) == {*ANCHORS, "toy", NEW_FILE}
    assert names[-2:] == ["toy", NEW_FILE]
    assert json.loads(anchor_kinds.renewed(made, [*ANCHORS, NEW_FILE])) == json.loads(before)
    assert anchor_kinds.renewed(before, [*ANCHORS, NEW_FILE]) == before


def test_what_an_edit_hangs_on_can_be_told_from_its_own_parameters() -> None:
    for edit in load().edits:
        if edit.kind in ANCHORS:
            kind = ANCHORS[edit.kind]
            wants = [*(name for want in kind.bodies(edit.anchor) for name in want.names)]
            assert all(isinstance(word, str) and word for word in (*wants, *kind.words(edit.anchor))), edit.id
            assert kind.hangs_on(edit.anchor), edit.id
