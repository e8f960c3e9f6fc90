"""What people do between two applies: git's verbs and ours in any order, and what has to be true after each.

After every step ``status`` answers, and truly; at the end ``revert`` or git brings the base back, and from
there an apply and its revert are what they always are.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from patcher import cli
from tests.conftest import FIXTURES, git, snapshot

OPS_FILE = "ggml/src/ggml-cpu/ops.cpp"
NAME = b"GGML_TYPE_Q8_A8"


def template(place: Path) -> Path:
    """A repository of two releases, tagged, and a branch on the first; made once, copied for each sequence."""
    shutil.copytree(FIXTURES / "mini", place)
    git(place, "init", "-q", "-b", "main")
    git(place, "add", "-A")
    git(place, "commit", "-qm", "first release")
    git(place, "tag", "r1")
    for name, old, new in (
        (
            OPS_FILE,
            "case GGML_TYPE_Q8_0:\n        case GGML_TYPE_Q2_0:",
            "case GGML_TYPE_Q8_0:\n        case GGML_TYPE_Q1_0:",
        ),
        ("include/llama.h", "enum llama_ftype {", "// file types\nenum llama_ftype {"),
    ):
        text = (place / name).read_text(encoding="utf-8")
        assert old in text, name
        (place / name).write_text(text.replace(old, new), encoding="utf-8")
    git(place, "commit", "-qam", "second release")
    git(place, "tag", "r2")
    git(place, "checkout", "-qb", "work", "r1")
    return place


class Walk:
    """One sequence in one copy of the template."""

    def __init__(self, stock: Path, place: Path) -> None:
        self.tree = place / "tree"
        shutil.copytree(stock, self.tree, symlinks=True)
        self.place = place
        self._count = 0

    def ours(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of the tool."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.run([*map(str, arguments)])
        return int(code), out.getvalue(), err.getvalue()

    def git(self, *arguments: str) -> int:
        """Git's exit code: it may refuse, as it does to people."""
        command = ["git", "-c", "core.editor=true", *arguments]
        return subprocess.run(command, cwd=self.tree, capture_output=True, check=False).returncode

    def step(self, name: str) -> None:
        """Do one thing, then hold what ``status`` says against the tree."""
        STEPS[name](self)
        self.check(name)

    def check(self, after: str) -> None:
        code, out, err = self.ours("status", self.tree, "--json")
        assert code in (0, 3), f"after {after}: status: {code}: {err}"
        state = json.loads(out)["state"]
        there = self.has_type()
        if state == "clean":
            assert not there, f"after {after}: 'clean', and the type is in {there}"
        elif state == "applied":
            assert there, f"after {after}: 'applied', and nothing of the type is there"

    def has_type(self) -> list[str]:
        return [path for path, data in snapshot(self.tree).items() if NAME in data]

    def end(self) -> None:
        """Ours or git's way back, and then the round trip."""
        self.revert()
        for verb in ("merge", "rebase", "cherry-pick"):
            self.git(verb, "--abort")
        assert self.git("reset", "-q", "--hard", "r1") == 0
        assert self.git("clean", "-fdq") == 0
        base = {path: data for path, data in snapshot(self.tree).items() if path != ".git"}
        self.check("going back with git")
        for verb in ("apply", "revert"):
            code, _, err = self.ours(verb, self.tree)
            assert code == 0, f"{verb} on the base: {code}: {err}"
        assert {path: data for path, data in snapshot(self.tree).items() if path != ".git"} == base
        assert not self.has_type()

    # ------------------------------------------------------------ steps

    def revert(self) -> None:
        """Nobody edits the type's lines here: what is recorded can be taken back, and what isn't is said."""
        merging = bool(git(self.tree, "ls-files", "-u"))
        code, out, err = self.ours("revert", self.tree, "--json")
        assert code in (0, 2) or merging, f"revert: {code}: {err}"
        if code == 0 and self.has_type():
            assert json.loads(out)["remaining"], f"revert: the type is still in {self.has_type()[:3]}"

    def own_edit(self) -> None:
        self._count += 1
        with (self.tree / "notes.txt").open("a", encoding="utf-8") as file:
            file.write(f"mine {self._count}\n")

    def commit_all(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", f"commit {self._count}")

    def worktree(self) -> None:
        self._count += 1
        other = self.place / f"worktree{self._count}"
        if self.git("worktree", "add", "-q", "--detach", str(other), "HEAD") == 0:
            self.tree = other

    def clone(self) -> None:
        self._count += 1
        other = self.place / f"clone{self._count}"
        git(self.place, "clone", "-q", str(self.tree), str(other))
        self.tree = other
        for tag in ("r1", "r2"):
            if self.git("rev-parse", "-q", "--verify", f"refs/tags/{tag}") != 0:
                self.git("fetch", "-q", "--tags")


STEPS: dict[str, Callable[[Walk], object]] = {
    "apply": lambda walk: walk.ours("apply", walk.tree),
    "apply --commit": lambda walk: walk.ours("apply", walk.tree, "--commit"),
    "revert": lambda walk: walk.revert(),
    "move r2": lambda walk: walk.ours("move", "r2", walk.tree),
    "move": lambda walk: walk.ours("move", walk.tree),
    "move --continue": lambda walk: walk.ours("move", "--continue", walk.tree),
    "move --abort": lambda walk: walk.ours("move", "--abort", walk.tree),
    "edit": Walk.own_edit,
    "commit": Walk.commit_all,
    "checkout -f r1": lambda walk: walk.git("checkout", "-qf", "r1"),
    "checkout -f r2": lambda walk: walk.git("checkout", "-qf", "r2"),
    "checkout work": lambda walk: walk.git("checkout", "-q", "work"),
    "checkout .": lambda walk: walk.git("checkout", "-q", "."),
    "reset --hard": lambda walk: walk.git("reset", "-q", "--hard"),
    "clean": lambda walk: walk.git("clean", "-fdq"),
    "stash -u": lambda walk: walk.git("stash", "-q", "-u"),
    "stash pop": lambda walk: walk.git("stash", "pop", "-q"),
    "merge r2": lambda walk: walk.git("merge", "-q", "--no-edit", "r2"),
    "rebase r2": lambda walk: walk.git("rebase", "-q", "r2"),
    "rebase --continue": lambda walk: walk.git("rebase", "--continue"),
    "gc": lambda walk: walk.git("gc", "-q", "--prune=now"),
    "worktree": Walk.worktree,
    "clone": Walk.clone,
}
# what people do most, more often
OFTEN = ("apply", "apply", "revert", "apply --commit", "commit", "edit", "checkout .", "merge r2")


def walked(stock: Path, place: Path, steps: Sequence[str]) -> None:
    """Do ``steps`` in a copy of ``stock`` below the empty folder ``place``. Raises AssertionError."""
    walk = Walk(stock, place)
    for step in steps:
        walk.step(step)
    walk.end()
