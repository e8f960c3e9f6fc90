"""Merges of real releases in which nothing is lost, of several shapes, each made by git without a conflict.

A side is a part of what upstream did between two tags: half of its hunks, or of its commits. Then one side
may also rename functions, move files to another folder, or functions to a file of their own; in the merge
the other side's changes have followed.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from patcher import git
from patcher.base.errors import UsageError
from patcher.git.changes import FileVersion, changed, write_blob

Hunk = tuple[int, int, int, int]  # lines of the old file, from and to; of the new one
FILES = 24  # that a merge of halves is made of
COMMITS = 16  # that a merge of commits is made of
SHAPES = {
    "halves": "two halves of the hunks between two tags",
    "commits": "the commits between two tags, dealt to two branches",
    "renamed": "the same, and one side has renamed functions: the other's calls follow",
    "moved files": "the same, and one side has moved files to another folder",
    "moved functions": "the same, and one side has moved functions to a file of their own",
}
_PART = re.compile(r"(?<=^\}\n)", re.MULTILINE)  # behind a brace that closes in the first column
_NAME = re.compile(r"^(?!\s)(?:[\w:*&<>, ]+?[\s*&])?(\w{6,})\([^;{}]*\)\s*(?:const\s*)?\{", re.MULTILINE)
_OPENED = re.compile(r"^\S.*\{\s*$", re.MULTILINE)  # what is defined: a function, a structure, a table
_ELSE = re.compile(r"^\s*\}\s*else\b")


@dataclass(frozen=True)
class Made:
    """A merge of three commits: it and its sides are commits of the bench's repository."""

    name: str
    shape: str
    base: str
    ours: str
    theirs: str
    merged: str


class Bench:
    """A repository of its own, beside a clone of upstream whose objects it borrows."""

    def __init__(self, folder: Path, clone: Path) -> None:
        self.repo = folder / "merges"
        _git(folder, "init", "-q", "--bare", str(self.repo))
        objects = _git(clone, "rev-parse", "--path-format=absolute", "--git-path", "objects")
        (self.repo / "objects/info/alternates").write_text(f"{objects}\n", encoding="utf-8")
        self.clone = clone
        self._hunks: dict[tuple[str, str], dict[str, list[Hunk]]] = {}

    def merge(self, tags: list[tuple[str, str]], number: int, chance: random.Random) -> Made | None:
        """The merge of that number: shapes and pairs of tags take turns; None where none comes about."""
        shape = list(SHAPES)[number % len(SHAPES)]
        for tried in range(8):
            old, new = tags[(number // len(SHAPES) + tried) % len(tags)]
            made = self._of_shape(shape, old, new, chance)
            if made is not None:
                return made
        return None

    def _of_shape(self, shape: str, old: str, new: str, chance: random.Random) -> Made | None:
        base, tip = (_git(self.clone, "rev-parse", f"{tag}^{{commit}}") for tag in (old, new))
        if shape == "halves":
            sides = [self.commit(base, side, [base]) for side in self._halves(base, tip, chance)]
        else:
            base, sides = self._dealt(base, tip, chance)
        if base in sides:
            return None
        tree, conflicts = self._merged(*sides)
        if conflicts:
            return None
        ours, theirs = sides
        changes: tuple[dict[str, FileVersion | None], dict[str, FileVersion | None]] = ({}, {})
        what = ""
        if shape in ("renamed", "moved files", "moved functions"):
            plain = _git(self.repo, "commit-tree", tree, "-m", "merged", "-p", ours, "-p", theirs)
            how = {"renamed": self._renamed, "moved files": self._moved_files}.get(
                shape, self._moved_functions
            )
            what, changes = how(base, ours, theirs, plain, chance)
            if not what:
                return None
            ours = self.commit(ours, changes[0], [base])
        plain = _git(self.repo, "commit-tree", tree, "-m", "merged", "-p", ours, "-p", theirs)
        merged = plain
        if changes[1]:
            merged = self.commit(plain, changes[1], [ours, theirs])
        return Made(f"{old}..{new} {shape} {what}".strip(), shape, base, ours, theirs, merged)

    # -- sides

    def _halves(self, base: str, other: str, chance: random.Random) -> list[dict[str, FileVersion | None]]:
        """A random part of the files between two tags: of most, each side has its own hunks."""
        sides: list[dict[str, FileVersion | None]] = [{}, {}]
        known = self.hunks(base, other)
        everything = changed(self.repo, base, other)
        for path in chance.sample(sorted(everything), min(FILES, len(everything))):
            before, after = everything[path]
            if path not in known or before is None or after is None or chance.random() < 0.3:
                sides[chance.random() < 0.5][path] = after
                continue
            old, new = self.lines(base, path), self.lines(other, path)
            made: list[list[str]] = [[], []]
            at = 0
            for first, last, start, end in known[path]:
                side = int(chance.random() < 0.5)
                for number in (0, 1):
                    made[number] += old[at:first] + (new[start:end] if number == side else old[first:last])
                at = last
            texts = ["".join(part + old[at:]) for part in made]
            if not all(map(_is_whole, texts)):  # nobody would commit such a half
                sides[chance.random() < 0.5][path] = after
                continue
            for number, text in enumerate(texts):
                if text != "".join(old):
                    sides[number][path] = FileVersion(after.mode, self._blob(text))
        return sides

    def _dealt(self, base: str, tip: str, chance: random.Random) -> tuple[str, list[str]]:
        """Commits in a row, picked onto one of two branches by a coin; what doesn't fit there is left out."""
        row = _git(
            self.clone, "rev-list", "--first-parent", "--no-merges", "--reverse", f"{base}..{tip}"
        ).split()
        start = chance.randrange(max(1, len(row) - COMMITS))
        row = row[start : start + COMMITS]
        base = _git(self.clone, "rev-parse", f"{row[0]}^")
        sides = [base, base]
        for commit in row:
            number = int(chance.random() < 0.5)
            parent = _git(self.clone, "rev-parse", f"{commit}^")
            side = _git(self.repo, "commit-tree", f"{sides[number]}^{{tree}}", "-m", "side", "-p", parent)
            tree, conflicts = self._merged(side, commit)  # whose base is the commit's parent
            if not conflicts:
                sides[number] = _git(
                    self.repo, "commit-tree", tree, "-m", f"as {commit}", "-p", sides[number]
                )
        return base, sides

    # -- what one side does besides

    def _renamed(
        self, base: str, ours: str, theirs: str, merged: str, chance: random.Random
    ) -> tuple[str, tuple[dict[str, FileVersion | None], dict[str, FileVersion | None]]]:
        """Up to four functions that the other side's files name get other names in ours and in the merge."""
        names: set[str] = set()
        for path in changed(self.repo, base, theirs):
            if _is_c(path):
                names |= set(_NAME.findall("".join(self.lines(base, path))))
        chosen = chance.sample(sorted(names), min(4, len(names)))
        made: tuple[dict[str, FileVersion | None], dict[str, FileVersion | None]] = ({}, {})
        for number, commit in enumerate((ours, merged)):
            there = git.entries(self.repo, commit)
            for name in chosen:
                for path in self._naming(commit, name):
                    version = made[number].get(path)
                    text = self._text(version.blob if version else there[path][1])
                    spelt = re.sub(rf"\b{name}\b", _other_name(name), text)
                    made[number][path] = FileVersion(there[path][0], self._blob(spelt))
        return " ".join(chosen), made

    def _moved_files(
        self, base: str, ours: str, theirs: str, merged: str, chance: random.Random
    ) -> tuple[str, tuple[dict[str, FileVersion | None], dict[str, FileVersion | None]]]:
        """Half of the files that the other side changed go to another folder."""
        paths = [path for path, (old, new) in sorted(changed(self.repo, base, theirs).items()) if old and new]
        chosen = chance.sample(paths, max(1, len(paths) // 2)) if paths else []
        made: tuple[dict[str, FileVersion | None], dict[str, FileVersion | None]] = ({}, {})
        for number, commit in enumerate((ours, merged)):
            there = git.entries(self.repo, commit)
            for path in chosen:
                if path in there:
                    made[number][path] = None
                    pure = PurePosixPath(path)
                    made[number][str(pure.parent / "elsewhere" / pure.name)] = FileVersion(*there[path])
        return f"{len(chosen)} files" if chosen else "", made

    def _moved_functions(
        self, base: str, ours: str, theirs: str, merged: str, chance: random.Random
    ) -> tuple[str, tuple[dict[str, FileVersion | None], dict[str, FileVersion | None]]]:
        """A third of the functions of six files that the other side changed go to files of their own."""
        paths = [path for path, (old, new) in sorted(changed(self.repo, base, theirs).items()) if old and new]
        chance.shuffle(paths)
        made: tuple[dict[str, FileVersion | None], dict[str, FileVersion | None]] = ({}, {})
        count = 0
        for path in [path for path in paths if _is_c(path) and not path.endswith((".h", ".hpp", ".cuh"))][:6]:
            texts = ["".join(self.lines(commit, path)) for commit in (base, ours, theirs, merged)]
            names = [_functions(text) for text in texts]
            common = sorted(set.intersection(*(set(one) for one in names)))
            gone = set(chance.sample(common, len(common) // 3))
            if not gone or not all(texts):
                continue
            count += len(gone)
            pure = PurePosixPath(path)
            other = str(pure.with_name(f"{pure.stem}-more{pure.suffix}"))
            for number, commit in ((0, ours), (1, merged)):
                stay: list[str] = []
                left: list[str] = []
                for part in _PART.split(texts[1 + 2 * number]):
                    (left if _function(part) in gone else stay).append(part)
                mode = git.entries(self.repo, commit)[path][0]
                made[number][path] = FileVersion(mode, self._blob("".join(stay)))
                made[number][other] = FileVersion(mode, self._blob("".join(left)))
        return f"{count} functions" if count else "", made

    def _naming(self, commit: str, name: str) -> list[str]:
        done = subprocess.run(
            ["git", "grep", "-l", "-w", "-I", "-z", "-e", name, commit],
            cwd=self.repo,
            capture_output=True,
            check=False,
        )
        return [one.decode("utf-8").partition(":")[2] for one in done.stdout.split(b"\0") if one]

    # -- files

    def hunks(self, old: str, new: str) -> dict[str, list[Hunk]]:
        """Path -> what the commit ``new`` changed in it, of text files that both have."""
        if (old, new) not in self._hunks:
            options = ["-U0", "--no-renames", "--no-color", "--diff-filter=M"]
            paths = self._there(old, new)
            text = _git(self.repo, "diff", *options, old, new, "--", *paths) if paths else ""
            found: dict[str, list[Hunk]] = defaultdict(list)
            for part in re.split(r"^diff --git ", text, flags=re.MULTILINE)[1:]:
                path = re.search(r"^\+\+\+ b/(.*)$", part, re.MULTILINE)
                for one in re.finditer(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", part, re.MULTILINE):
                    first, count, start, number = (
                        int(value) if value is not None else 1 for value in one.groups()
                    )
                    first, start = first - (count > 0), start - (number > 0)
                    if path is not None:
                        found[path[1]].append((first, first + count, start, start + number))
            self._hunks[old, new] = dict(found)
        return self._hunks[old, new]

    def _there(self, old: str, new: str) -> list[str]:
        """The paths that two commits have in other versions, less those that the clone lacks: large files."""
        both = {path: one for path, one in changed(self.repo, old, new).items() if None not in one}
        blobs = {version.blob for one in both.values() for version in one if version is not None}
        known = _git(self.repo, "cat-file", "--batch-check", stdin="\n".join(sorted(blobs)).encode())
        lacking = {line.split()[0] for line in known.splitlines() if line.endswith(" missing")}
        return [
            f":(literal){path}"
            for path, one in both.items()
            if not any(version is not None and version.blob in lacking for version in one)
        ]

    def lines(self, commit: str, path: str) -> list[str]:
        """The file's lines, each with its end; a line ends where git says so."""
        try:
            data = git.read_file(self.repo, commit, path) or b""
        except UsageError:  # a large file that the clone lacks
            return []
        return [line for line in re.split(r"(?<=\n)", data.decode("utf-8", "surrogateescape")) if line]

    def write(self, on: str, changes: Mapping[str, str], parents: list[str]) -> str:
        """The commit ``on`` with other texts in some of its files."""
        there = git.entries(self.repo, on)
        files: dict[str, FileVersion | None] = {
            path: FileVersion(there[path][0], self._blob(text)) for path, text in changes.items()
        }
        return self.commit(on, files, parents)

    def commit(self, on: str, changes: Mapping[str, FileVersion | None], parents: list[str]) -> str:
        """The tree of ``on`` with ``changes`` (None deletes) as a commit; large files may be lacking."""
        index = {"GIT_INDEX_FILE": str(self.repo / "index-of-one")}
        _git(self.repo, "read-tree", on, env=index)
        lines = [
            f"{version.mode if version else '0'} {version.blob if version else '0' * 40}\t{path}"
            for path, version in changes.items()
        ]
        data = "\0".join([*lines, ""]).encode("utf-8", "surrogateescape")
        _git(self.repo, "update-index", "-z", "--index-info", env=index, stdin=data)
        tree = _git(self.repo, "write-tree", "--missing-ok", env=index)
        given = [word for parent in parents for word in ("-p", parent)]
        return _git(self.repo, "commit-tree", tree, "-m", "made", *given)

    def _text(self, blob: str) -> str:
        return git.read_blob(self.repo, blob).decode("utf-8", "surrogateescape")

    def _blob(self, text: str) -> str:
        return write_blob(self.repo, text.encode("utf-8", "surrogateescape"))

    def _merged(self, ours: str, theirs: str) -> tuple[str, list[str]]:
        done = subprocess.run(
            ["git", "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs],
            cwd=self.repo, capture_output=True, check=False,
        )  # fmt: skip
        tree, *paths = done.stdout.decode().rstrip("\0").split("\0")
        return tree, [path for path in dict.fromkeys(paths) if path]


def _other_name(name: str) -> str:
    """Another name with other words in it, always the same for one name."""
    return f"renamed_{name}" if len(name) % 2 else f"{name[0]}{len(name)}_called_anew"


def _functions(text: str) -> list[str]:
    return [name for name in map(_function, _PART.split(text)) if name]


def _function(part: str) -> str:
    """The name of the one function that the part of a file is; empty where it is more, or less.

    With a structure or a table before it, it would take that along from one side, and not from the merge.
    """
    names = _NAME.findall(part)
    if (
        len(names) != 1
        or len(_OPENED.findall(part)) != 1
        or re.search(r"^\s*#", part, re.MULTILINE)
        or part.count("{") != part.count("}")
    ):
        return ""
    return str(names[0])


def _is_c(path: str) -> bool:
    return PurePosixPath(path).suffix in (".c", ".cpp", ".h", ".cu", ".cuh", ".m", ".hpp")


def _is_whole(text: str) -> bool:
    """Whether what is opened is closed, and nothing is open where the next function begins."""
    braces = parens = 0
    for line in text.splitlines():
        if (
            line[:1] not in ("", " ", "\t", "}", "#", ")", "/", "*")
            and braces
            and line.rstrip().endswith("{")
        ):
            return False
        bare = re.sub(r"//.*|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])'", "", line)
        if braces == 1 and _ELSE.match(bare):
            return False  # what it would close is the function
        braces += bare.count("{") - bare.count("}")
        parens += bare.count("(") - bare.count(")")
        if braces < 0 or parens < 0 or (parens and re.match(r"\}|(?:static|template|void|int) ", bare)):
            return False
    return braces == parens == 0


def _git(folder: Path, *words: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> str:
    who = ["-c", "user.name=b", "-c", "user.email=b@b"]
    command = ["git", *who, *words]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, check=True, env=os.environ | dict(env or {}), input=stdin
    )
    return done.stdout.decode("utf-8", "surrogateescape").strip()
