"""Merges made of upstream's history, sound ones and ones with a loss seeded in: what merge-audit finds.

    python -m benchmarks.merge_audit --repo CLONE [--tags looked-at] [--merges 100] [--page PAGE]

CLONE has llama.cpp's history and tags; it is read, and nothing is written into it. The rules of merge-audit
were made while looking at merges between the tags ``looked-at``; those between the tags ``held-out`` are for
judging, and lie years apart.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.merge_losses import KINDS, is_about, seeded
from benchmarks.merges_made import COMMITS, FILES, SHAPES, Bench, Made
from patcher.base.errors import UsageError
from patcher.base.files import write_wanted
from patcher.merge_audit import Finding, Merge, audit_commit

TAGS = {
    "looked-at": "b4980 b5590 b6122 b6673 b7347 b8121 b8390",
    "held-out": "b1632 b1950 b2253 b2534 b2892 b3219 b3524 b3799 b4094 b4414 b4727",
}
NOTE = {
    "looked-at": [],
    "held-out": [
        "",
        "Merges of five other seeds of these tags were looked at before. Five sorts of false alarm in them",
        "were mended after that (rows that two calls are given, a moved function that grew, cases outside of",
        "a switch, a message that names a renamed function, conditions that one side put around lines of a",
        "function that the other moved), and two faults of the merges themselves: halves that went on after",
        "their function's end, and structures that one side moved and the merge did not.",
    ],
}
SEEDED = 4  # every how many-th merge is audited again with losses
JUDGED = Path(__file__).with_name("merge_audit_judged.md")  # merges of forks, looked at by hand

INTRO = """\
# Merges audited

What [`merge-audit`](how-to/audit-a-merge.md) finds of losses that were seeded into merges made of upstream's
history, and what it says against merges in which nothing was lost. Made by

```sh
python -m benchmarks.merge_audit --repo CLONE --tags {tags} --seed {seed} --merges {merges} \\
    --page docs/merge-audit.md
```
"""


def loud(merge: Merge) -> list[Finding]:
    """The alarms of a merge: its errors and warnings."""
    return [one for one in merge.findings if one.severity != "note"]


@dataclass
class Judged:
    """One merge: what is said of it as it is, and which of the losses seeded into it are found."""

    shape: str
    is_loud: bool
    tried: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)


def judge(task: tuple[int, int, str, Path]) -> Judged | None:
    """Make the merge of that number, audit it, and every fourth one again with losses; for a pool."""
    number, seed, tags, clone = task
    chance = random.Random(f"{seed} {number}")  # noqa: S311 - the same merges every time
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), clone)
        try:
            made = bench.merge(list(itertools.pairwise(TAGS[tags].split())), number, chance)
        except (UsageError, subprocess.CalledProcessError) as why:
            print(f"{number} can't be made of this clone, which may lack large files: {why}"[:300])
            return None
        if made is None:
            return None
        merge = audit_commit(bench.repo, made.merged)
        one = Judged(made.shape, bool(loud(merge)))
        for found in loud(merge):
            one.said.append(f"FALSE {found.rule} {found.file}:{found.line}: {found.message}"[:500])
        if number % SEEDED == 0:
            _seed(bench, made, merge, chance, one)
    one.said.append(f"{number} {made.name}: {merge.changed} files, {merge.read} read, {merge.seconds:.1f} s")
    return one


def _seed(bench: Bench, made: Made, merge: Merge, chance: random.Random, one: Judged) -> None:
    commit, seeds = seeded(bench, made, chance.sample(list(KINDS), len(KINDS)), chance)
    known = {(found.rule, found.file, found.text, found.owner) for found in merge.findings}
    audited = audit_commit(bench.repo, commit).findings
    new = [found for found in audited if (found.rule, found.file, found.text, found.owner) not in known]
    for seed in seeds:
        one.tried[seed.kind] += 1
        if any(is_about(found, seed) for found in new):
            one.hits[seed.kind] += 1
            continue
        there = [(found.rule, found.text[:60]) for found in new if found.file == seed.path][:4]
        one.said.append(f"MISSED {seed.kind} in {seed.path}: {seed.about.strip()[:300]!r}; {there}")


class Score:
    """What was tried, and what was found of it."""

    def __init__(self) -> None:
        self.clean, self.loud = Counter[str](), Counter[str]()
        self.hits, self.tried = Counter[str](), Counter[str]()

    def add(self, one: Judged) -> None:
        """Count a merge."""
        self.clean[one.shape] += 1
        self.loud[one.shape] += one.is_loud
        self.hits += one.hits
        self.tried += one.tried

    def page(self, tags: str, seed: int) -> str:
        """The generated page."""
        total, alarms = self.clean.total(), self.loud.total()
        found, tried = self.hits.total(), self.tried.total()
        lines = [
            INTRO.format(tags=tags, seed=seed, merges=total),
            f"**{found} of {tried} seeded losses found ({100 * found / max(1, tried):.1f} %)**: by a",
            "warning or an error in its file, which names what was seeded, and which isn't there without it.",
            f"Every {SEEDED}th merge was seeded, with one loss of each kind for which it has a place.",
            "",
            "| seeded | merges | found |",
            "|---|---|---|",
            *(f"| {kind} | {self.tried[kind]} | {self.hits[kind]} |" for kind in KINDS),
            "",
            f"**{alarms} of {total} merges in which nothing was lost have a warning or an error "
            f"({100 * alarms / max(1, total):.1f} %).**",
            "",
            "| merges | number | with a warning or an error |",
            "|---|---|---|",
            *(f"| {SHAPES[shape]} | {number} | {self.loud[shape]} |" for shape, number in self.clean.items()),
            "",
            f"Between the neighbours of these tags of llama.cpp: {TAGS[tags].replace(' ', ', ')}. The rules",
            f"were made while looking at merges between others: {TAGS['looked-at'].replace(' ', ', ')}.",
            f"A merge of halves takes {FILES} files at random, and gives each side the hunks that a coin",
            f"says, as long as each half closes what it opens; one of commits takes {COMMITS} in a row, and",
            "leaves out those that don't fit onto their branch. All are merged by git without a conflict.",
            *NOTE[tags],
        ]
        return "\n".join(lines) + "\n" + JUDGED.read_text(encoding="utf-8")


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--repo", type=Path, required=True, help="a clone of llama.cpp with its tags")
    parser.add_argument("--tags", choices=list(TAGS), default="looked-at")
    parser.add_argument("--merges", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=1e9, help="count no merge that ends after that time")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time; the merges stay the same")
    parser.add_argument("--page", type=Path, help="write the page here")
    chosen = parser.parse_args()
    tasks = [(number, chosen.seed, chosen.tags, chosen.repo) for number in range(chosen.merges)]
    end = time.monotonic() + 60 * chosen.minutes
    score = Score()
    # not multiprocessing's own pool: its processes may have no children, and an audit has
    with ProcessPoolExecutor(chosen.jobs, multiprocessing.get_context("spawn")) as pool:
        for one in pool.map(judge, tasks):
            if time.monotonic() > end:
                break
            if one is not None:
                score.add(one)
                print("\n".join(one.said), f"{score.hits.total()} of {score.tried.total()} found", flush=True)
        pool.shutdown(cancel_futures=True)
    text = score.page(chosen.tags, chosen.seed)
    print(text)
    if chosen.page:
        write_wanted(chosen.page, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
