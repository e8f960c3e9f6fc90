"""``.q8a8-patch.toml``: what a tree says of itself, read, written, taken back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import UsageError
from patcher.engine import transaction, tree_record
from patcher.engine.patchset import load
from patcher.engine.planning import make_plan
from patcher.engine.settled import chosen, remembered
from patcher.engine.tree import WorkTree
from patcher.engine.tree_record import MARK, PLACE, Choices, TreeRecord, TypeRecord
from tests.conftest import git, snapshot

PATCHSET = load()


def test_what_is_written_is_read_again() -> None:
    choices = Choices(("ggml",), ("tests",), ("amx-tile-config",), ("block",), ("quantize",), {"id": 39})
    record = TreeRecord(
        "", {"q8_a8": TypeRecord("0.1.0", choices, {"a b": ("0123",), "block": ("ab", "cd")})}
    )

    class One:
        name = "one"

        def read(self, path: str) -> bytes | None:
            return record.text() if path == PLACE else None

    again = tree_record.read(One())
    assert again.types == record.types
    assert again.text() == record.text()


def test_apply_remembers_and_revert_forgets(mini_repo: Path) -> None:
    before = snapshot(mini_repo)
    tree = WorkTree(mini_repo)
    transaction.apply(tree, chosen(PATCHSET, tree, without=("calibration",)))
    part = tree_record.read(tree).of("q8_a8")
    assert part.choices.without == ("calibration",)
    assert set(part.wrote) == {edit.id for edit in PATCHSET.edits if edit.group != "calibration"}
    known = remembered(PATCHSET, tree)
    assert make_plan(tree, known).state == "applied"
    assert not transaction.apply(tree, known).written
    assert make_plan(tree, chosen(PATCHSET, tree, everything=True)).state == "partial"
    transaction.revert(tree)
    assert snapshot(mini_repo) == before


def test_what_was_written_before_is_forgotten_where_nothing_of_it_is_left(mini_repo: Path) -> None:
    """Another release's text of an edit: the record is what a fresh apply writes."""
    assert cli.run(["apply", str(mini_repo), "-q"]) == 0
    place = mini_repo / tree_record.PLACE
    fresh = place.read_text(encoding="utf-8")
    place.write_text(re.sub(r'(?m)^(ftype-name = \[)"\w+"', r'\1"0123456789abcdef"', fresh), encoding="utf-8")
    assert place.read_text(encoding="utf-8") != fresh
    git(mini_repo, "checkout", "-q", "src/llama-model-loader.cpp")
    assert cli.run(["apply", str(mini_repo), "-q"]) == 0
    assert place.read_text(encoding="utf-8") == fresh


def test_what_people_write_above_the_line_stays(mini_repo: Path) -> None:
    tree = WorkTree(mini_repo)
    transaction.apply(tree, PATCHSET)
    waiver = '# ours\n[[waiver]]\nfile = "src/mine.cpp"\nreason = "mine"\n\n'
    place = mini_repo / PLACE
    place.write_text(waiver + place.read_text(encoding="utf-8"), encoding="utf-8")
    known = remembered(PATCHSET, tree)
    assert {"file": "src/mine.cpp", "reason": "mine"} in known.waivers
    transaction.apply(tree, chosen(PATCHSET, tree, keep=("block",)))
    assert place.read_text(encoding="utf-8").startswith(waiver)
    transaction.revert(tree)
    left = place.read_text(encoding="utf-8")
    assert left.startswith(waiver)
    assert MARK not in left
    assert not tree_record.read(tree).types


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[waiver]\n", "looked for TOML"),
        ("[q8a8-patch]\nformat = 2\n", "later q8a8-patch"),
        ("[q8_a8]\nkept = []\n", "found kept"),
        ("[q8_a8]\nkeep = 'block'\n", "keep: looked for a list"),
        ("[q8_a8]\nnumbers = { id = 'x' }\n", "numbers: looked for whole numbers"),
        ("[q8_a8.wrote]\nblock = 1\n", "wrote: looked for lists"),
        ("q8_a8 = 1\n", "no table"),
        ("[[waiver]]\nfile = 1\n", "waivers"),
    ],
)
def test_a_malformed_record_is_one_line(mini_repo: Path, text: str, says: str) -> None:
    (mini_repo / PLACE).write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=says) as caught:
        remembered(PATCHSET, WorkTree(mini_repo))
    assert PLACE in str(caught.value)
