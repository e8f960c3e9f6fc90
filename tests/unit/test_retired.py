"""Edits that the catalogue had once: a tree that has one keeps it until ``apply --update``, which takes it out."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher import cli
from patcher.engine import transaction, tree_record
from patcher.engine.anchors import Splice
from patcher.engine.comparison import tokens
from patcher.engine.patchset import load
from patcher.engine.plan import FilePlan, Plan
from patcher.engine.planning import make_plan
from patcher.engine.tree import WorkTree
from patcher.engine.tree_record import text_hash
from tests.conftest import git, snapshot

PATCHSET = load()
UNKNOWN = " || (type < GGML_TYPE_Q8_A8 && ggml_get_type_traits((enum ggml_type) type)->type_name == NULL)"

# id -> where it was, what stood there, and what the last release that had the edit made of it
WROTE = {
    "unknown-in-rows": (
        "ggml/src/ggml-quants.c",
        "if (type < 0 || type >= GGML_TYPE_COUNT) {",
        f"if (type < 0 || type >= GGML_TYPE_COUNT{UNKNOWN}) {{",
    ),
    "unknown-name": (
        "ggml/src/ggml.c",
        'return type < GGML_TYPE_COUNT ? type_traits[type].type_name : "NONE";',
        "return type < GGML_TYPE_COUNT && (type >= GGML_TYPE_Q8_A8 || type_traits[type].type_name != NULL) ?"
        ' type_traits[type].type_name : "NONE";',
    ),
    "test-rounding": (
        "tests/test-backend-ops.cpp",
        "type_dst == GGML_TYPE_Q8_0) {",
        "type_dst == GGML_TYPE_Q8_0 || type_dst == GGML_TYPE_Q8_A8) {",
    ),
    "convert-lora-choice": ("convert_lora_to_gguf.py", '"q8_0", "auto"]', '"q8_0", "q8_a8", "auto"]'),
    "convert-lora-ftype": (
        "convert_lora_to_gguf.py",
        '"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,\n',
        '"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,\n        "q8_a8": gguf.LlamaFileType.MOSTLY_Q8_A8,\n',
    ),
    "expert-type": (
        "src/llama-quant.cpp",
        "if (qs.model.hparams.n_expert == 8) {",
        "if (qs.model.hparams.n_expert == 8 && new_type != GGML_TYPE_Q8_A8) {",
    ),
    "convert-help": ("convert_hf_to_gguf.py", "q8_0 for Q8_0,", "q8_0 for Q8_0, q8_a8 for Q8_A8,"),
    "convert-lora-help": ("convert_lora_to_gguf.py", "q8_0 for Q8_0,", "q8_0 for Q8_0, q8_a8 for Q8_A8,"),
    "test-base-types": (
        "tests/test-backend-ops.cpp",
        "GGML_TYPE_Q8_0, // for I8MM tests",
        "GGML_TYPE_Q8_0, GGML_TYPE_Q8_A8, // for I8MM tests",
    ),
}
# edit that there is -> its file, a pattern for today's text, an older one with a comment in front, and its hash
COMMENTED = {
    "mapped-bytes": (
        "src/llama-model-loader.cpp",
        r"            \{\n +// what packs these bytes (?:.*\n)+? {12}\}\n",
        "            // what packs these bytes may give their pages back: they are a mapped file's\n"
        "            cur->op_params[1] = 0x70616d6d;\n",
        "0f32247077f93575",
    ),
}


def run(*arguments: object, code: int = 0) -> None:
    assert cli.run([*map(str, arguments)]) == code


def document(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict[str, object]:
    capsys.readouterr()
    run(*arguments, "--json", code=code)
    said: dict[str, object] = json.loads(capsys.readouterr().out)
    return said


def put(tree: Path) -> None:
    """What an earlier release wrote, without a word in the tree's own file."""
    for path, was, wrote in WROTE.values():
        text = (tree / path).read_text(encoding="utf-8")
        assert was in text, path
        (tree / path).write_text(text.replace(was, wrote), encoding="utf-8")


def record(tree: Path) -> None:
    work = WorkTree(tree)
    now = tree_record.read(work)
    part = now.of("q8_a8")
    wrote = {**part.wrote, **dict.fromkeys(WROTE, ("0123456789abcdef",))}
    text = now.with_type("q8_a8", tree_record.TypeRecord(part.tool, part.choices, wrote)).text()
    (tree / tree_record.PLACE).write_bytes(text or b"")


def put_older(tree: Path, name: str) -> None:
    """The text of an edit that there is, as an earlier release wrote and recorded it."""
    place, ours, older, text = COMMENTED[name]
    found, count = re.subn(ours, lambda _: older, (tree / place).read_text(encoding="utf-8"))
    assert count == 1
    (tree / place).write_text(found, encoding="utf-8")
    record_older(tree, name, text)


def record_older(tree: Path, name: str, text: str) -> None:
    now = tree_record.read(WorkTree(tree))
    part = now.of("q8_a8")
    wrote = tree_record.TypeRecord(part.tool, part.choices, {**part.wrote, name: (text,)})
    (tree / tree_record.PLACE).write_bytes(now.with_type("q8_a8", wrote).text() or b"")


def put_all_older(tree: Path) -> None:
    """A file and a statement."""
    put_older(tree, "mapped-bytes")
    kernels = tree / "ggml/src/ggml-cpu/q8-a8/kernels-c.h"
    kernels.write_text(kernels.read_text(encoding="utf-8") + "static int older;\n", encoding="utf-8")
    record_older(tree, "kernels-c", text_hash(tokens(kernels.read_bytes())))


@pytest.fixture
def today(mini_repo: Path, tmp_path: Path) -> dict[str, bytes]:
    """What today's release makes of the tree."""
    place = tmp_path / "today"
    shutil.copytree(mini_repo, place)
    run("apply", place, "-q")
    return snapshot(place)


@pytest.fixture
def old(mini_repo: Path, today: dict[str, bytes]) -> Path:
    """A tree to which an earlier release was applied, committed, and cloned by somebody else."""
    run("apply", mini_repo, "-q")
    put(mini_repo)
    record(mini_repo)
    git(mini_repo, "add", "-A")
    git(mini_repo, "commit", "-qm", "a type")
    shutil.rmtree(mini_repo / ".git" / "q8a8-patch", ignore_errors=True)
    return mini_repo


def test_each_of_them_is_tried_here() -> None:
    ids = {edit.id for edit in PATCHSET.edits}
    assert WROTE.keys() == {one.id for one in PATCHSET.retired if not one.of}
    assert not ids & {one.id for one in PATCHSET.retired}
    assert {one.of for one in PATCHSET.retired if one.of} == COMMENTED.keys() <= ids


def test_it_stays_is_said_and_is_nobodys(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(old)
    said = document(capsys, "status", old)
    edits = {edit["id"]: edit for edit in said["edits"]}  # type: ignore[attr-defined]
    assert all("apply --update" in edits[name]["detail"] for name in WROTE)
    assert said["foreign"] == []
    assert said["state"] == "applied"
    run("apply", old, "-q")
    assert snapshot(old) == before


def test_update_takes_it_out(old: Path, today: dict[str, bytes]) -> None:
    (old / "notes.txt").write_text("mine\n", encoding="utf-8")
    run("apply", old, "--update", "-q")
    assert {name: data for name, data in snapshot(old).items() if name != "notes.txt"} == today
    run("apply", old, "--update", "-q")
    assert not tree_record.read(WorkTree(old)).of("q8_a8").wrote.keys() & WROTE.keys()
    run("revert", old, "-q")  # of what the update did
    git(old, "diff", "--quiet", "HEAD")


def test_what_it_was_put_around_stays(old: Path) -> None:
    """A comparison among others was widened in parentheses of its own."""
    path = old / WROTE["test-rounding"][0]
    text = path.read_text(encoding="utf-8")
    more = "        if ({0} && is_small()) {{\n        }}\n"
    wide = more.format("(type_dst == GGML_TYPE_Q8_0 || type_dst == GGML_TYPE_Q8_A8)")
    path.write_text(text.replace("        return 1e-7;\n", wide + "        return 1e-7;\n"), encoding="utf-8")
    run("apply", old, "--update", "-q")
    after = path.read_text(encoding="utf-8")
    assert more.format("type_dst == GGML_TYPE_Q8_0") in after
    assert "Q8_A8" not in after.replace("GGML_TYPE_Q8_A8,", "")


def test_an_element_on_a_line_of_its_own_goes_with_it(old: Path) -> None:
    """As in upstream's lists; the list that today's edit goes to has the same line, and keeps it."""
    path = old / WROTE["test-base-types"][0]
    text = path.read_text(encoding="utf-8")
    own = "    GGML_TYPE_Q8_0, // for I8MM tests\n"
    text = text.replace(WROTE["test-base-types"][2], "\n" + own.rstrip("\n") + "\n    GGML_TYPE_Q8_A8,")
    path.write_text(text, encoding="utf-8")
    run("apply", old, "--update", "-q")
    after = path.read_text(encoding="utf-8")
    assert f"{own}    GGML_TYPE_Q2_0" in after
    assert "    GGML_TYPE_Q8_A8,\n" in after.partition("base_types")[0]


@pytest.mark.parametrize("name", COMMENTED)
def test_a_comment_in_front_of_an_older_text_goes_with_it(
    name: str, mini_repo: Path, today: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    run("apply", mini_repo, "-q")
    put_older(mini_repo, name)
    git(mini_repo, "add", "-A")
    git(mini_repo, "commit", "-qm", "a type")
    shutil.rmtree(mini_repo / ".git" / "q8a8-patch")
    said = document(capsys, "status", mini_repo)
    assert (said["state"], said["foreign"]) == ("applied", [])
    run("apply", mini_repo, "--update", "-q")
    assert snapshot(mini_repo) == today


def test_what_was_changed_since_stays(old: Path) -> None:
    path = old / WROTE["unknown-in-rows"][0]
    mine = path.read_text(encoding="utf-8").replace("->type_name == NULL", "->blck_size == 0")
    path.write_text(mine, encoding="utf-8")
    run("apply", old, "--update", "-q")
    assert path.read_text(encoding="utf-8") == mine


def test_what_another_hand_wrote_stays(mini_repo: Path) -> None:
    """The same words, but the tree doesn't say that this tool put them there."""
    run("apply", mini_repo, "-q")
    put(mini_repo)
    before = snapshot(mini_repo)
    run("apply", mini_repo, "--update", "-q")
    assert snapshot(mini_repo) == before


def test_an_apply_on_this_machine_is_reverted_to_the_byte(
    mini_repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the record of an earlier release's apply, before and after an update."""
    stock = snapshot(mini_repo)

    def earlier(tree: WorkTree, *rest: Any) -> Plan:
        plan = make_plan(tree, *rest)
        files = {file.path: file for file in plan.files}
        for name, (path, was, wrote) in WROTE.items():
            before = (tree.root / path).read_bytes()
            at = before.index(was.encode())
            cut = Splice(at, at + len(was), wrote.encode())
            cuts = [*(files[path].splices if path in files else ()), (name, cut)]
            files[path] = FilePlan(path, before, tuple(sorted(cuts, key=lambda one: one[1].start)))
        return replace(plan, files=tuple(files.values()))

    monkeypatch.setattr(transaction, "make_plan", earlier)
    run("apply", mini_repo, "-q")
    monkeypatch.setattr(transaction, "make_plan", make_plan)
    record(mini_repo)
    assert UNKNOWN.encode() in snapshot(mini_repo)[WROTE["unknown-in-rows"][0]]
    run("apply", mini_repo, "--update", "-q")
    assert UNKNOWN.encode() not in snapshot(mini_repo)[WROTE["unknown-in-rows"][0]]
    run("revert", mini_repo, "-q")
    assert snapshot(mini_repo) == stock


def commit_by_hand(tree: Path) -> None:
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "a type by hand")
    (tree / "notes.txt").write_text("mine\n", encoding="utf-8")
    git(tree, "add", "-A")
    git(tree, "commit", "-qm", "notes")


def test_a_move_leaves_it_behind(forked: Path) -> None:
    """Committed by hand, so that no commit of ours says what it was."""
    run("apply", forked, "-q")
    put(forked)
    record(forked)
    commit_by_hand(forked)
    shutil.rmtree(forked / ".git" / "q8a8-patch", ignore_errors=True)
    run("move", "r2", forked, "-q")
    found = snapshot(forked)
    for path, _, wrote in WROTE.values():
        assert wrote.encode() not in found[path]


def test_a_move_tells_the_type_by_what_an_earlier_release_wrote(forked: Path, tmp_path: Path) -> None:
    """Committed by hand, and both a file and a statement of it are older than today's."""
    fresh = tmp_path / "fresh"
    git(forked, "worktree", "add", "-q", "--detach", str(fresh), "r2")
    run("apply", fresh, "-q")
    want = snapshot(fresh)
    git(forked, "worktree", "remove", "--force", str(fresh))
    run("apply", forked, "-q")
    put_all_older(forked)
    commit_by_hand(forked)
    shutil.rmtree(forked / ".git" / "q8a8-patch")
    run("move", "r2", forked, "-q")
    found = snapshot(forked)
    assert {name for name in found.keys() | want.keys() if found.get(name) != want.get(name)} <= {
        "notes.txt", tree_record.PLACE, ".git",
    }  # fmt: skip


def test_a_copy_without_a_history_leaves_it_behind(forked: Path, tmp_path: Path) -> None:
    copy = tmp_path / "project" / "llama.cpp"
    copy.parent.mkdir()
    git(copy.parent, "init", "-q")
    git(forked, "worktree", "add", "-q", "--detach", str(copy), "r1")
    (copy / ".git").unlink()
    git(forked, "worktree", "prune")
    run("apply", copy, "-q")
    put(copy)
    record(copy)
    put_all_older(copy)
    git(copy.parent, "add", "-A")
    git(copy.parent, "commit", "-qm", "a copy with a type")
    shutil.rmtree(copy.parent / ".git" / "q8a8-patch", ignore_errors=True)
    run("move", f"{forked}@r2", copy, "--base", f"{forked}@r1", "-q")
    found = snapshot(copy)
    for path, _, wrote in WROTE.values():
        assert wrote.encode() not in found[path]
    assert b"older" not in found["ggml/src/ggml-cpu/q8-a8/kernels-c.h"]
    assert COMMENTED["mapped-bytes"][2].encode() not in found[COMMENTED["mapped-bytes"][0]]


def test_leaving_it_out_is_no_mistake(mini_repo: Path, today: dict[str, bytes]) -> None:
    run("apply", mini_repo, "-q", *(word for name in WROTE for word in ("--without", name)))
    path = WROTE["unknown-in-rows"][0]
    assert snapshot(mini_repo)[path] == today[path]
    run("apply", mini_repo, "-q", "--without", "no-such-edit", code=2)
