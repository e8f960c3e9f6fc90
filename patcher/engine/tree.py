"""What is patched: a work tree's files, or a commit's, read without a checkout."""

from __future__ import annotations

import os
from collections.abc import Mapping
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


class Overlaid:
    """``tree`` with other contents for some of its files, in memory alone; None for one that is gone."""

    def __init__(self, tree: Tree, over: Mapping[str, bytes | None]) -> None:
        self._tree, self._over = tree, over

    @property
    def name(self) -> str:
        return self._tree.name

    def read(self, path: str) -> bytes | None:
        return self._over[path] if path in self._over else self._tree.read(path)


class OverlaidListed(Overlaid):
    """The same of a tree that knows its files, which are searched for what other hands have written."""

    def __init__(self, tree: ListedTree, over: Mapping[str, bytes | None]) -> None:
        super().__init__(tree, over)
        self._listed = tree

    def files(self) -> list[str]:
        """Those of the tree and those over it."""
        known = {*self._listed.files(), *self._over}
        return sorted(path for path in known if path not in self._over or self._over[path] is not None)


class WorkTree:
    """Files on disk.

    Raises :class:`UsageError` for a root that is not a folder, and for a file that is a symbolic link
    or lies behind one that leads out of the tree: such a file is never read, let alone written.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UsageError(
                f"{root}: looked for a llama.cpp checkout, found no folder",
                hint="'q8a8-patch fetch' gets one",
            )
        self.root = root.resolve()

    @property
    def name(self) -> str:
        return str(self.root)

    def locate(self, path: str) -> Path:
        """The file's place on disk."""
        return self._looked_at(path)[0]

    def _looked_at(self, path: str) -> tuple[Path, list[str]]:
        """The same, and the names that lead there from the root without a link."""
        if not inside(path):
            raise UsageError(
                f"{path}: looked for a path in {self.root}, found one that leads out of it",
                hint="write it from the tree's root, without '..'",
            )
        place = self.root / path
        # not Path's own methods: a tree has thousands of files, and each costs a quarter of theirs
        root = os.path.join(self.root, "")  # noqa: PTH118
        real = os.path.realpath(place)
        if os.path.islink(place) or not real.startswith(root):  # noqa: PTH114
            raise UsageError(f"{place}: is behind a symbolic link", hint="replace it by the file itself")
        return place, real[len(root) :].split(os.sep)  # noqa: PTH206

    def read(self, path: str, limit: int = MAX_SOURCE) -> bytes | None:
        place, (*way, name) = self._looked_at(path)
        try:
            if not os.path.isfile(place):  # noqa: PTH113
                return None
            # by handles: what has become a link since we looked isn't followed
            with Folder.open(self.root) as root, root.walk(way) as folder:
                return opened(folder.handle(name, os.O_RDONLY), limit)
        except FileNotFoundError:
            return None
        except TooLongError as why:
            raise UsageError(
                f"{place}: looked for a source file, found another ({why})",
                hint="put the release's own file back: 'git checkout -- FILE'",
            ) from why
        except OSError as why:
            raise refused(place, why, what="read") from why

    def files(self) -> list[str]:
        """Every file below the root; those of git's own folder and of a nested repository left out."""
        found: list[str] = []
        todo = [("", str(self.root))]
        while todo:
            prefix, place = todo.pop()
            try:
                with os.scandir(place) as listed:
                    entries = sorted(listed, key=lambda entry: entry.name)
            except OSError:
                continue
            if prefix and any(entry.name == ".git" for entry in entries):
                continue
            below = []
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    found += [prefix + entry.name] if entry.name != ".git" else []
                elif entry.name != ".git" and entry.is_dir(follow_symlinks=False):
                    below.append((f"{prefix}{entry.name}/", entry.path))
            todo += reversed(below)
        return found


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
