"""A type of one's own: what its file may say, how it stands beside another, what a hostile one can't do."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patcher import cli
from patcher.audit import audit
from patcher.base import sandbox
from patcher.base.errors import ConflictError, TreeChangedError, UsageError
from patcher.base.resources import resource_dir
from patcher.drift import verdicts
from patcher.engine import transaction, type_file, type_schema
from patcher.engine.anchors import ANCHORS
from patcher.engine.build_fixes import catalogue
from patcher.engine.patchset import NEW_FILE, load
from patcher.engine.planning import make_plan
from patcher.engine.tree import WorkTree
from patcher.guard.issue import MARKER
from tests.conftest import git, snapshot

Q6_X = Path(__file__).parents[2] / "docs" / "examples" / "q6_x"
SAME = 'extends = "same-layout"\n[type]\nname = "q8_b"\nid = 130\nblock_size = 32\ntype_size = 34\n'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The example, to be changed."""
    shutil.copytree(Q6_X, tmp_path / "own")
    return tmp_path / "own" / "q6_x.toml"


def changed(place: Path, *changes: tuple[str, str]) -> Path:
    text = place.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    place.write_text(text, encoding="utf-8")
    return place


# ---------------------------------------------------------------- what it takes


def test_the_example_has_its_places_and_its_own_text(mini: Path) -> None:
    patchset = load(Q6_X / "q6_x.toml")
    made = make_plan(WorkTree(mini), patchset)
    assert made.state == "clean", [edit.detail for edit in made.conflicts]
    after = {file.path: file.after().decode() for file in made.files}
    assert "block_q6_x;" in after["ggml/src/ggml-common.h"]
    assert "GGML_TYPE_COUNT   = 122," in after["ggml/include/ggml.h"]
    assert "(64, 50)," in after["gguf-py/gguf/constants.py"]
    # nothing of the type that ships, nor of the layout that it shares with Q8_0
    assert not any("q8_a8" in text.lower() for text in after.values())
    assert not {"ggml/src/ggml-cpu/amx/mmq.cpp", "ggml/src/ggml-cpu/repack.cpp"} & set(after)


def test_a_type_laid_out_like_q8_0_needs_no_text_of_its_own(tmp_path: Path, mini: Path) -> None:
    (tmp_path / "q8_b.toml").write_text(SAME, encoding="utf-8")
    made = make_plan(WorkTree(mini), load(tmp_path / "q8_b.toml"))
    assert made.state == "clean"
    after = {file.path: file.after().decode() for file in made.files}
    assert "#define QK8_B 32" in after["ggml/src/ggml-common.h"]
    assert "tensor->type == GGML_TYPE_Q8_B" in after["src/llama-model-loader.cpp"]
    assert "t->op_params[0] = GGML_TYPE_Q8_B;" in after["src/llama-model.cpp"]
    # what computes with Q8_0 meets nothing else
    assert not {"ggml/src/ggml-cpu/amx/mmq.cpp", "ggml/src/ggml-cpu/quants.c"} & set(after)


def test_edits_of_its_own_stand_beside_those_of_the_set(own: Path, mini: Path) -> None:
    (own.parent / "notes.txt").write_text(
        "{{ type.upper }} has {{ type.bits_per_weight }} bits\n", encoding="utf-8"
    )
    text = changed(own, ("[type]", 'without = ["tests"]\n\n[type]')).read_text(encoding="utf-8") + (
        '\n[[group]]\nid = "notes"\nafter = "ggml"\nsubject = "notes : say what ${upper} is"\nbody = "For readers."\n'
        '\n[[edit]]\nid = "notes"\ngroup = "notes"\npurpose = "Says what it is."\nfiles = ["docs-${name}.txt"]\n'
        'anchor = { kind = "new-file", beside = "include/llama.h" }\ntemplate = "notes.txt"\n'
    )
    own.write_text(text, encoding="utf-8")
    patchset = load(own)
    assert [group.id for group in patchset.groups][:2] == ["ggml", "notes"]
    assert "tests" not in {edit.group for edit in patchset.edits}
    files = {file.path: file for file in make_plan(WorkTree(mini), patchset).files}
    assert files["docs-q6_x.txt"].after() == b"Q6_X has 6.25 bits\n"


def test_the_type_that_ships_is_one_by_the_schema() -> None:
    place = resource_dir("patches") / "q8_a8.toml"
    type_schema.check(type_file.parsed(place, place.name), place)
    anchor = type_schema.schema()["properties"]["edit"]["items"]["properties"]["anchor"]
    assert set(anchor["properties"]["kind"]["enum"]) == {*ANCHORS, NEW_FILE}


# ---------------------------------------------------------------- what it doesn't take


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("id = 121", "id = 3", r"q6_x\.toml:13: type\.id: found 3; take a number from 64 to 511"),
        ("id = 121", 'id = "121"', r'type\.id: found "121"; allowed: integer'),
        ("id = 121", "id = 120", r"type\.id: found 120, which is Q8_A8's"),
        ("id = 121", "ftype = 120\nid = 121", r"type\.ftype: found 120, which is Q8_A8's"),
        ("id = 121\n", "\n", r"type: lacks id; allowed: it has to be there"),
        ('"q6_x"', '"Q6_X"', r'type\.name: found "Q6_X"; allowed: lower-case'),
        ('"q6_x"', '"q8_a8"', r"type\.name: found q8_a8, which is Q8_A8's"),
        ("type_size = 50", "type_sise = 50", r"lacks type_size|type\.type_sise: found a key"),
        ("type_size = 50", "type_size = 50\nspeed = 9", r"type\.speed: found a key that isn't known; allowed: name,"),
        ("block_size = 64", "block_size = 48", r"type\.block_size: found 48; take a multiple of 32"),
        ('"own-layout"', '"own_layout"', r'extends: found "own_layout"; allowed: own-layout, same-layout, standard'),
        ('block = "block.h"', "", r"\[templates\]: looked for a text of block \(The block: 50 bytes for 64 weights\.\), found none"),
        ('block = "block.h"', 'block = "none.h"', r"template none\.h: looked for it beside the type's file"),
        ('block = "block.h"', 'blok = "block.h"', r"\[templates\]: looked for the edit blok in what it extends, found none"),
        ("[templates]", "[templates", r"q6_x\.toml: .*line \d+"),
        ('"6-bit weights in blocks of 64"', '"a \\" b"', r"type\.description: .*; allowed: 1 to 60 characters"),
        ("known_good", 'without = ["nope"]\nknown_good', r"without: looked for the edit or group nope"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(own: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        load(changed(own, (old, new)))
    assert "\n" not in str(caught.value)
    assert str(own) in str(caught.value)


EDIT = (
    '\n[[edit]]\nid = "more"\ngroup = "ggml"\npurpose = "More."\nfiles = ["include/llama.h"]\n'
    'anchor = { kind = "item", mentions = "x", ours = "y" }\ntemplate = "block.h"\n'
)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "item"', 'kind = "itme"', r'edit\[0\]\.anchor\.kind: found "itme"; allowed: case,'),
        ('mentions = "x", ', "", r"edit more: anchor item: missing .* 'mentions'; its parameters are mentions, ours, owner"),
        ('ours = "y"', 'our = "y", ours = "y"', r"anchor item: .* 'our'; its parameters are"),
        ('mentions = "x"', 'mentions = "("', r'edit more: anchor\.mentions: looked for a pattern, found "\("'),
        ('group = "ggml"', 'group = "gmml"', r"edit more: looked for its group gmml, found none"),
        ('purpose = "More."', 'purpose = "More."\nwhen = "["', r'edit more: when: looked for a pattern, found "\["'),
        ('purpose = "More."', 'purpose = "${more}"', r"looked for the fact \$\{more\} of '\$\{more\}', found none .*; take one of name, upper"),
        ('files = ["include/llama.h"]', "files = []", r"edit\[0\]\.files: found \[\]; allowed: a list of texts"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_edit_is_one_line(own: Path, old: str, new: str, said: str) -> None:
    assert old in EDIT
    own.write_text(own.read_text(encoding="utf-8") + EDIT.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError, match=said) as caught:
        load(own)
    assert "\n" not in str(caught.value)


def test_a_file_alone_is_shown(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["type", str(own)], ["type", "show", str(own)], ["type", "--json", str(own)]):
        assert cli.run(words) == 0
        assert "Q6_X" in capsys.readouterr().out
    assert cli.run(["type", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"]
    assert cli.run(["type", "shw", str(own)]) == 2
    assert "Did you mean 'show'?" in capsys.readouterr().err


def test_no_file_is_one_line(tmp_path: Path, mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["apply", str(mini), "--type", str(tmp_path / "none.toml")]) == 2
    assert "looked for a type's file, found none; name a .toml file, or q8_a8" in capsys.readouterr().err


# ---------------------------------------------------------------- a stranger's file


@pytest.mark.parametrize(
    "path",
    [
        "../outside.c", "/etc/profile.d/x.sh", ".git/hooks/post-checkout", "sub/.GIT/config", ".git./config",
        "GIT~1/config", "a\\\\..\\\\b", "c:/x",
    ],
)  # fmt: skip
def test_no_edit_leads_out_of_the_tree_or_into_gits_folder(own: Path, path: str) -> None:
    edit = EDIT.replace("include/llama.h", path)
    own.write_text(own.read_text(encoding="utf-8") + edit, encoding="utf-8")
    with pytest.raises(UsageError, match=r"looked for a path in the tree, found|which is git's own"):
        load(own)


def test_a_new_file_is_not_put_beside_one_outside(own: Path) -> None:
    edit = EDIT.replace('kind = "item", mentions = "x", ours = "y"', 'kind = "new-file", beside = ["../x"]')
    own.write_text(own.read_text(encoding="utf-8") + edit, encoding="utf-8")
    with pytest.raises(UsageError, match="looked for a path in the tree, found"):
        load(own)


@pytest.mark.parametrize("template", ["../secret", "/etc/passwd", "sub/../../secret", "link"])
def test_no_template_leads_out_of_the_files_folder(own: Path, template: str) -> None:
    (own.parents[1] / "secret").write_text("secret", encoding="utf-8")
    (own.parent / "link").symlink_to(own.parents[1] / "secret")
    with pytest.raises(UsageError, match="leads out of"):
        load(changed(own, ('"block.h"', f'"{template}"')))


def test_what_a_terminal_would_obey_is_refused(own: Path) -> None:
    with pytest.raises(
        UsageError, match=r"known_good\[0\]: looked for printable text, found a control character"
    ):
        load(changed(own, ('"b8390"', '"\\u001b]0;owned\\u0007"')))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n{{ type.__class__.__mro__ }}", r"block\.h:2: .*unsafe"),
        ("{{ has.__init__.__globals__ }}", r"block\.h:1: .*unsafe"),
        ("{{ has._tree.root }}", r"block\.h:1: .*unsafe"),
        ("{{ site.update({'x': 1}) }}", r"block\.h:1: .*unsafe|not safe"),
        ("{% include '../secret' %}", r"block\.h.*leads out of"),
        ("{% include '/etc/passwd' %}", r"block\.h.*leads out of"),
        ("a\nb\n{{ nothing }}", r"block\.h:3: 'nothing' is undefined"),
        ("a\n{% if %}", r"block\.h:2: "),
        ("{{ 'x' * 1000000000 }}", r"block\.h:1: '\*' of str and int"),
        ("{{ 9 ** 9 ** 9 }}", r"block\.h:1: '\*\*'"),
        ("{{ 'x' | center(1000000000) }}", r"block\.h:1: No filter named 'center'"),
        ("{% for i in range(90000) %}{{ 'x' ~ 'yyyyyyyyyyyyyyyyyyyyyyyyyyyy' }}{% endfor %}", r"makes more than"),
        ("{% for i in range(10000000) %}{% endfor %}", r"block\.h:1: Range too big"),
        ("{{ 1 // 0 }}", r"block\.h:1: "),
        ("{{ cycler(1) }}", r"block\.h:1: 'cycler' is undefined"),
        ("a\n{{ has('ggml/include/ggml.h', '(') }}", r"block\.h:2: missing \), unterminated subpattern"),
    ],
)  # fmt: skip
def test_a_strangers_template_is_boxed_in(own: Path, mini: Path, text: str, said: str) -> None:
    (own.parents[1] / "secret").write_text("secret", encoding="utf-8")
    (own.parent / "block.h").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said) as caught:
        make_plan(WorkTree(mini), load(own).select(("block",)))
    assert "\n" not in str(caught.value)


ROUNDS = "{% for i in range(90000) %}"
DOUBLED = "{% set s = s ~ s %}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a\n{ROUNDS}{ROUNDS}{ROUNDS}{{% endfor %}}{{% endfor %}}{{% endfor %}}", r"block\.h:2: computes for more than 1 s"),
        ("a\n\n{{ has('evil.txt', '(a+)+b') }}", r"block\.h:3: computes for more than 1 s"),
        ("{% set s = 'xxxxxxxxxxxxxxxx' %}\n" + 60 * DOUBLED + "{{ s }}", r"block\.h:\d+: takes more than 64 MB of memory"),
        ("{% set s = range(90000) | join %}\n{{ s | replace('1', s) | replace('2', s) }}", r"block\.h:2: takes more than"),
    ],
    ids=["loops", "pattern", "doubled", "replaced"],
)  # fmt: skip
def test_a_strangers_template_ends(
    own: Path, mini: Path, text: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 1.0)
    monkeypatch.setattr(sandbox, "MEMORY", 64 << 20)
    (mini / "evil.txt").write_text("a" * 60, encoding="utf-8")
    (own.parent / "block.h").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said) as caught:
        make_plan(WorkTree(mini), load(own).select(("block",)))
    assert "\n" not in str(caught.value)


def test_a_child_that_does_not_obey_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    children = []
    fork = os.fork

    def counted() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(os, "fork", counted)

    def deaf() -> str:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        time.sleep(60)
        return ""

    def killed() -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    start = time.monotonic()
    with pytest.raises(sandbox.OverLimitError, match=r"computes for more than 0\.2 s"):
        sandbox.confined(deaf, seconds=0.2)
    assert time.monotonic() - start < 10
    with pytest.raises(sandbox.OverLimitError, match="ended by signal 9"):
        sandbox.confined(killed)
    assert sandbox.confined(lambda: "x" * 1_000_000 + "\udc80") == "x" * 1_000_000 + "\udc80"
    assert len(children) == 3
    for child in children:
        with pytest.raises(ChildProcessError):  # it is gone, and isn't a zombie
            os.waitpid(child, os.WNOHANG)


def test_a_template_that_fails_leaves_the_tree_alone(own: Path, mini_repo: Path) -> None:
    (own.parent / "quants.py").write_text("{{ nothing }}", encoding="utf-8")
    before = snapshot(mini_repo)
    with pytest.raises(UsageError, match=r"quants\.py:1: 'nothing' is undefined"):
        transaction.apply(WorkTree(mini_repo), load(own))
    assert snapshot(mini_repo) == before


# ---------------------------------------------------------------- beside another type


def apply_two(tree: WorkTree, first: str | Path, second: str | Path) -> None:
    transaction.apply(tree, load(first))
    transaction.apply(tree, load(second))


@pytest.mark.parametrize("number", [119, 121], ids=["below", "above"])
@pytest.mark.parametrize("shipped_first", [True, False])
def test_two_types_stand_side_by_side(mini_repo: Path, own: Path, number: int, shipped_first: bool) -> None:
    before = snapshot(mini_repo)
    changed(own, ("id = 121", f"id = {number}"))
    tree = WorkTree(mini_repo)
    first, second = ("q8_a8", own) if shipped_first else (own, "q8_a8")
    transaction.apply(tree, load(first))
    between = snapshot(mini_repo)
    transaction.apply(tree, load(second))
    header = (mini_repo / "ggml/include/ggml.h").read_text(encoding="utf-8")
    assert f"GGML_TYPE_COUNT   = {max(number, 120) + 1}," in header
    for which in (first, second):
        assert transaction.observed(tree, load(which)).state == "applied"
        assert not audit(tree, load(which)).new
    ours = {edit.edit.id: edit.state.value for edit in transaction.observed(tree, load(own)).edits}
    assert ours["block"] == "applied"
    names = [load(which).type.name for which in (first, second)]
    both = snapshot(mini_repo)
    with pytest.raises(
        TreeChangedError, match=rf"{names[1]} was applied after {names[0]}.*revert {names[1]} first"
    ):
        transaction.revert(tree, names[0])
    assert snapshot(mini_repo) == both
    assert transaction.revert(tree, names[1]).types == (names[1],)
    assert snapshot(mini_repo) == between
    transaction.revert(tree, names[0])
    assert snapshot(mini_repo) == before


def test_without_a_type_every_one_is_reverted(mini_repo: Path) -> None:
    before = snapshot(mini_repo)
    tree = WorkTree(mini_repo)
    apply_two(tree, "q8_a8", Q6_X / "q6_x.toml")
    assert transaction.revert(tree).types == ("q8_a8", "q6_x")
    assert snapshot(mini_repo) == before


def test_an_edit_of_another_type_is_not_ours(mini_repo: Path) -> None:
    tree = WorkTree(mini_repo)
    transaction.apply(tree, load())
    plan = transaction.observed(tree, load(Q6_X / "q6_x.toml"))
    assert plan.state == "clean"
    with pytest.raises(UsageError, match="apply of q6_x, found none; there are of: q8_a8"):
        transaction.revert(tree, "q6_x")


def test_a_number_that_the_tree_has_given_away_is_refused(mini_repo: Path, own: Path) -> None:
    tree = WorkTree(mini_repo)
    transaction.apply(tree, load(Q6_X / "q6_x.toml"))
    before = snapshot(mini_repo)
    changed(own, ('"q6_x"', '"q6_y"'))
    with pytest.raises(
        ConflictError, match="looked for 121 free in enum ggml_type; found it taken by GGML_TYPE_Q6_X"
    ):
        transaction.apply(tree, load(own))
    assert snapshot(mini_repo) == before


def test_a_type_whose_name_begins_another_is_another(mini_repo: Path, tmp_path: Path) -> None:
    (tmp_path / "q8_a.toml").write_text(SAME.replace("q8_b", "q8_a"), encoding="utf-8")
    tree = WorkTree(mini_repo)
    apply_two(tree, "q8_a8", tmp_path / "q8_a.toml")
    assert not transaction.observed(tree, load(tmp_path / "q8_a.toml")).missing
    assert "*t == GGML_TYPE_Q8_A ?" in (mini_repo / "src/llama-context.cpp").read_text(encoding="utf-8")


# ---------------------------------------------------------------- other verbs


def test_what_drift_keeps_is_the_files_own(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint() -> str:
        verdicts.fingerprint.cache_clear()
        verdicts._loaded.cache_clear()
        return verdicts.fingerprint(str(own))

    first = fingerprint()
    assert first.startswith("q6_x-")
    changed(own.parent / "block.h", ("uint8_t   ql", "uint8_t ql"))
    second = fingerprint()
    changed(own, ("id = 121", "id = 122"))
    assert len({first, second, fingerprint()}) == 3


@pytest.mark.parametrize("verb", ["status", "diff", "audit", "apply", "revert"])
def test_the_verbs_take_a_type(
    verb: str, mini_repo: Path, capsys: pytest.CaptureFixture[str], run_json: Callable[..., dict[str, object]]
) -> None:
    file = str(Q6_X / "q6_x.toml")
    if verb == "revert":
        run_json("apply", str(mini_repo), "--type", file)
    said = run_json(verb, str(mini_repo), "--type", file)
    if verb in ("status", "diff", "apply"):
        assert said["type"] == "Q6_X"
    if verb == "revert":
        assert said["types"] == ["q6_x"]
    if verb == "audit":
        assert said["counts"]["new"] == 0  # type: ignore[index]


def test_the_guard_takes_a_type(mini_repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(Q6_X / "q6_x.toml")
    check = ["guard", "check", "--static", "--source", str(mini_repo), "--type", file]
    assert cli.run([*check, "--expect", "carried"]) == 1
    said = capsys.readouterr().out
    assert "edit 'block' is missing" in said
    assert "Q8_A8" not in said
    assert cli.run(["apply", str(mini_repo), "--type", file, "-q"]) == 0
    capsys.readouterr()
    assert cli.run([*check, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["carried"]
    ops = mini_repo / "ggml/src/ggml-cpu/ops.cpp"
    ops.write_text(ops.read_text("utf-8").replace("case GGML_TYPE_Q6_X:", "", 1), encoding="utf-8")
    assert cli.run([*check, "--json"]) == 1
    (one,) = [p for p in json.loads(capsys.readouterr().out)["problems"] if p["severity"] == "error"]
    assert "'q8a8-patch apply --type q6_x.toml' puts it back" in str(one)


def test_the_watch_takes_a_type(mini_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(mini_repo, "rm", "-q", "ggml/src/ggml-common.h")
    git(mini_repo, "commit", "-qm", "gone")
    watch = ["guard", "watch", "--upstream", str(mini_repo), "--work", str(tmp_path / "work")]
    summary = tmp_path / "summary.md"
    file = str(Q6_X / "q6_x.toml")
    assert cli.run([*watch, "--type", file, "--summary", str(summary)]) == 1
    assert "Q6_X no longer fits upstream's newest" in capsys.readouterr().out
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("<!-- q8a8-patch guard: upstream drift of q6_x -->\n")
    assert "drift CLONE --type FILE --refs" in text
    assert MARKER not in text  # the issue about the type that ships is another


def test_build_takes_a_type(mini_repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(Q6_X / "q6_x.toml")
    assert cli.run(["build", str(mini_repo), "--type", file]) == 2
    said = capsys.readouterr().err
    assert "looked for all edits of Q6_X, " in said
    assert f"'q8a8-patch apply --type {file}' first" in said


def test_a_fix_is_offered_beside_the_type() -> None:
    fix = next(iter(catalogue().values()))
    assert fix.remedy_beside("my.toml").startswith(f"'q8a8-patch apply --type my.toml --with-fix {fix.name}'")
    assert fix.remedy == fix.remedy_beside("q8_a8")
    assert "--type" not in fix.remedy


@pytest.fixture
def run_json(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, object]]:
    def run(*arguments: str) -> dict[str, object]:
        assert cli.run([*arguments, "--json"]) == 0
        said: dict[str, object] = json.loads(capsys.readouterr().out)
        return said

    return run


# ---------------------------------------------------------------- any file at all


def toml(value: Any) -> str:
    """A TOML value in line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, item in inner for found in places(item, (*path, key))]


VALUES = [
    0, -1, 10**30, 1.5, "", "x", "q8_0", "../x", "${id}", "${", "(", "é", True, [], ["a"], [1], {}, {"a": 1}, [[]],
    "case", "new-file", ["include/llama.h", "b"], "ggml", "tests", "block", None,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_any_file_is_taken_or_refused_in_one_line(own: Path, mini: Path, seed: int) -> None:
    whole = type_file.parsed(own, "") | {
        "without": ["tests"],
        "group": [{"id": "n", "after": "ggml", "subject": "s", "body": "b"}],
        "edit": [
            {
                "id": "new", "group": "n", "purpose": "p", "files": ["docs-x.txt"], "template": "block.h",
                "anchor": {"kind": "new-file", "beside": "include/llama.h"},
            },
            {
                "id": "number", "group": "n", "purpose": "p", "files": ["include/llama.h"], "template": "block.h",
                "anchor": {"kind": "enumerator", "enum": "llama_ftype", "ours": "A", "value": 300, "before": "B"},
            },
        ],
        "waiver": [{"file": "x", "reason": "r", "text": "a"}],
        "upstream_ids": {"id": {"200": "X"}},
    }  # fmt: skip
    chance = random.Random(seed)  # noqa: S311 - the same files every time
    refused: list[str] = []
    for _ in range(40):
        table = copy.deepcopy(whole)
        *above, last = chance.choice(places(table))
        holder: Any = table
        for key in above:
            holder = holder[key]
        value = chance.choice(VALUES)
        if value is None:
            del holder[last]
        else:
            holder[last] = value
        own.write_text("\n".join(f"{key} = {toml(item)}" for key, item in table.items()), encoding="utf-8")
        try:
            make_plan(WorkTree(mini), load(own).select(("new", "number", "block"))).diff()
        except UsageError as why:
            refused.append(str(why))
    assert len(refused) > 20
    assert not [line for line in refused if "\n" in line]
