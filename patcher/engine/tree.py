"""What is patched: a work tree's files, or a commit's, read without a checkout."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Protocol

from patcher.base.bounded import MAX_SOURCE, TooLongError, opened
from patcher.base.errors import UsageError
from patcher.base.folder import Folder
from patcher.base.os_errors import refused


class Tree(Protocol):
    """Files below one root, by their ``/``-separated path."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def read(self, path: str) -> bytes | None:
        """The file's bytes; None where there is no such regular file. Asked for often: cheap to repeat."""


class ListedTree(Tree, Protocol):
    """A tree that knows all its files."""

    def files(self) -> list[str]:
        """The path of every regular file that belongs to the tree."""


def inside(path: str) -> bool:
    """Whether ``path`` is relative and stays below its root."""
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts


class WorkTree:
    """Files on disk.

    Raises :class:`UsageError` for a root that is not a folder, and for a file that is a symbolic link
    or lies behind one that leads out of the tree: such a file is never read, let alone written.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UsageError(f"{root}: looked for a llama.cpp checkout, found no folder")
        self.root = root.resolve()

    @property
    def name(self) -> str:
        return str(self.root)

    def locate(self, path: str) -> Path:
        """The file's place on disk."""
        if not inside(path):
            raise UsageError(f"{path}: leads out of {self.root}")
        place = self.root / path
        if place.is_symlink() or not place.resolve().is_relative_to(self.root):
            raise _behind_link(place)
        return place

    def read(self, path: str) -> bytes | None:
        place = self.locate(path)
        try:
            if not place.is_file():
                return None
            # by handles: what has become a link since we looked isn't followed
            way = place.parent.resolve().relative_to(self.root).parts
            with Folder.open(self.root) as root, root.walk(way) as folder:
                return opened(folder.handle(place.name, os.O_RDONLY), MAX_SOURCE)
        except FileNotFoundError:
            return None
        except TooLongError as why:
            raise UsageError(f"{place}: looked for a source file, found none: {why}") from why
        except ValueError as why:  # a folder on the way leads out since we looked
            raise _behind_link(place) from why
        except OSError as why:
            raise refused(place, why, what="read") from why

    def files(self) -> list[str]:
        """Every file below the root; those of git's own folder and of a nested repository left out."""
        found: list[str] = []
        for place, folders, names in os.walk(self.root, followlinks=False):
            here = Path(place)
            folders[:] = sorted(
                name for name in folders if name != ".git" and not (here / name / ".git").exists()
            )
            found += [
                (here / name).relative_to(self.root).as_posix()
                for name in sorted(names)
                if name != ".git" and (here / name).is_file() and not (here / name).is_symlink()
            ]
        return found


def _behind_link(place: Path) -> UsageError:
    return UsageError(f"{place}: is behind a symbolic link", hint="replace it by the file itself")


class CommitTree:
    """Files of one commit, from git's objects: all, or those below the folder ``prefix`` (``a/b/``)."""

    def __init__(self, repo: Path, ref: str, prefix: str = "") -> None:
        from patcher import git

        self.repo = repo
        self.prefix = prefix
        self.commit = git.resolve(repo, ref)
        self._git = git
        self._read: dict[str, bytes | None] = {}

    @property
    def name(self) -> str:
        return f"{self.repo / self.prefix}@{self.commit[:12]}"

    def read(self, path: str) -> bytes | None:
        if path not in self._read:
            there = inside(path)
            self._read[path] = (
                self._git.read_file(self.repo, self.commit, self.prefix + path) if there else None
            )
        return self._read[path]

    def files(self) -> list[str]:
        """Every file of the commit, by its path below the prefix."""
        paths = self._git.list_files(self.repo, self.commit)
        return [path.removeprefix(self.prefix) for path in paths if path.startswith(self.prefix)]
