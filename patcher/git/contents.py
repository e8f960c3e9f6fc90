"""The files of a commit with changes over them, in memory: what a branch would be on another base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from patcher.base.bounded import MAX_FILE
from patcher.git import changes
from patcher.git.changes import FileVersion
from patcher.git.objects import read_blob
from patcher.git.repository import algorithm_of, blob_name, entries, resolve

NEW_FILE_MODE = "100644"


class Objects:
    """A repository's file contents, and those that are made here and may never be written."""

    def __init__(self, repo: Path) -> None:
        self.repo = repo
        self._made: dict[str, bytes] = {}
        self._algorithm = algorithm_of(resolve(repo, "HEAD"))

    def read(self, version: FileVersion | None) -> bytes | None:
        """The bytes of ``version``; None for none."""
        if version is None:
            return None
        known = self._made.get(version.blob)
        return known if known is not None else read_blob(self.repo, version.blob, MAX_FILE)

    def made(self, data: bytes | None, like: FileVersion | None) -> FileVersion | None:
        """The version that holds ``data``, with the mode of ``like``; it is in memory alone."""
        if data is None:
            return None
        blob = blob_name(data, self._algorithm)
        self._made.setdefault(blob, data)
        return FileVersion(like.mode if like is not None else NEW_FILE_MODE, blob)

    def keep(self, versions: Mapping[str, FileVersion | None]) -> None:
        """Write those of ``versions`` that were made here into the repository, as objects without a ref."""
        for version in versions.values():
            if version is not None and version.blob in self._made:
                changes.write_blob(self.repo, self._made[version.blob])


class Contents:
    """A commit's tree with changes over it, as a :class:`patcher.engine.tree.ListedTree`.

    Paths of :meth:`read` and :meth:`files` are below ``prefix``; those of the other methods from the top.
    """

    def __init__(self, objects: Objects, commit: str, prefix: str = "") -> None:
        self.objects = objects
        self.commit = resolve(objects.repo, commit)
        self.prefix = prefix
        self._there = {
            path: FileVersion(mode, blob) for path, (mode, blob) in entries(objects.repo, self.commit).items()
        }
        self.over: dict[str, FileVersion | None] = {}

    @property
    def name(self) -> str:
        return f"{self.objects.repo / self.prefix}@{self.commit[:12]}"

    def version(self, path: str) -> FileVersion | None:
        """What ``path`` is."""
        return self.over[path] if path in self.over else self._there.get(path)

    def put(self, path: str, version: FileVersion | None) -> None:
        """Let ``path`` be ``version``."""
        self.over[path] = version

    def read(self, path: str) -> bytes | None:
        version = self.version(self.prefix + path) if not path.startswith("/") else None
        return self.objects.read(version) if version is not None and version.is_file else None

    def files(self) -> list[str]:
        return sorted(path.removeprefix(self.prefix) for path in self._all() if path.startswith(self.prefix))

    def _all(self) -> Iterator[str]:
        for path in {**self._there, **self.over}:
            version = self.version(path)
            if version is not None and version.is_file:
                yield path
