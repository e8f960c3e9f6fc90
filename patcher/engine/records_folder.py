"""Where the records of a tree lie: in its real git folder, in a folder of ours that nobody else writes."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from patcher.base import system
from patcher.base.errors import UsageError
from patcher.base.folder import Folder
from patcher.base.os_errors import refused

_MAX = 1 << 16  # bytes of a file of git's that names a folder


@dataclass(frozen=True)
class RecordsPlace:
    """``anchor`` is a folder that is there, ``names`` lead from it to the records; no link among them."""

    anchor: Path
    names: tuple[str, ...]

    @property
    def path(self) -> Path:
        """What messages call it."""
        return self.anchor.joinpath(*self.names)

    def open(self, *, make: bool) -> Folder | None:
        """The folder, made (for its owner alone) where it is missing and ``make``; None where it is missing.

        Raises :class:`UsageError` for a link, for a folder that is another user's or that others may write.
        """
        try:
            with Folder.open(self.anchor) as anchor:
                here = anchor
                for name in self.names:
                    here = here.enter(name, make=0o700 if make else None)
                    _require_ours(here)
                return here
        except FileNotFoundError:
            return None
        except OSError as why:
            hint = "records of what is written are kept there"
            raise refused(self.path, why, what="made or opened", hint=hint) from why


def place_of(root: Path) -> RecordsPlace:
    """The place of the checkout ``root``: inside of its git folder, no part of the tree, never committed.

    Where there is no git it is ``.q8a8-patch`` in the tree. A checkout vendored in a larger repository has
    its own. Raises :class:`UsageError` where the git folder is not that of this work tree.
    """
    from patcher import git

    top = git.find_toplevel(root)
    if top is None:
        return RecordsPlace(root, (".q8a8-patch",))
    name = git.prefix(top, root).removesuffix("/").replace("/", "%2F") or "top"
    return RecordsPlace(_git_folder(top), ("q8a8-patch", name))


def _git_folder(top: Path) -> Path:
    """The git folder of the work tree ``top``, where git's own layout says that the two belong together.

    Anybody can write ``gitdir: /any/folder`` into a file; in that folder nobody but git names this work tree.
    """
    try:
        with Folder.open(top) as folder:
            found = folder.file_type(".git")
            if found == stat.S_IFREG:
                place = _named(top, folder.read(".git", _MAX) or b"")
            else:
                folder.enter(".git").close()  # says what it is, where it is a link or something else
                place = top / ".git"
        with Folder.open(place) as folder:
            if system.POSIX and folder.itself().st_mode & stat.S_IWOTH:
                raise UsageError(f"{place}: anybody may write in it", hint=f"chmod o-w {place}")
            if found == stat.S_IFREG and not _belongs(folder, top):
                raise UsageError(
                    f"{top / '.git'}: names {place}, which does not name this work tree",
                    hint="'git worktree repair' mends one that was moved",
                )
    except OSError as why:
        raise refused(top / ".git", why, what="read") from why
    return place


def _named(top: Path, text: bytes) -> Path:
    found = re.match(rb"gitdir:\s*([^\r\n]+)", text)
    if found is None:
        raise UsageError(
            f"{top / '.git'}: looked for 'gitdir:', found something else",
            hint="'git worktree repair' or 'git submodule update --init' writes it again",
        )
    return (top / os.fsdecode(found[1].strip())).resolve()


def _belongs(folder: Folder, top: Path) -> bool:
    """Whether the git folder is of a worktree (its file ``gitdir`` leads back) or a submodule
    (``core.worktree`` does) at ``top``.
    """
    back = folder.read("gitdir", _MAX)
    if back is not None and folder.file_type("commondir") is not None:
        return (folder.path / os.fsdecode(back.strip())).resolve() == (top / ".git").resolve()
    settings = b"\n".join(folder.read(name, _MAX) or b"" for name in ("config", "config.worktree"))
    found = re.search(
        rb"^[ \t]*worktree[ \t]*=[ \t]*(?=\S)([^\r\n]*[^\s])[ \t]*$", settings, re.MULTILINE | re.IGNORECASE
    )
    if found is None:
        return False
    where = os.fsdecode(found[1]).strip().strip('"')
    return (folder.path / where).resolve() == top.resolve()


def _require_ours(folder: Folder) -> None:
    """Raise :class:`UsageError` where somebody else could put records there."""
    if not system.POSIX:
        return
    what = folder.itself()
    if not system.is_ours(what):
        raise UsageError(
            f"{folder.path}: belongs to another user, and their records are not believed",
            hint="run as the user who patched the tree, or remove that folder",
        )
    if what.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"{folder.path}: others may write in it, so that its records are not believed",
            hint="remove it, or 'chmod go-w' it if you know what is there",
        )
