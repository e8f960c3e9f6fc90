"""What a repository holds: its folders, refs, files and state."""

from __future__ import annotations

import os
import re
import tempfile
from functools import lru_cache
from pathlib import Path

from patcher.base.bounded import TooLongError, regular_file
from patcher.base.errors import UsageError
from patcher.git.objects import read_blob
from patcher.git.process import line, run

_LONGEST_NAME = 1 << 16  # bytes of a .git that is a file
BASE_REF = "refs/q8a8-patch/base"

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def find_toplevel(path: Path) -> Path | None:
    """The top of the work tree that ``path`` lies in; None where it lies in none."""
    path = path.resolve()
    for folder in (path, *path.parents):
        if (folder / ".git").exists():
            return folder
    return None


def git_dir(path: Path) -> Path | None:
    """The git folder of the work tree that ``path`` lies in, as its ``.git`` says: to look, never to write.

    (What is written lies where :func:`patcher.engine.records_folder.place_of` says.)
    """
    top = find_toplevel(path)
    if top is None:
        return None
    place = top / ".git"
    if place.is_dir():
        return place
    # a file: a worktree or a submodule, whose git folder is elsewhere
    try:
        said = regular_file(place, _LONGEST_NAME).decode("utf-8", "surrogateescape")
    except (OSError, TooLongError) as why:
        raise UsageError(f"{place}: looked for 'gitdir:', found something else ({why})") from why
    found = re.match(r"gitdir:\s*(.+)", said)
    if found is None:
        raise UsageError(f"{place}: looked for 'gitdir:', found something else")
    return (top / found.group(1).strip()).resolve()


def resolve(repo: Path, ref: str) -> str:
    """The commit that ``ref`` names. Raises :class:`UsageError` where it names none."""
    if ref.startswith("-") or "\0" in ref:
        raise UsageError(f"{ref!r}: not a git ref")
    try:
        commit = line(repo, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except UsageError as why:
        raise UsageError(f"{repo}: looked for the commit {ref}, found none") from why
    if not _COMMIT.fullmatch(commit):  # ^ref is a commit to git, one to leave out
        raise UsageError(f"{repo}: looked for the commit {ref}, found {commit!r}")
    return commit


def head(repo: Path) -> str | None:
    """The commit that is checked out; None in a repository without one."""
    try:
        return resolve(repo, "HEAD")
    except UsageError:
        return None


def record_base(repo: Path, commit: str) -> None:
    """Remember ``commit`` as the state before any patch."""
    run(repo, "update-ref", BASE_REF, commit)


def base(repo: Path) -> str | None:
    """The commit that :func:`record_base` remembered."""
    try:
        return resolve(repo, BASE_REF)
    except UsageError:
        return None


def commit_date(repo: Path, commit: str) -> str:
    """The committer's date of ``commit``, as git takes it: seconds and zone."""
    return line(repo, "show", "-s", "--format=%cd", "--date=raw", commit)


def list_files(repo: Path, commit: str) -> list[str]:
    """Every file of ``commit``."""
    return list(entries(repo, resolve(repo, commit)))


def read_file(repo: Path, commit: str, path: str) -> bytes | None:
    """One file of ``commit`` from git's objects; None where it has no such file (a link is none)."""
    mode, blob = entries(repo, resolve(repo, commit) if not _COMMIT.fullmatch(commit) else commit).get(
        path, ("", "")
    )
    return read_blob(repo, blob) if mode.startswith("100") else None


@lru_cache(maxsize=8)  # a commit never changes, and a plan asks for many of its files
def entries(repo: Path, commit: str) -> dict[str, tuple[str, str]]:
    """Path -> (mode, object) of every file, link and submodule."""
    out = run(repo, "ls-tree", "-r", "-z", "--full-tree", commit)
    entries = {}
    for entry in out.split(b"\0"):
        if entry:
            facts, _, name = entry.partition(b"\t")
            mode, _, blob = facts.decode("ascii").split(" ")
            entries[name.decode("utf-8", "surrogateescape")] = (mode, blob)
    return entries


def worktree_tree(repo: Path) -> str:
    """The git tree hash of the work tree as it is, new files included; the index is not touched."""
    with tempfile.TemporaryDirectory(prefix="q8a8-patch-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if head(repo) is not None:
            run(repo, "read-tree", "HEAD", env=index)
        run(repo, "add", "--all", ".", env=index)
        return line(repo, "write-tree", env=index)


def is_dirty(repo: Path) -> list[str]:
    """Paths, from the top, with changes that aren't committed; new files too."""
    out = run(repo, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all")
    return [os.fsdecode(item[3:]) for item in out.split(b"\0") if item]
