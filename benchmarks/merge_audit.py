"""Merges of real releases, sound ones and ones with a loss seeded in: what merge-audit finds of it.

    python -m benchmarks.merge_audit --releases FOLDER [--merges 100] [--work FOLDER] [--page PAGE]

FOLDER has a checkout of each release, as ``q8a8-patch fetch`` makes it; two at least. Two kinds of merges are
made between neighbours, by git itself: the newer release into the older one with the type applied; and the
older one with half of the newer's hunks into it with the other half, drawn at random, where that is clean.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from patcher import git
from patcher.base.files import write_wanted
from patcher.engine import transaction
from patcher.engine.patchset import load
from patcher.git.changes import FileVersion, changed, write_blob, write_commit
from patcher.merge_audit import Finding, Merge, audit_commit

_NEW_FILES = {
    "GIT_AUTHOR_NAME": "b",
    "GIT_AUTHOR_EMAIL": "b@b",
    "GIT_COMMITTER_NAME": "b",
    "GIT_COMMITTER_EMAIL": "b@b",
}
_CASE = re.compile(r"\s*case [\w:]+:\s*(?://.*)?$")
_ENUMERATOR = re.compile(r"\s*[A-Z][A-Z0-9_]{5,}(?:\s*=\s*\w+)?,\s*(?://.*)?$")
_ROW = re.compile(r"\s*(?:\{.*[\w\"].*\},|\[\w+\]\s*=\s*.+,)\s*(?://.*)?$")
_DECLARATION = re.compile(r"(?:GGML_API|LLAMA_API|static|void|int|bool|size_t|float|struct)\b[^=]*\)\s*;\s*$")
_SOURCE = re.compile(r"\s*[\w${}./-]+\.(?:c|cpp|h|cu|m)\s*$")
_INCLUDE = re.compile(r"\s*#\s*include\s+[<\"]")
_PYTHON = re.compile(r"\s+[A-Z][A-Z0-9_]+\s*(?:=\s*(?:\d+|auto\(\))|:\s*\".*\",?)\s*$")


def _is_c(path: PurePosixPath) -> bool:
    return path.suffix in (".c", ".cpp", ".h", ".cu", ".cuh", ".m", ".hpp")


def _is_header(path: PurePosixPath) -> bool:
    return path.suffix in (".h", ".hpp", ".cuh")


# what is seeded -> how, which lines are meant, in which files
KINDS: dict[str, tuple[str, re.Pattern[str], Callable[[PurePosixPath], bool]]] = {
    "a case": ("drop", _CASE, _is_c),
    "an enumerator": ("drop", _ENUMERATOR, _is_header),
    "a row of a table": ("drop", _ROW, _is_c),
    "a declaration": ("drop", _DECLARATION, _is_header),
    "an include": ("drop", _INCLUDE, _is_c),
    "a source of CMake": ("drop", _SOURCE, lambda path: path.name == "CMakeLists.txt"),
    "an enumerator of Python": ("drop", _PYTHON, lambda path: path.suffix == ".py"),
    "half of a conflict": ("hunk", re.compile(""), lambda _: True),
    "a case twice": ("twice", _CASE, _is_c),
    "an enumerator twice": ("twice", _ENUMERATOR, _is_header),
    "a case in another switch": ("move", _CASE, _is_c),
}


Hunk = tuple[int, int, int, int]  # lines of the old file, from and to; of the new one
Seed = tuple[str, str, str]  # kind, file, the lines that it is about
JUDGED = Path(__file__).with_name("merge_audit_judged.md")  # merges of forks, looked at by hand
ROWS = {
    "type": "a release into the one before with the type applied; where git stops, as the type's plan says",
    "halves": "two halves of the hunks between two releases, merged by git without a conflict",
}
FILES = 30  # that a merge of halves is made of


@dataclass(frozen=True)
class Made:
    """A merge: its commit, and what it is called."""

    name: str
    kind: str
    base: str
    ours: str
    theirs: str
    merged: str


class Bench:
    """One repository with all releases as commits, and merges between them."""

    def __init__(self, folder: Path, releases: Sequence[Path]) -> None:
        self.repo = folder / "repo"
        self._hunks: dict[tuple[str, str], dict[str, list[Hunk]]] = {}
        if not self.repo.is_dir():
            _git(folder, "init", "-q", "--bare", str(self.repo))
        self.releases = [(place.name, *self._commits(place, folder)) for place in releases]

    def _commits(self, place: Path, folder: Path) -> tuple[str, str]:
        """The release as a commit, and that with the type; an earlier run may have made them."""
        stock = git.resolve(place, "HEAD")
        for line in _git(self.repo, "for-each-ref", "--format=%(objectname) %(parent)").splitlines():
            if line.endswith(f" {stock}"):
                return stock, line.split()[0]
        self._fetched(place)
        copy = folder / "patched"
        shutil.copytree(place, copy, symlinks=True)
        transaction.apply(transaction.tree_at(copy), load())
        _git(copy, "add", "-A", "-f")
        _git(copy, "commit", "-q", "-m", "the type")
        patched = self._fetched(copy)
        shutil.rmtree(copy)
        return stock, patched

    def _fetched(self, place: Path) -> str:
        commit = git.resolve(place, "HEAD")
        _git(self.repo, "fetch", "-q", "--no-tags", str(place), f"HEAD:refs/heads/{commit}")
        return commit

    def with_type(self) -> Iterator[Made]:
        """The newer release merged into the older with the type; where git stops, as the type's plan says."""
        for (old, base, ours), (new, newer, planned) in zip(self.releases, self.releases[1:], strict=False):
            theirs = write_commit(self.repo, on=newer, changes={}, message=b"newer", parents=[base])
            tree, conflicts = self._merged(ours, theirs)
            there = git.entries(self.repo, planned)
            changes = {path: FileVersion(*there[path]) if path in there else None for path in conflicts}
            merged = self._commit(tree, ours, theirs, changes)
            yield Made(
                f"{new} into {old} with the type ({len(conflicts)} settled)",
                "type",
                base,
                ours,
                theirs,
                merged,
            )

    def halves(self, number: int, chance: random.Random) -> Iterator[Made]:
        """Random halves of the hunks between neighbours, merged by git without a conflict."""
        pairs = list(zip(self.releases, self.releases[1:], strict=False))
        tried = 0
        while number and tried < 20 * number:
            (old, base, _), (new, theirs, _) = pairs[tried % len(pairs)]
            tried += 1
            sides = self._split(base, theirs, chance)
            ours, newer = (
                write_commit(self.repo, on=base, changes=side, message=b"half", parents=[base])
                for side in sides
            )
            tree, conflicts = self._merged(ours, newer)
            if conflicts:
                continue
            number -= 1
            merged = self._commit(tree, ours, newer, {})
            yield Made(f"{old}..{new}, halves {tried}", "halves", base, ours, newer, merged)

    def hunks(self, old: str, new: str) -> dict[str, list[Hunk]]:
        """Path -> what the commit ``new`` changed in it, of text files that both have."""
        if (old, new) not in self._hunks:
            text = _git(self.repo, "diff", "-U0", "--no-renames", "--no-color", "--diff-filter=M", old, new)
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

    def lines(self, commit: str, path: str) -> list[str]:
        """The file's lines, each with its end."""
        data = git.read_file(self.repo, commit, path) or b""
        return data.decode("utf-8", "surrogateescape").splitlines(keepends=True)

    def _split(self, base: str, other: str, chance: random.Random) -> list[dict[str, FileVersion | None]]:
        """A random part of the files between two releases: of most, each side has its own hunks."""
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
                    data = text.encode("utf-8", "surrogateescape")
                    sides[number][path] = FileVersion(after.mode, write_blob(self.repo, data))
        return sides

    def _merged(self, ours: str, theirs: str) -> tuple[str, list[str]]:
        done = subprocess.run(
            ["git", "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs],
            cwd=self.repo, capture_output=True, check=False,
        )  # fmt: skip
        tree, *paths = done.stdout.decode().rstrip("\0").split("\0")
        return tree, [path for path in dict.fromkeys(paths) if path]

    def _commit(self, tree: str, ours: str, theirs: str, changes: dict[str, FileVersion | None]) -> str:
        plain = _git(self.repo, "commit-tree", tree, "-m", "merged", "-p", ours, "-p", theirs)
        if not changes:
            return plain
        return write_commit(self.repo, on=plain, changes=changes, message=b"merged", parents=[ours, theirs])

    def seeded(self, made: Made, wanted: Sequence[str], chance: random.Random) -> tuple[str, list[Seed]]:
        """A commit of ``made`` with a loss of each of the kinds ``wanted``, one a file."""
        sides = [changed(self.repo, made.base, side) for side in (made.ours, made.theirs)]
        paths = sorted({path for side in sides for path, (before, after) in side.items() if before and after})
        merged = git.entries(self.repo, made.merged)
        changes: dict[str, FileVersion | None] = {}
        seeds = []
        for kind in wanted:
            how, pattern, is_for = KINDS[kind]
            chance.shuffle(paths)
            for path in paths:
                pure = PurePosixPath(path)
                readable = _is_c(pure) or pure.suffix == ".py" or pure.name == "CMakeLists.txt"
                if path in changes or path not in merged or not readable:
                    continue
                lines = self.lines(made.merged, path)
                fit = [number for number, line in enumerate(lines) if is_for(pure) and pattern.match(line)]
                done = (
                    self._hunk(made, path, lines, chance) if how == "hunk" else _line(lines, how, fit, chance)
                )
                if done is not None:
                    data = "".join(done[0]).encode("utf-8", "surrogateescape")
                    changes[path] = FileVersion(merged[path][0], write_blob(self.repo, data))
                    seeds.append((kind, path, done[1]))
                    break
        parents = [made.ours, made.theirs]
        return write_commit(
            self.repo, on=made.merged, changes=changes, message=b"seeded", parents=parents
        ), seeds

    def _hunk(
        self, made: Made, path: str, lines: list[str], chance: random.Random
    ) -> tuple[list[str], str] | None:
        """One hunk of a side taken out of the merge: what it added goes, what it replaced comes back."""
        side = chance.choice((made.ours, made.theirs))
        hunks = [one for one in self.hunks(made.base, side).get(path, ()) if one[3] > one[2]]
        old, new = self.lines(made.base, path), self.lines(side, path)
        chance.shuffle(hunks)
        for first, last, start, end in hunks:
            block, was = new[start:end], old[first:last]
            told = [line for line in block if re.search(r"\w", re.sub(r"\s*(?://|#|\*|/\*).*", "", line))]
            at = next((n for n in range(len(lines)) if lines[n : n + len(block)] == block), None)
            if at is None or not told or len(block) > 40 or set(map(_bare, told)) <= set(map(_bare, was)):
                continue
            return [*lines[:at], *was, *lines[at + len(block) :]], "".join([*told, *was])
        return None


def _line(lines: list[str], how: str, fit: list[int], chance: random.Random) -> tuple[list[str], str] | None:
    if not fit:
        return None
    at = chance.choice(fit)
    line = lines[at]
    if how == "drop":
        return [*lines[:at], *lines[at + 1 :]], line
    if how == "twice":
        return [*lines[: at + 1], line, *lines[at + 1 :]], line
    switches = [n for n, one in enumerate(lines) if re.match(r"\s*switch \(.*\{\s*$", one)]
    mine = max((n for n in switches if n < at), default=None)
    others = [
        n for n in switches if n != mine and line.strip() not in {x.strip() for x in lines[n : n + 200]}
    ]
    if mine is None or not others:
        return None
    to = chance.choice(others)
    moved = [one for n, one in enumerate(lines) if n != at]
    to -= to > at
    return [*moved[: to + 1], line, *moved[to + 1 :]], line


def _bare(line: str) -> str:
    """The line without its comment and the white space in it."""
    return re.sub(r"//.*|/\*.*?\*/|\s+", "", line)


def _is_whole(text: str) -> bool:
    """Whether all braces are closed, and none is open where the next function begins."""
    depth = 0
    for line in text.splitlines():
        if line[:1] not in ("", " ", "\t", "}", "#", ")", "/", "*") and depth and line.rstrip().endswith("{"):
            return False
        depth += line.count("{") - line.count("}")
    return depth == 0


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, check=True, env=_environment())
    return done.stdout.decode().strip()


def _environment() -> dict[str, str]:
    import os

    return os.environ | _NEW_FILES


def is_about(found: Finding, path: str, about: str) -> bool:
    """Whether ``found`` names what was seeded: in its file, with its words."""
    if found.file != path or found.severity == "note":
        return False
    squeezed = re.sub(r"\s+", "", about)
    words = set(re.findall(r"\w+", about))
    return re.sub(r"\s+", "", found.text) in squeezed or len(words & set(re.findall(r"\w+", found.text))) >= 1


INTRO = """\
# Merges audited

What [`merge-audit`](how-to/audit-a-merge.md) finds of losses that were seeded into merges of real releases,
and what it says against merges in which nothing was lost. Made by

```sh
python -m benchmarks.merge_audit --releases RELEASES --page docs/merge-audit.md
```
"""


def page(rows: list[tuple[str, int, int]], clean: dict[str, list[Merge]], names: Sequence[str]) -> str:
    """The generated page."""
    seeded, found = sum(row[1] for row in rows), sum(row[2] for row in rows)
    loud = {kind: sum(bool(_loud(one)) for one in clean[kind]) for kind in clean}
    total, alarms = sum(map(len, clean.values())), sum(loud.values())
    lines = [
        INTRO,
        f"**{found} of {seeded} seeded losses found ({100 * found / max(1, seeded):.1f} %)**: by a",
        "warning or an error in its file, which names what was seeded, and which isn't there without it.",
        "Rules were made while looking at merges of these releases: other trees may show a smaller share.",
        "",
        "| seeded | merges | found |",
        "|---|---|---|",
        *(f"| {kind} | {number} | {hits} |" for kind, number, hits in rows),
        "",
        f"**{alarms} of {total} merges in which nothing was lost have a warning or an error "
        f"({100 * alarms / max(1, total):.1f} %).**",
        "",
        "| merges | number | with a warning or an error |",
        "|---|---|---|",
        *(f"| {ROWS[kind]} | {len(merges)} | {loud[kind]} |" for kind, merges in clean.items()),
        "",
        f"Releases: {', '.join(names)} of node-llama-cpp. A merge of halves takes {FILES} files at random,",
        "and gives each side the hunks that a coin says, as long as each half closes what it opens.",
    ]
    return "\n".join(lines) + "\n" + JUDGED.read_text(encoding="utf-8")


def _loud(merge: Merge) -> list[Finding]:
    return [one for one in merge.findings if one.severity != "note"]


def _judge(
    bench: Bench,
    made: Made,
    chance: random.Random,
    clean: dict[str, list[Merge]],
    hits: Counter[str],
    tried: Counter[str],
) -> None:
    """Audit ``made`` as it is, and with a loss of each kind; both go into the counts."""
    merge = audit_commit(bench.repo, made.merged)
    clean[made.kind].append(merge)
    for one in _loud(merge):
        print(f"FALSE {made.name} {made.merged}: {one.rule} {one.file}: {one.message}"[:400])
    commit, seeds = bench.seeded(made, sorted(KINDS, key=lambda kind: tried[kind]), chance)
    known = {(one.rule, one.file, one.text, one.owner) for one in merge.findings}
    audited = audit_commit(bench.repo, commit).findings
    new = [one for one in audited if (one.rule, one.file, one.text, one.owner) not in known]
    for kind, path, about in seeds:
        tried[kind] += 1
        if any(is_about(one, path, about) for one in new):
            hits[kind] += 1
            continue
        there = [(one.rule, one.text[:60]) for one in new if one.file == path][:4]
        print(f"MISSED {kind} in {path} of {made.name} {commit}: {about.strip()[:300]!r}; found {there}")
    print(f"{made.name}: {merge.changed} files, {merge.read} read, {merge.seconds:.1f} s;", end=" ")
    print(f"{sum(hits.values())} of {sum(tried.values())} found")
    sys.stdout.flush()


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--releases", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="keep the repository here, for the next run")
    parser.add_argument("--merges", type=int, default=100, help="of halves of hunks")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no merge after that time")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--page", type=Path, help="write the page here")
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)  # noqa: S311 - the same merges every time
    places = sorted(
        (one for one in chosen.releases.iterdir() if one.is_dir()),
        key=lambda one: [int(n) for n in re.findall(r"\d+", one.name)],
    )
    clean: dict[str, list[Merge]] = defaultdict(list)
    hits, tried = Counter[str](), Counter[str]()
    end = time.monotonic() + 60 * chosen.minutes
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(chosen.work or Path(name), places)
        for made in itertools.chain(bench.halves(chosen.merges, chance), bench.with_type()):
            _judge(bench, made, chance, clean, hits, tried)
            if time.monotonic() > end:
                break
    rows = [(kind, tried[kind], hits[kind]) for kind in KINDS]
    print(page(rows, clean, [place.name for place in places]))
    if chosen.page:
        write_wanted(chosen.page, page(rows, clean, [place.name for place in places]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
