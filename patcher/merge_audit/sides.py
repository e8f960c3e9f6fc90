"""The versions that meet in a merge: commits or folders, as paths with what tells their contents apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from patcher import git
from patcher.base.bounded import MAX_SOURCE, TooLongError, regular_file
from patcher.base.errors import UsageError
from patcher.engine.tree import WorkTree
from patcher.merge_audit.item import language

_PAIRS = 20_000  # files that are compared with one another to find where one went
_ALIKE = 0.4  # of two files' lines, from which on one may be the other, moved and changed
LONGEST = 2 << 20  # bytes of a file that is read item by item; upstream's longest has a quarter of it


@dataclass
class Version:
    """One side: ``contents`` is path -> what is equal for equal contents; ``commit`` None for a folder."""

    name: str
    contents: dict[str, str]
    commit: str | None = None
    repo: Path | None = None
    root: Path | None = None
    moved: dict[str, str] = field(default_factory=dict)  # its path -> the path that all versions share

    def read(self, path: str) -> bytes | None:
        """The file's bytes; None where there is none, or one too long to be read item by item."""
        content = self.contents.get(path)
        if content is None:
            return None
        try:
            if self.repo is not None:
                data = git.read_blob(self.repo, content)
            elif self.root is not None:
                data = regular_file(self.root / path, MAX_SOURCE)
            else:
                return None
        except (UsageError, TooLongError):
            return None
        return data if len(data) <= LONGEST else None


def of_commit(repo: Path, ref: str, prefix: str = "") -> Version:
    """The files of a commit below ``prefix``. Raises :class:`UsageError` for what names no commit."""
    commit = git.resolve(repo, ref)
    found = {
        path: blob
        for path, (mode, blob) in git.entries(repo, commit).items()
        if mode.startswith("100") and path.startswith(prefix)
    }
    return Version(commit[:12], found, commit, repo)


def of_folder(folder: Path) -> Version:
    """The files of a folder, git's own left out. Raises :class:`UsageError` where it is none."""
    tree = WorkTree(folder)
    found = {}
    for path in tree.files():
        place = tree.root / path
        try:
            found[path] = hashlib.sha256(regular_file(place, MAX_SOURCE)).hexdigest()
        except TooLongError as why:
            found[path] = f"{why}"  # long ones are told apart by their length
        except OSError:
            continue
    return Version(str(folder), found, root=tree.root)


def side(repo: Path, word: str) -> Version:
    """``word`` as a folder where there is one of that name, else as a commit of ``repo``."""
    place = Path(word)
    return of_folder(place) if place.is_dir() else of_commit(repo, word)


def follow_renames(base: Version, side: Version) -> dict[str, str]:
    """Path in ``side`` -> path in ``base``, of files that moved: equal ones, then the most alike of them."""
    gone = {path for path in base.contents if path not in side.contents}
    new = {path for path in side.contents if path not in base.contents}
    found: dict[str, str] = {}
    equal = {base.contents[path]: path for path in sorted(gone)}
    for path in sorted(new):
        old = equal.get(side.contents[path])
        if old in gone:
            found[path] = old
            gone.discard(old)
    new -= set(found)
    by_kind: dict[str, list[str]] = {}
    for path in sorted(gone):
        by_kind.setdefault(Path(path).suffix, []).append(path)
    lines: dict[tuple[int, str], frozenset[bytes]] = {}

    def said(version: Version, number: int, path: str) -> frozenset[bytes]:
        if (number, path) not in lines:
            data = version.read(path) or b""
            lines[number, path] = frozenset(line.strip() for line in data.split(b"\n") if len(line) > 4)
        return lines[number, path]

    if len(new) * max((len(paths) for paths in by_kind.values()), default=0) > _PAIRS:
        return found
    pairs = []
    for path in sorted(path for path in new if Path(path).suffix in by_kind and language(path)):
        mine = said(side, 1, path)
        for old in by_kind[Path(path).suffix]:
            theirs = said(base, 0, old)
            pairs.append((len(mine & theirs) / max(1, len(mine), len(theirs)), path, old))
    for alike, path, old in sorted(pairs, reverse=True):
        if alike > _ALIKE and path not in found and old in gone:
            found[path] = old
            gone.discard(old)
    return found
