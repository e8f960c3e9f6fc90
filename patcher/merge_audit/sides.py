"""The versions that meet in a merge: commits or folders, as paths with what tells their contents apart."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from patcher import git
from patcher.base.bounded import MAX_SOURCE, TooLongError, regular_file
from patcher.base.errors import UsageError
from patcher.engine.tree import WorkTree
from patcher.git.objects import TooLongBlobError
from patcher.git.repository import blob_name
from patcher.merge_audit.item import language
from patcher.merge_audit.likeness import ALIKE, share

_PAIRS = 20_000  # files that are compared with one another to find where one went
_HEAD = 8000  # bytes in which a file that is no text has a zero
_LINK, _MODULE = "link ", "module "  # before the hash of what is no file


@dataclass
class Version:
    """One side: ``contents`` is path -> what is equal for equal contents; ``commit`` None for a folder."""

    name: str
    contents: dict[str, str]
    commit: str | None = None
    repo: Path | None = None
    root: Path | None = None
    moved: dict[str, str] = field(default_factory=dict)  # its path -> the path that all versions share
    programs: frozenset[str] = frozenset()  # paths of files that may be run; of a commit alone
    written: dict[str, bytes] = field(default_factory=dict)  # contents that no repository has
    lacking: set[str] = field(default_factory=set)  # contents that were asked for and aren't there

    def read(self, path: str) -> bytes | None:
        """The file's bytes; None where there is none, and for a link, a submodule, one too long, and one that
        the repository lacks, which is then in :attr:`lacking`.
        """
        content = self.contents.get(path)
        if content is None or content.startswith((_LINK, _MODULE)):
            return None
        if content in self.written:
            return self.written[content]
        try:
            if self.repo is not None:
                return git.read_blob(self.repo, content)
            return regular_file(self.root / path, MAX_SOURCE) if self.root is not None else None
        except (TooLongBlobError, TooLongError):
            return None
        except UsageError:
            self.lacking.add(content)
            return None


def of_commit(repo: Path, ref: str, prefix: str = "") -> Version:
    """What a commit has below ``prefix``. Raises :class:`UsageError` for what names no commit."""
    commit = git.resolve(repo, ref)
    links = {"120000": _LINK, "160000": _MODULE}
    there = {path: one for path, one in git.entries(repo, commit).items() if path.startswith(prefix)}
    found = {path: links.get(mode, "") + blob for path, (mode, blob) in there.items()}
    programs = frozenset(path for path, (mode, _) in there.items() if mode == "100755")
    return Version(commit[:12], found, commit, repo, programs=programs)


def of_folder(folder: Path, algorithm: str = "sha1") -> Version:
    """The files and links of a folder, git's own left out, each with the hash that git gives it.

    Raises :class:`UsageError` where it is none.
    """
    tree = WorkTree(folder)
    found = {}
    for path in tree.files():
        try:
            found[path] = blob_name(regular_file(tree.root / path, MAX_SOURCE), algorithm)
        except TooLongError as why:
            found[path] = f"{why}"  # long ones are told apart by their length
        except OSError:
            continue
    for place, folders, files in os.walk(tree.root):
        folders[:] = [name for name in folders if name != ".git"]
        for one in (Path(place, name) for name in (*folders, *files)):
            if one.is_symlink():
                found[one.relative_to(tree.root).as_posix()] = _LINK + blob_name(
                    os.fsencode(one.readlink()), algorithm
                )
    return Version(str(folder), found, root=tree.root)


def unread_for(version: Version, path: str) -> str:
    """Why the ``path`` of a version can't be read line by line, other than for its length or its bytes."""
    content = version.contents.get(path, "")
    if content in version.lacking:
        return "the repository lacks it, as a partial clone does ('git fetch --refetch --no-filter' gets it)"
    words = {_LINK: "it is a symbolic link", _MODULE: "it is a submodule"}
    return next((said for mark, said in words.items() if content.startswith(mark)), "")


def is_text(data: bytes) -> bool:
    """Whether git would take it for lines of text."""
    return b"\0" not in data[:_HEAD]


def sides(repo: Path, words: Sequence[str]) -> list[Version]:
    """Each of ``words`` as a folder where there is one of that name, else as a commit of ``repo``.

    Submodules are left out where a folder is among them: it has none. Raises :class:`UsageError`.
    """
    commits = {word: of_commit(repo, word) for word in words if not Path(word).is_dir()}
    long = any(len(one.commit or "") == 64 for one in commits.values())  # hex digits: a repository of SHA-256
    made = [
        commits[word] if word in commits else of_folder(Path(word), "sha256" if long else "sha1")
        for word in words
    ]
    if len(commits) < len(set(words)):
        for one in commits.values():
            one.contents = {
                path: content for path, content in one.contents.items() if not content.startswith(_MODULE)
            }
    return made


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
    lines: dict[tuple[int, str], Counter[bytes]] = {}

    def said(version: Version, number: int, path: str) -> Counter[bytes]:
        if (number, path) not in lines:
            data = version.read(path) or b""
            text = data if is_text(data) else b""
            lines[number, path] = Counter(line.strip() for line in text.split(b"\n") if len(line) > 4)
        return lines[number, path]

    # one that is called .cpp now has changed its language's name as well: asked of what is left
    for sort in (_suffix, _language):
        by_sort: dict[str, list[str]] = {}
        for path in sorted(gone):
            by_sort.setdefault(sort(path), []).append(path)
        left = sorted(new - set(found))
        pairs = [(path, old) for path in left for old in by_sort.get(sort(path), ())]
        if len(pairs) > _PAIRS:  # a whole folder: its files have kept their names
            pairs = [(path, old) for path, old in pairs if Path(path).stem == Path(old).stem][:_PAIRS]
        alike = [(share(said(side, 1, path), said(base, 0, old)), path, old) for path, old in pairs]
        for much, path, old in sorted(alike, reverse=True):
            if much > ALIKE and path not in found and old in gone:
                found[path] = old
                gone.discard(old)
    return found


def _suffix(path: str) -> str:
    return Path(path).suffix


def _language(path: str) -> str:
    return language(path) or Path(path).stem
