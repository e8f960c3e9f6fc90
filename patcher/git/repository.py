"""What a repository holds: its folders, refs, files and state."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from patcher.base.bounded import MAX_SOURCE
from patcher.base.errors import UsageError
from patcher.git.objects import read_blob
from patcher.git.process import complete, line, refusal, run
from patcher.git.shadow import git_folder

_LONGEST_NAME = 1 << 16  # bytes of a .git that is a file
BASE_REF = "refs/q8a8-patch/base"

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class NoCommitError(UsageError):
    """A repository was looked at, and has no such commit."""


def find_toplevel(path: Path) -> Path | None:
    """The top of the work tree that ``path`` lies in; None where it lies in none."""
    path = path.resolve()
    for folder in (path, *path.parents):
        if (folder / ".git").exists():
            return folder
    return None


def prefix(top: Path, folder: Path) -> str:
    """What git puts before the names of ``folder``'s files, seen from ``top``: ``a/b/``, or nothing."""
    below = folder.resolve().relative_to(top.resolve()).as_posix()
    return "" if below == "." else f"{below}/"


def git_dir(path: Path) -> Path | None:
    """The git folder of the work tree that ``path`` lies in (of this work tree, where there are several)."""
    if find_toplevel(path) is None:
        return None
    found = git_folder(path)
    return found[1] if found is not None else None


A_REF = "name a branch, a tag or a commit, such as v0.5.0 or HEAD"


def resolve(repo: Path, ref: str) -> str:
    """The commit that ``ref`` names. Raises :class:`NoCommitError` where it names none, and
    :class:`UsageError` with git's own word where git doesn't get as far as to look for one."""
    if ref.startswith("-") or "\0" in ref:
        raise UsageError(f"looked for a ref, found {ref!r}", hint=A_REF)
    status, out, err = complete(
        repo, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"
    )
    if status != 0 and b"fatal:" in err:
        raise refusal(repo, status, err)
    if status != 0:
        raise NoCommitError(
            f"{repo}: looked for the commit {ref}, found none",
            hint="'git fetch --tags' gets the newest ones; 'git log --oneline --all' and 'git tag' list"
            " what there is",
        )
    commit = out.decode("utf-8", "surrogateescape").strip()
    if not _COMMIT.fullmatch(commit):  # ^ref is a commit to git, one to leave out
        raise UsageError(f"{repo}: looked for the commit {ref}, found {commit!r}", hint=A_REF)
    return commit


def head(repo: Path) -> str | None:
    """The commit that is checked out; None without one, and outside of any repository."""
    return _named(repo, "HEAD")


def record_base(repo: Path, commit: str) -> None:
    """Remember ``commit`` as the state before any patch."""
    run(repo, "update-ref", BASE_REF, commit)


def base(repo: Path) -> str | None:
    """The commit that :func:`record_base` remembered; None without one, and outside of any repository."""
    return _named(repo, BASE_REF)


def _named(repo: Path, ref: str) -> str | None:
    """What is there but can't be looked at is no None: whoever asks would take it for nothing."""
    try:
        return resolve(repo, ref) if git_folder(repo) is not None else None
    except NoCommitError:
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


def is_dirty(repo: Path, *, untracked: bool = True) -> list[str]:
    """Paths, from the top, with changes that aren't committed; new files too, unless ``untracked`` is false.

    Changes that git was told to pass over (assume-unchanged, skip-worktree) are changes all the same.
    """
    files = "all" if untracked else "no"
    out = run(repo, "status", "--porcelain=v1", "-z", "--no-renames", f"--untracked-files={files}")
    found = [os.fsdecode(item[3:]) for item in out.split(b"\0") if item]
    return [*found, *(path for path in _hidden(repo) if path not in found)]


def _flagged(repo: Path) -> Iterator[tuple[str, str]]:
    """(letter, path) of every file of the index that git doesn't look at.

    ``S`` where a sparse checkout left it out, a small letter where it is assumed to be unchanged.
    """
    for entry in run(repo, "ls-files", "-v", "-z", "--full-name").split(b"\0"):
        if entry[:1] in (b"S", b"s", b"h"):
            yield chr(entry[0]), os.fsdecode(entry[2:])


def left_out(repo: Path) -> frozenset[str]:
    """Paths, from the top, that a sparse checkout has in the index alone."""
    return frozenset(
        path for letter, path in _flagged(repo) if letter in "Ss" and not os.path.lexists(repo / path)
    )


def _hidden(repo: Path) -> Iterator[str]:
    """Files that git passes over and that aren't what the index has; line ends don't count."""
    flagged = [path for _, path in _flagged(repo) if (repo / path).is_file()]
    if not flagged:
        return
    index = {}
    for entry in run(repo, "ls-files", "-s", "-z", "--full-name").split(b"\0"):
        facts, _, name = entry.partition(b"\t")
        if name:
            index[os.fsdecode(name)] = facts.decode("ascii").split(" ")[1]
    yield from (path for path in flagged if not holds(repo / path, index[path]))


def holds(place: Path, blob: str) -> bool:
    """Whether the file at ``place`` is what git calls ``blob``; its line ends may be others."""
    size = place.stat().st_size
    if size <= MAX_SOURCE:
        data = place.read_bytes()
        algorithm = algorithm_of(blob)
        return blob in (blob_name(data, algorithm), blob_name(data.replace(b"\r\n", b"\n"), algorithm))
    made = hashlib.new(algorithm_of(blob), usedforsecurity=False)
    made.update(b"blob %d\0" % size)
    with place.open("rb") as file:
        while part := file.read(1 << 20):
            made.update(part)
    return made.hexdigest() == blob


def blob_name(data: bytes, algorithm: str) -> str:
    """What git calls a file that holds ``data`` in a repository of ``algorithm``: ``sha1`` or ``sha256``."""
    return hashlib.new(algorithm, b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def algorithm_of(name: str) -> str:
    """The algorithm that an object's full name was made with, which its length tells."""
    return "sha1" if len(name) == 40 else "sha256"
