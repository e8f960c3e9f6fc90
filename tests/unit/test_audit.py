"""Every place that names the sibling: handled, waived with a reason, or new."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patcher import cli
from patcher.audit import Audit, SiteWaiver, audit
from patcher.audit import waivers as waivers_module
from patcher.audit.sites import sites
from patcher.base.errors import PatcherError
from patcher.engine.patchset import load
from patcher.engine.tree import CommitTree, WorkTree

PATCHSET = load()
KIND = PATCHSET.type


def judged(path: str, text: str) -> list[tuple[str, str, bool]]:
    return [(site.construct, site.function, site.handled) for site in sites(path, text.encode(), KIND)]


def new_sites(found: Audit) -> set[tuple[str, str, str]]:
    return {(one.site.file, one.site.construct, one.site.function) for one in found.new}


def test_nothing_is_new_in_a_tree_that_every_edit_fits(mini: Path) -> None:
    found = audit(WorkTree(mini), PATCHSET)
    assert new_sites(found) == set()
    assert sum(one.state == "handled" for one in found.sites) > 25


@pytest.mark.parametrize(
    ("text", "kind", "function"),
    [
        ("int f(int t) { switch (t) { case GGML_TYPE_Q8_0: return 1; } return 0; }", "case", "f"),
        ("bool f(int t) { return t == GGML_TYPE_Q8_0; }", "comparison", "f"),
        ("int table[] = { GGML_TYPE_F16, GGML_TYPE_Q8_0 };", "element", "table"),
        ("const int t[99] = { [GGML_TYPE_Q8_0] = 1 };", "entry", "t"),
        ("void f() { g(GGML_TYPE_Q8_0, 1); }", "argument", "f"),
        ("void f() { x = GGML_TYPE_Q8_0; }", "assignment", "f"),
        ("int f() { return GGML_TYPE_Q8_0; }", "return", "f"),
        ('bool f(char * s) { return same(s, "q8_0"); }', "argument", "f"),
        ("#define M(t) switch (t) { case GGML_TYPE_Q8_0: g(); }\n", "macro", "M"),
    ],
)
def test_each_kind_is_seen_and_new(text: str, kind: str, function: str) -> None:
    path = "a.c" if "[GGML" in text else "a.cpp"
    assert (kind, function, False) in judged(path, text)


@pytest.mark.parametrize(
    "text",
    [
        "int f(int t) { switch (t) { case GGML_TYPE_Q8_A8: case GGML_TYPE_Q8_0: return 1; } return 0; }",
        "int f(int t) { switch (t) { case GGML_TYPE_Q8_0: return a; case GGML_TYPE_Q8_A8: return b; } return 0; }",
        "bool f(int t) { return t == GGML_TYPE_Q8_0 || t == GGML_TYPE_Q8_A8; }",
        "int table[] = { GGML_TYPE_Q8_0, GGML_TYPE_Q8_A8 };",
        'int f(S s) { if (s == "q8_0") { return GGML_TYPE_Q8_0; } if (s == "q8_a8") { return GGML_TYPE_Q8_A8; } return 0; }',
        'struct { int a; char * b; } t[] = { { LLAMA_FTYPE_MOSTLY_Q8_0, "Q8_0" }, { LLAMA_FTYPE_MOSTLY_Q8_A8, "Q8_A8" } };',
        "// GGML_TYPE_Q8_0 is only talked about\nint x;",
    ],
)
def test_what_is_handled(text: str) -> None:
    assert all(handled for _, _, handled in judged("a.cpp", text))


@pytest.mark.parametrize(
    ("text", "new"),
    [
        (
            "int f(int t) { switch (t) { case GGML_TYPE_Q8_0: return 1; } switch (t) { case GGML_TYPE_Q8_A8: return 1; } return 0; }",
            1,
        ),
        (
            "int f(int t) { switch (t) { case GGML_TYPE_Q8_0: return 1; } return 0; }\nint g(int t) { return t == GGML_TYPE_Q8_A8; }",
            1,
        ),
        (
            "// case GGML_TYPE_Q8_A8:\nint f(int t) { switch (t) { case GGML_TYPE_Q8_0: return 1; } return 0; }",
            1,
        ),
    ],
)
def test_ours_elsewhere_does_not_count(text: str, new: int) -> None:
    assert sum(not handled for _, _, handled in judged("a.cpp", text)) == new


def test_python_sites() -> None:
    text = (
        "class T:\n    Q8_0 = 8\n    Q8_A8 = 120\n"
        "A = {'q8_0': 1}\n"
        "B = ['q8_0', 'q8_a8']\n"
        "def f(t):\n    '''about q8_0'''\n    if t == 'q8_0':  # 'q8_0'\n        return 'q8_0'\n"
    )
    assert judged("a.py", text) == [
        ("enumerator", "T", True), ("element", "", False), ("element", "", True),
        ("comparison", "f", False), ("return", "f", False),
    ]  # fmt: skip
    assert judged("a.py", "def broken(:\n x = 'q8_0'\n") == [("text", "", False)]


def test_upstream_adds_a_function_tomorrow(mini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In ops.cpp the edit goes there by itself; elsewhere it is new, and CI can be made to fail."""
    ops = mini / "ggml/src/ggml-cpu/ops.cpp"
    ops.write_text(
        ops.read_text(encoding="utf-8")
        + "\nvoid late(int t) { switch (t) { case GGML_TYPE_Q8_0: break; } }\n",
        encoding="utf-8",
    )
    assert new_sites(audit(WorkTree(mini), PATCHSET)) == set()
    other = mini / "src/llama-model.cpp"
    other.write_text(
        other.read_text(encoding="utf-8") + "\nbool late(int t) { return t == GGML_TYPE_Q8_0; }\n",
        encoding="utf-8",
    )
    assert new_sites(audit(WorkTree(mini), PATCHSET)) == {("src/llama-model.cpp", "comparison", "late")}
    assert cli.run(["audit", str(mini)]) == 0
    assert cli.run(["audit", str(mini), "--fail-on-new"]) == 1
    said = capsys.readouterr().out
    assert "NEW" in said
    assert "src/llama-model.cpp:" in said
    assert cli.run(["audit", str(mini), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["counts"]["new"] == 1


def test_a_waiver_says_why_and_one_that_nothing_needs_is_told(mini: Path) -> None:
    other = mini / "src/llama-model.cpp"
    other.write_text(
        other.read_text(encoding="utf-8") + "\nbool late(int t) { return t == GGML_TYPE_Q8_0; }\n",
        encoding="utf-8",
    )
    rules = (
        SiteWaiver("src/*", "for the test", function="late"),
        SiteWaiver("src/*", "stale", function="gone"),
    )
    found = audit(WorkTree(mini), PATCHSET, waivers=rules)
    (one,) = [one for one in found.sites if one.state == "waived"]
    assert (one.site.function, one.reason) == ("late", "for the test")
    assert found.unused == (rules[1],)


def test_an_edit_that_is_not_made_leaves_its_sites_new(mini: Path) -> None:
    found = audit(WorkTree(mini), PATCHSET.select(without=("cpu-ops",)), waivers=())
    assert sum(one.site.file.endswith("ops.cpp") for one in found.new) >= 7


def test_a_commit_is_audited_without_a_checkout(mini_repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = audit(WorkTree(mini_repo), PATCHSET)
    (mini_repo / "ggml/src/ggml-cpu/ops.cpp").unlink()
    commit = audit(CommitTree(mini_repo, "HEAD"), PATCHSET)
    assert [one.site for one in commit.sites] == [one.site for one in tree.sites]
    assert cli.run(["audit", str(mini_repo), "--ref", "HEAD", "-v"]) == 0
    assert "handled" in capsys.readouterr().out


def test_waivers_are_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = waivers_module.load()
    assert all(rule.reason for rule in rules)
    for text in (
        "waiver = 1",
        '[[waiver]]\nfile = "x"',
        '[[waiver]]\nfile = "x"\nreason = "y"\ntext = "("',
        "[",
    ):
        (tmp_path / "waivers.toml").write_text(text, encoding="utf-8")
        monkeypatch.setattr(waivers_module, "resource_dir", lambda kind: tmp_path)
        with pytest.raises(PatcherError, match=r"patches/waivers\.toml"):
            waivers_module.load()
