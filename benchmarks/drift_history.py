"""A long history out of real releases, for the drift benchmark.

Releases lie on top of each other, with the way between each two: the hunks that separate them in the files
that edits go to, at least four a commit that has any (what one change of upstream comes to is not known
here; more a commit would make a row cheaper). Behind them, on ``tomorrow``, commits that move what edits
hold on to.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path
from typing import IO

from patcher.base.cache import cache_dir
from patcher.drift import paths_of
from patcher.engine.patchset import load
from patcher.source import fetch

RELEASES = ("3.9.0", "3.12.0", "3.14.0", "3.14.5", "3.16.2", "3.18.1", "3.20.0", "3.22.1")
HUNKS = 4  # of a commit that touches a file of ours, at least
# what upstream may do next: (subject, path, old, new); a new path where ``old`` is none
TOMORROW = (
    ("ggml : comment the traits", "ggml/src/ggml.c", b"static const struct ggml_type_traits",
     b"// one a type\nstatic const struct ggml_type_traits"),
    ("ggml : one table of traits for all backends", "ggml/src/ggml.c", b"type_traits[", b"ggml_traits["),
    ("ci : faster", "notes.txt", b"", b""),
    ("ggml-cpu : split ops.cpp", "ggml/src/ggml-cpu/ops.cpp", b"", b"ggml/src/ggml-cpu/ops/all.cpp"),
    ("readme : words", "notes.txt", b"", b""),
)  # fmt: skip


def git(repo: Path, *arguments: str, stdin: bytes | None = None) -> bytes:
    """Run git, return what it prints."""
    return subprocess.run(["git", *arguments], cwd=repo, input=stdin, capture_output=True, check=True).stdout


def content(repo: Path, commit: str, path: str) -> list[bytes] | None:
    """The lines of a file, None where there is none."""
    done = subprocess.run(
        ["git", "cat-file", "blob", f"{commit}:{path}"], cwd=repo, capture_output=True, check=False
    )
    return done.stdout.splitlines(keepends=True) if done.returncode == 0 else None


def steps(repo: Path, old: str, new: str, path: str) -> list[list[bytes]]:
    """The file after each hunk that leads from one release to the next."""
    lines = content(repo, old, path)
    target = content(repo, new, path)
    if lines is None or target is None:
        return []
    diff = git(repo, "diff", "-U0", "--no-color", old, new, "--", path).decode("utf-8", "replace")
    made, shift = [], 0
    for found in re.finditer(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", diff, re.MULTILINE):
        start, count, to, more = (int(value) if value is not None else 1 for value in found.groups())
        at = start - 1 if count else start
        goes = to - 1 if more else to
        lines = [*lines[: at + shift], *target[goes : goes + more], *lines[at + shift + count :]]
        shift += more - count
        made.append(lines)
    return made


class _Stream:
    """What ``git fast-import`` reads: a commit at a time, on one branch after the other."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.pipe = pipe
        self.total = 0

    def commit(self, branch: str, subject: str, changes: list[bytes], start: str = "") -> None:
        """One more on ``branch``; its first one comes behind ``start``."""
        self.total += 1
        date = 1_700_000_000 + self.total * 3600
        text = subject.encode()
        head = f"commit refs/heads/{branch}\ncommitter Bench <b@localhost> {date} +0000\ndata {len(text)}\n"
        origin = f"from refs/heads/{start}\n" if start else ""
        self.pipe.write(head.encode() + text + b"\n" + origin.encode() + b"".join(changes))


def _file(path: str, data: bytes) -> bytes:
    return b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data)


def make_history(repo: Path, count: int) -> tuple[int, int]:
    """``count`` commits on ``main`` behind its first, and ``tomorrow`` behind them.

    Returns how many there are, and how many of them touch a file that an edit goes to.
    """
    git(repo, "init", "-q", "--bare", ".")
    tips = []
    for number, package in enumerate(RELEASES):
        stock = fetch(f"npm:node-llama-cpp@{package}", cache_dir("benchmarks") / package).path
        git(repo, "fetch", "-q", "--depth=1", str(stock), f"HEAD:refs/releases/{number}")
        tips.append(git(repo, "rev-parse", f"refs/releases/{number}").decode().strip())
    trees = [git(repo, "rev-parse", f"{tip}^{{tree}}").strip() for tip in tips]
    paths = sorted(paths_of(load()))
    touching = 0
    with subprocess.Popen(["git", "fast-import", "--quiet"], cwd=repo, stdin=subprocess.PIPE) as importer:
        assert importer.stdin is not None
        stream = _Stream(importer.stdin)
        stream.commit("main", "release 0", [b'M 040000 %s ""\n' % trees[0]])
        gaps = len(tips) - 1
        for number, (old, new) in enumerate(itertools.pairwise(tips), 1):
            each = count // gaps + (number <= count % gaps)
            work = [(path, lines) for path in paths for lines in steps(repo, old, new, path)]
            bundles = max(1, min(each - 1, len(work) // HUNKS))
            for position in range(each - 1):
                # spread over the commits: those between two bundles touch nothing of ours
                first, behind = (bundles * at // (each - 1) for at in (position, position + 1))
                part = work[len(work) * first // bundles : len(work) * behind // bundles]
                changes = [_file(path, b"".join(lines)) for path, lines in dict(part).items()]
                touching += bool(changes)
                note = _file("notes.txt", str(stream.total).encode())
                stream.commit("main", f"step {position} towards release {number}", [*changes, note])
            stream.commit("main", f"release {number}", [b'M 040000 %s ""\n' % trees[number]])
            touching += 1
        total = stream.total - 1
        _add_tomorrow(repo, stream, tips[-1])
    if importer.returncode:
        raise subprocess.CalledProcessError(importer.returncode, "git fast-import")
    return total, touching


def _add_tomorrow(repo: Path, stream: _Stream, tip: str) -> None:
    """Commits behind ``main``: nine that touch nothing of interest before each of :data:`TOMORROW`."""
    files: dict[str, bytes] = {}
    start = "main"
    for subject, path, old, new in TOMORROW:
        for _ in range(9):
            stream.commit("tomorrow", "docs : words", [_file("notes.txt", str(stream.total).encode())], start)
            start = ""
        if path == "notes.txt":
            changes = [_file(path, subject.encode())]
        else:
            data = files.get(path) or b"".join(content(repo, tip, path) or [])
            if not data or old not in data:
                raise ValueError(f"{path}: looked for {old!r}, found none")
            files[path] = data.replace(old, new) if old else data
            moved = [b"D %s\n" % path.encode(), _file(new.decode(), data)]
            changes = [_file(path, files[path])] if old else moved
        stream.commit("tomorrow", subject, changes)
