"""Merges made of upstream's history, sound ones and ones with a loss seeded in: what merge-audit finds.

    python -m benchmarks.merge_audit --repo CLONE [--tags looked-at] [--merges 100] [--page PAGE]

CLONE has llama.cpp's history and tags; it is read, and nothing is written into it. The rules of merge-audit
were made while looking at merges between the tags ``looked-at``; those between the tags ``held-out`` are for
judging, and lie years apart.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from benchmarks.merge_losses import KINDS, is_about, seeded
from benchmarks.merges_made import COMMITS, FILES, SHAPES, Bench, Made
from patcher.base.files import write_wanted
from patcher.merge_audit import Finding, Merge, audit_commit

TAGS = {
    "looked-at": "b4980 b5590 b6122 b6673 b7347 b8121 b8390",
    "held-out": "b1632 b1950 b2253 b2534 b2892 b3219 b3524 b3799 b4094 b4414 b4727",
}
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


class Score:
    """What was tried, and what was found of it."""

    def __init__(self, bench: Bench, chance: random.Random) -> None:
        self.bench, self.chance = bench, chance
        self.clean: dict[str, list[Merge]] = defaultdict(list)
        self.hits, self.tried = Counter[str](), Counter[str]()

    def judge(self, made: Made) -> None:
        """Audit ``made`` as it is, and with a loss of each kind; both count."""
        merge = audit_commit(self.bench.repo, made.merged)
        self.clean[made.shape].append(merge)
        for one in loud(merge):
            print(f"FALSE {made.name} {made.merged}: {one.rule} {one.file}:{one.line}: {one.message}"[:500])
        wanted = sorted(KINDS, key=lambda kind: self.tried[kind])
        commit, seeds = seeded(self.bench, made, wanted, self.chance)
        known = {(one.rule, one.file, one.text, one.owner) for one in merge.findings}
        audited = audit_commit(self.bench.repo, commit).findings
        new = [one for one in audited if (one.rule, one.file, one.text, one.owner) not in known]
        for seed in seeds:
            self.tried[seed.kind] += 1
            if any(is_about(one, seed) for one in new):
                self.hits[seed.kind] += 1
                continue
            there = [(one.rule, one.text[:60]) for one in new if one.file == seed.path][:4]
            what = f"{seed.kind} in {seed.path} of {made.name} {commit}"
            print(f"MISSED {what}: {seed.about.strip()[:300]!r}; {there}")
        print(f"{made.name}: {merge.changed} files, {merge.read} read, {merge.seconds:.1f} s;", end=" ")
        print(f"{self.hits.total()} of {self.tried.total()} found", flush=True)

    def page(self, tags: str, seed: int) -> str:
        """The generated page."""
        total, alarms = (
            sum(map(len, self.clean.values())),
            sum(bool(loud(one)) for merges in self.clean.values() for one in merges),
        )
        found, tried = self.hits.total(), self.tried.total()
        lines = [
            INTRO.format(tags=tags, seed=seed, merges=total),
            f"**{found} of {tried} seeded losses found ({100 * found / max(1, tried):.1f} %)**: by a",
            "warning or an error in its file, which names what was seeded, and which isn't there without it.",
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
            *(
                f"| {SHAPES[shape]} | {len(merges)} | {sum(bool(loud(one)) for one in merges)} |"
                for shape, merges in self.clean.items()
            ),
            "",
            f"Between the neighbours of these tags of llama.cpp: {TAGS[tags].replace(' ', ', ')}. The rules",
            f"were made while looking at merges between others: {TAGS['looked-at'].replace(' ', ', ')}.",
            f"A merge of halves takes {FILES} files at random, and gives each side the hunks that a coin",
            f"says, as long as each half closes what it opens; one of commits takes {COMMITS} in a row, and",
            "leaves out those that don't fit onto their branch. All are merged by git without a conflict.",
        ]
        return "\n".join(lines) + "\n" + JUDGED.read_text(encoding="utf-8")


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--repo", type=Path, required=True, help="a clone of llama.cpp with its tags")
    parser.add_argument("--tags", choices=list(TAGS), default="looked-at")
    parser.add_argument("--merges", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no merge after that time")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--page", type=Path, help="write the page here")
    parser.add_argument("--keep", type=Path, help="leave the repository of the merges in this folder")
    chosen = parser.parse_args()
    chance = random.Random(chosen.seed)  # noqa: S311 - the same merges every time
    row = TAGS[chosen.tags].split()
    end = time.monotonic() + 60 * chosen.minutes
    with tempfile.TemporaryDirectory() as name:
        score = Score(Bench(chosen.keep or Path(name), chosen.repo), chance)
        for made in score.bench.merges(list(itertools.pairwise(row)), chosen.merges, chance):
            score.judge(made)
            if time.monotonic() > end:
                break
    print(score.page(chosen.tags, chosen.seed))
    if chosen.page:
        write_wanted(chosen.page, score.page(chosen.tags, chosen.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
