"""`move` between two real releases, in each of the ways that people do it, held against a fresh `apply`.

    python -m benchmarks.moves [--old npm:node-llama-cpp@3.21.1] [--new npm:node-llama-cpp@3.22.1]

Where the user has commits of their own, they are a new file and a line in three of upstream's, two of which
edits go to, where the releases don't differ. What is left must be, byte for byte and mode for mode, the new
release with those changes and today's edits applied afresh. Exit code 1 where it isn't.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from patcher import cli
from patcher.base.cache import cache_dir
from patcher.source import fetch

OWN = ("README.md", "ggml/src/ggml-cpu/ops.cpp", "src/llama-model.cpp")  # each gets a line of the user's
NEW = "examples/mine.txt"


def git(repo: Path, *arguments: str, fails: bool = False) -> str:
    """Run git; with ``fails`` it must end in an error (a merge that stops)."""
    done = subprocess.run(["git", *arguments], cwd=repo, capture_output=True, text=True, check=False)
    if (done.returncode != 0) is not fails:
        raise RuntimeError(f"git {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def ours(*arguments: object, code: int = 0) -> None:
    """Run a command of q8a8-patch."""
    with contextlib.redirect_stdout(io.StringIO()):
        got = cli.run([*map(str, arguments), "-q"])
    if got != code:
        raise RuntimeError(f"q8a8-patch {' '.join(map(str, arguments))}: exit {got}, not {code}")


def own_changes(tree: Path, behind: dict[str, bytes], *, committed: bool) -> None:
    """What the user has besides the type: a new file, and a line behind one of each of upstream's files."""
    (tree / NEW).write_text("mine\n", encoding="utf-8")
    for number, (name, line) in enumerate([("", b""), *behind.items()]):
        if name:
            lines = (tree / name).read_bytes().splitlines(keepends=True)
            lines.insert(lines.index(line) + 1, b"// mine\n")
            (tree / name).write_bytes(b"".join(lines))
        if committed:
            git(tree, "add", "-A")
            git(tree, "commit", "-q", "-m", f"mine {number}")


def quiet_line(old: list[bytes], new: list[bytes]) -> bytes:
    """A line that both have once, in the middle of the longest run that they share."""
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for run in sorted(matcher.get_matching_blocks(), key=lambda one: -one.size):
        middle = run.a + run.size // 2
        for line in old[middle : run.a + run.size - 3]:
            if old.count(line) == new.count(line) == 1 and not line.rstrip().endswith(b"\\"):
                return line
    raise RuntimeError("looked for a line that both releases have once, found none")


def contents(tree: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its permissions, git's own apart."""
    found = {}
    for place in sorted(tree.rglob("*")):
        path = place.relative_to(tree)
        if ".git" in path.parts or place.is_dir():
            continue
        data = os.fsencode(place.readlink()) if place.is_symlink() else place.read_bytes()
        found[path.as_posix()] = (place.lstat().st_mode, data)
    return found


class Ground:
    """A repository with both releases tagged, and work copies of it."""

    def __init__(self, folder: Path, old: str, new: str) -> None:
        self.folder = folder
        self.upstream = folder / "upstream"
        self.upstream.mkdir()
        git(self.upstream, "init", "-q", "-b", "master")
        self.names = {}
        for tag, source in (("old", old), ("new", new)):
            made = fetch(
                source, cache_dir("benchmarks") / "moves" / source.replace(":", "-").replace("@", "-")
            )
            git(self.upstream, "fetch", "-q", "--depth=1", str(made.path), "HEAD")
            tree = git(self.upstream, "rev-parse", "FETCH_HEAD^{tree}")
            parent = () if tag == "old" else ("-p", "old")
            commit = git(self.upstream, "commit-tree", tree, *parent, "-m", made.release or source)
            git(self.upstream, "tag", tag, commit)
            self.names[tag] = made.release or source
        git(self.upstream, "reset", "-q", "--hard", "new")
        self.behind = {
            name: quiet_line(
                *(
                    git(self.upstream, "show", f"{tag}:{name}").encode().splitlines(keepends=True)
                    for tag in ("old", "new")
                )
            )
            for name in OWN
        }
        self.fresh = self._fresh(own=False)
        self.fresh_with_own = self._fresh(own=True)

    def clone(self, name: str, ref: str = "old") -> Path:
        """A clone with a branch ``work`` on ``ref``."""
        place = self.folder / name
        git(self.folder, "clone", "-q", "--no-checkout", str(self.upstream), str(place))
        git(place, "checkout", "-q", "-b", "work", ref)
        return place

    def _fresh(self, *, own: bool) -> dict[str, tuple[int, bytes]]:
        tree = self.clone(f"fresh-{own}", "new")
        if own:
            own_changes(tree, self.behind, committed=False)
        ours("apply", tree)
        return contents(tree)


def switch(ground: Ground, place: str) -> Path:
    """An apply that isn't committed, then `move`."""
    tree = ground.clone(place)
    ours("apply", tree)
    ours("move", "new", tree)
    return tree


def commits(ground: Ground, place: str) -> Path:
    """`apply --commit` among commits of the user's own, then `move`."""
    tree = ground.clone(place)
    ours("apply", tree, "--commit")
    own_changes(tree, ground.behind, committed=True)
    ours("move", "new", tree)
    subjects = git(tree, "log", "--format=%s", "new..HEAD").splitlines()
    if len(subjects) != 2 + len(OWN) or not subjects[0].startswith("add the Q8_A8"):
        raise RuntimeError(f"{tree}: the commits are {subjects}")
    return tree


def _stopped(ground: Ground, place: str, *verb: str, then: tuple[str, ...]) -> Path:
    tree = ground.clone(place)
    own_changes(tree, ground.behind, committed=True)
    ours("apply", tree, "--commit")
    git(tree, *verb, fails=True)
    ours("move", tree)
    if git(tree, "diff", "--name-only", "--diff-filter=U"):
        raise RuntimeError(f"{tree}: is still unmerged")
    git(tree, "-c", "core.editor=true", *then)
    if git(tree, "status", "--porcelain"):
        raise RuntimeError(f"{tree}: is not clean: {git(tree, 'status', '--porcelain')}")
    return tree


def merge(ground: Ground, place: str) -> Path:
    """`git merge` that stopped in the type's lines, then `move` without a release."""
    return _stopped(ground, place, "merge", "new", then=("commit", "--no-edit"))


def rebase(ground: Ground, place: str) -> Path:
    """`git rebase` that stopped in the type's lines, then `move` without a release."""
    return _stopped(ground, place, "rebase", "new", then=("rebase", "--continue"))


def pull(ground: Ground, place: str) -> Path:
    """`git pull` of upstream that stopped, then `move` without a release."""
    verb = ("pull", "-q", "--no-rebase", "origin", "master")
    return _stopped(ground, place, *verb, then=("commit", "--no-edit"))


def stash(ground: Ground, place: str) -> Path:
    """An apply put away by `git stash`, the new release checked out, `git stash pop` that stopped."""
    tree = ground.clone(place)
    ours("apply", tree)
    git(tree, "stash", "-q", "--include-untracked")
    git(tree, "checkout", "-q", "new")
    git(tree, "stash", "pop", fails=True)
    ours("move", tree)
    return tree


def submodule(ground: Ground, place: str) -> Path:
    """A submodule of a project, with commits of the user's own inside."""
    project = ground.folder / f"{place}-project"
    project.mkdir()
    git(project, "init", "-q")
    git(
        project,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        str(ground.upstream),
        "vendor/llama.cpp",
    )
    tree = project / "vendor/llama.cpp"
    git(tree, "checkout", "-q", "-b", "work", "old")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "the submodule")
    ours("apply", tree, "--commit")
    own_changes(tree, ground.behind, committed=True)
    ours("move", "new", tree)
    if git(project, "status", "--porcelain") != "M vendor/llama.cpp":
        raise RuntimeError(f"{project}: {git(project, 'status', '--porcelain')}")
    return tree


def copy(ground: Ground, place: str, sources: tuple[str, str]) -> Path:
    """A copy in a project of the user's own, without a history of upstream's."""
    project = ground.folder / f"{place}-project"
    tree = project / "third_party/llama.cpp"
    tree.parent.mkdir(parents=True)
    git(ground.upstream, "worktree", "add", "-q", "--detach", str(tree), "old")
    (tree / ".git").unlink()
    git(project, "init", "-q")
    git(project, "add", "-A", "-f")
    git(project, "commit", "-q", "-m", "the copy")
    ours("apply", tree)
    own_changes(tree, ground.behind, committed=False)
    git(project, "add", "-A", "-f")
    git(project, "commit", "-q", "-m", "the type, and mine")
    old, new = sources
    ours("move", new, tree, "--base", old)
    return tree


def differ(found: dict[str, tuple[int, bytes]], wanted: dict[str, tuple[int, bytes]]) -> list[str]:
    """The paths in which two trees differ."""
    return sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--old", default="npm:node-llama-cpp@3.21.1")
    parser.add_argument("--new", default="npm:node-llama-cpp@3.22.1")
    parser.add_argument("--show", type=int, default=10, help="paths that differ, printed at most")
    options = parser.parse_args(arguments)
    identity = {"AUTHOR_NAME": "a", "AUTHOR_EMAIL": "a@b", "COMMITTER_NAME": "a", "COMMITTER_EMAIL": "a@b"}
    os.environ |= {f"GIT_{key}": value for key, value in identity.items()}
    os.environ["GIT_CONFIG_GLOBAL"] = os.devnull
    failed = 0
    sources = (options.old, options.new)
    ways: dict[str, tuple[Callable[[Ground, str], Path], bool]] = {
        "switch": (switch, False),
        "commits": (commits, True),
        "merge": (merge, True),
        "rebase": (rebase, True),
        "pull": (pull, True),
        "stash": (stash, False),
        "submodule": (submodule, True),
        "copy": (lambda ground, place: copy(ground, place, sources), True),
    }
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(Path(folder), options.old, options.new)
        changed = git(ground.upstream, "diff", "--name-only", "old", "new").splitlines()
        names = f"{ground.names['old']} to {ground.names['new']}"
        print(f"{names}: {len(ground.fresh)} files, {len(changed)} changed by upstream", flush=True)
        for name, (way, own) in ways.items():
            start = time.monotonic()
            try:
                wrong = differ(contents(way(ground, name)), ground.fresh_with_own if own else ground.fresh)
            except RuntimeError as why:
                wrong = [str(why)]
            failed += bool(wrong)
            said = f"{len(wrong)} differ" if wrong else "equal"
            print(f"{name}: {said}, {time.monotonic() - start:.0f} s")
            print("".join(f"  {path}\n" for path in wrong[: options.show]), end="", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
