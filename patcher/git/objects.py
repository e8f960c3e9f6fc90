"""Git's objects, many of them: GitPython keeps one ``git cat-file --batch`` open for each repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from patcher.base.bounded import MAX_SOURCE
from patcher.base.errors import UsageError
from patcher.base.os_errors import reason
from patcher.git.process import ENVIRONMENT, line, run
from patcher.git.shadow import shadow

if TYPE_CHECKING:
    from git import Git


SHELLS = 8  # processes that are kept: whoever reads many repositories mustn't gather one for each

_shells: dict[Path, Git] = {}  # those used last stand last
_parents: list[dict[Path, Git]] = []  # held, since GitPython ends the process of a shell that is let go


def _after_fork() -> None:
    """A child that asked its parent's git would take answers that the parent waits for."""
    _parents.append(dict(_shells))
    _shells.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _shell(repo: Path) -> Git:
    shell = _shells.pop(repo, None) or _started(repo)
    while len(_shells) >= SHELLS:
        _shells.pop(next(iter(_shells))).clear_cache()  # ends its process
    _shells[repo] = shell
    return shell


def _started(repo: Path) -> Git:
    import git

    shell = git.Git(str(repo))
    # GitPython hands the whole environment on: what could lead elsewhere is set to what is meant
    shell.update_environment(
        **ENVIRONMENT,
        **shadow(repo).environment(worktree=False),
        GIT_OBJECT_DIRECTORY=str(shadow(repo).folder / "objects"),
        GIT_ALTERNATE_OBJECT_DIRECTORIES="",
        GIT_NO_REPLACE_OBJECTS="1",
    )
    return shell


class TooLongBlobError(UsageError):
    """An object is longer than what is read."""


def read_blob(repo: Path, blob: str, limit: int = MAX_SOURCE) -> bytes:
    """The content of an object by its full hash, ``limit`` bytes at most.

    Raises :class:`UsageError` where there is none, and :class:`TooLongBlobError` for one that is longer: it
    is packed, so a small repository can hold any length.
    """
    import git

    if len(blob) == 64:  # GitPython knows SHA-1 alone
        size = int(line(repo, "cat-file", "-s", blob))
        if size > limit:
            raise _too_long(repo, blob, size, limit)
        return run(repo, "cat-file", "blob", blob)
    try:
        _, _, size, stream = _shell(repo).stream_object_data(blob)
        if size > limit:
            while stream.read(1 << 20):  # the next answer comes behind this one
                pass
            raise _too_long(repo, blob, size, limit)
        data = stream.read(size)
    except (ValueError, OSError, git.GitCommandError) as why:
        _shells.pop(repo, None)  # the process may be gone: the next question starts another
        said = reason(why)
        partial = "a partial clone lacks some: 'git fetch --refetch --no-filter' gets them"
        raise UsageError(
            f"{repo}: object {blob} can't be read ({said})",
            hint=partial
            if "missing" in said
            else "'git fsck' says what is damaged; clone it again, and fetch your branches into that",
        ) from why
    return bytes(data)


def _too_long(repo: Path, blob: str, size: int, limit: int) -> TooLongBlobError:
    return TooLongBlobError(
        f"{repo}: object {blob}: looked for a source, found {size} bytes, more than {limit}",
        hint="such a file is no source: leave that revision out, or take the file out of the repository",
    )
