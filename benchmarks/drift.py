"""How fast ``q8a8-patch drift`` judges a long row of commits, as a whole process, from an empty store.

    python -m benchmarks.drift [--commits 1000] [--keep DIR]

The history is made of real releases, one on top of the other, and of the way between each two: the hunks
that separate them in the files that edits go to, a few a commit. That is denser than upstream, where most
commits touch none of these files; the share that does is printed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from patcher.cache import cache_dir
from patcher.drift import paths_of
from patcher.patchset import load
from patcher.source import fetch

RELEASES = ("3.9.0", "3.12.0", "3.14.0", "3.14.5", "3.16.2", "3.18.1", "3.20.0", "3.22.1")
LIMIT = 60.0  # seconds for 1,000 commits on two cores


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


def make_history(repo: Path, count: int) -> tuple[int, int]:
    """Commits on ``main``: how many, and how many of them touch a file of interest."""
    git(repo, "init", "-q", "--bare", ".")
    tips = []
    for number, package in enumerate(RELEASES):
        stock = fetch(f"npm:node-llama-cpp@{package}", cache_dir("benchmarks") / package).path
        git(repo, "fetch", "-q", "--depth=1", str(stock), f"HEAD:refs/releases/{number}")
        tips.append(git(repo, "rev-parse", f"refs/releases/{number}").decode().strip())
    paths = sorted(paths_of(load()))
    stream: list[bytes] = []
    total = touching = 0

    def commit(message: str, changes: list[bytes]) -> None:
        nonlocal total
        total += 1
        date = 1_700_000_000 + total * 3600
        text = message.encode()
        stream.append(
            b"commit refs/heads/main\ncommitter Bench <b@localhost> %d +0000\ndata %d\n%s\n"
            % (date, len(text), text)
        )
        stream.extend(changes)

    def tree(tip: str) -> bytes:
        return b'M 040000 %s ""\n' % git(repo, "rev-parse", f"{tip}^{{tree}}").strip()

    commit("release 0", [tree(tips[0])])
    each = count // (len(tips) - 1)
    for number, (old, new) in enumerate(itertools.pairwise(tips), 1):
        work = [(path, lines) for path in paths for lines in steps(repo, old, new, path)]
        for position in range(each - 1):
            part = work[len(work) * position // (each - 1) : len(work) * (position + 1) // (each - 1)]
            changes = []
            for path, lines in dict(part).items():
                data = b"".join(lines)
                changes.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data))
            touching += bool(changes)
            changes.append(
                b"M 100644 inline notes.txt\ndata %d\n%s\n" % (len(str(total)), str(total).encode())
            )
            commit(f"step {position} towards release {number}", changes)
        commit(f"release {number}", [tree(new)])
        touching += 1
    git(repo, "fast-import", "--quiet", stdin=b"".join(stream))
    return total, touching


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="Make the history here, or use the one that is there.")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        repo = chosen.keep or Path(scratch) / "history.git"
        if not repo.exists():
            repo.mkdir(parents=True)
            total, touching = make_history(repo, chosen.commits)
            print(f"{total} commits, {touching} touch a file that an edit goes to")
        store = Path(scratch) / "cache"
        environment = os.environ | {"Q8A8_PATCH_CACHE": str(store)}
        command = [sys.executable, "-m", "patcher", "drift", str(repo), "--refs", "main", "--json"]
        command[-2] = f"{git(repo, 'rev-list', '--max-parents=0', 'main').decode().strip()}..main"
        for name in ("from an empty store", "again"):
            start = time.perf_counter()
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - start
            document = json.loads(done.stdout)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(
                f"{name}: {len(document['revisions'])} revisions, {document['judged']} distinct files,"
                f" {seconds:.1f} s, largest process {peak:.0f} MB"
            )
            if name.startswith("from"):
                first = seconds * 1000 / len(document["revisions"])
    print(f"{first:.1f} s for 1,000 revisions, {'within' if first < LIMIT else 'OVER'} {LIMIT:.0f} s")
    return 0 if first < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
