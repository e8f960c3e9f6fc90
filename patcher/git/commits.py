"""Commits that are made from bytes: the same input gives the same hash, whatever the user has set."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from patcher.git.process import line, run
from patcher.git.repository import resolve


def init_with_commit(folder: Path, message: str) -> str:
    """Make ``folder`` a repository with one commit of all of it. The same bytes give the same commit."""
    run(folder, "init", "--quiet", "--initial-branch=main", "--object-format=sha1", "--template=", ".")
    run(folder, "config", "core.autocrlf", "false")
    # The files are what they are: neither the tree's own attributes nor the user's turn line ends or
    # run filters, now or later.
    info = folder / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "attributes").write_text("* -text -filter -ident -working-tree-encoding\n", encoding="ascii")
    run(folder, "add", "--all", "--force", ".")
    who = _identity("q8a8-patch", "q8a8-patch@localhost", "0 +0000")
    run(folder, "commit", "--quiet", "--allow-empty", "--no-verify", "-m", message, env=who)
    return resolve(folder, "HEAD")


def _identity(name: str, email: str, date: str) -> dict[str, str]:
    return {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", name), ("EMAIL", email), ("DATE", f"@{date}"))
    }


def commit_files(
    repo: Path,
    *,
    parent: str,
    changes: Mapping[str, bytes | None],
    message: str,
    author: tuple[str, str],
    date: str,
) -> str:
    """A commit on ``parent`` with ``changes`` (None deletes). No ref, index or file of the tree is touched.

    The same input gives the same commit.
    """
    parent = resolve(repo, parent)
    nothing = b"0" * len(parent)
    with tempfile.TemporaryDirectory(prefix="q8a8-patch-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        run(repo, "read-tree", parent, env=index)
        lines = []
        for path, data in changes.items():
            if data is None:
                lines.append(b"0 " + nothing + b"\t" + os.fsencode(path))
                continue
            known = line(repo, "ls-files", "--stage", "--full-name", "--", f":(top,literal){path}", env=index)
            mode = known.split(" ", 1)[0] if known else "100644"
            blob = run(repo, "hash-object", "-w", "--no-filters", "--stdin", stdin=data).strip()
            lines.append(mode.encode() + b" " + blob + b"\t" + os.fsencode(path))
        run(repo, "update-index", "-z", "--index-info", env=index, stdin=b"\0".join(lines) + b"\0")
        tree = line(repo, "write-tree", env=index)
    return line(repo, "commit-tree", tree, "-p", parent, env=_identity(*author, date), stdin=message.encode())


def update_branch_commit(repo: Path, commit: str) -> None:
    """Move HEAD (its branch, or itself where detached) to ``commit``, whose parent it must be.

    In the index the files of the commit follow, before the branch does: cut off between the two, they are
    staged and not committed yet. What else is staged stays so, and the work tree is left as it is.
    """
    before = resolve(repo, "HEAD")
    fields = run(repo, "diff-tree", "-r", "-z", "--no-renames", before, commit).split(b"\0")
    lines = []
    for facts, path in zip(fields[::2], fields[1::2], strict=False):
        _, mode, _, blob, _ = facts.split(b" ")
        lines.append(mode + b" " + blob + b"\t" + path + b"\0")
    run(repo, "update-index", "-z", "--index-info", stdin=b"".join(lines))
    run(repo, "update-ref", "-m", "q8a8-patch apply", "HEAD", commit, before)
