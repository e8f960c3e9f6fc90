"""How fast ``q8a8-patch drift`` judges a long row of commits, as a whole process, from an empty store.

    python -m benchmarks.drift [--commits 1000] [--keep DIR] [--page docs/drift.md]

The history is :mod:`benchmarks.drift_history`'s. ``--keep`` holds histories and results: one size can be
measured after the other, and the page is made of all that were. Exit code 1 where 1,000 commits take more
than a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.drift_history import HUNKS, TOMORROW, git, make_history
from patcher.base.machine import processors

LIMIT = 60.0  # seconds for 1,000 commits on two cores
PICTURE = "pictures/drift.svg"


@dataclass(frozen=True)
class Run:
    """One size. Seconds are of the clock and of all processors; memory is the largest process's."""

    commits: int
    touching: int
    judged: int
    seconds: float
    processor_seconds: float
    again_seconds: float
    megabytes: float


def drift(repo: Path, store: Path, *options: str) -> tuple[str, float, float, float]:
    """Run it: what it prints, seconds, processor seconds, megabytes of the largest process."""
    environment = os.environ | {"Q8A8_PATCH_CACHE": str(store)}
    command = [sys.executable, "-m", "patcher", "drift", str(repo), *options]
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        child = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode not in (0, 1):
            raise subprocess.CalledProcessError(child.returncode, command)
        out.seek(0)
        said = out.read().decode()
    return said, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure(repo: Path, commits: int, touching: int) -> Run:
    """All of ``main``, from an empty store and once more."""
    root = git(repo, "rev-list", "--max-parents=0", "main").decode().strip()
    options = ("--refs", f"{root}..main", "--json")
    with tempfile.TemporaryDirectory() as store:
        said, seconds, processor_seconds, megabytes = drift(repo, Path(store), *options)
        _, again, _, _ = drift(repo, Path(store), *options)
    document = json.loads(said)
    assert len(document["revisions"]) == commits, "every commit was judged"
    assert document["first_bad"] is None, "every release applies"
    return Run(commits, touching, document["judged"], seconds, processor_seconds, again, megabytes)


def example(repo: Path, picture: Path) -> str:
    """What ``--bisect`` says of what upstream may do next; the same row is drawn into ``picture``."""
    with tempfile.TemporaryDirectory() as store:
        drift(repo, Path(store), "--refs", "main~150..tomorrow", "--picture", str(picture))
        said, _, _, _ = drift(repo, Path(store), "--refs", "main~150..tomorrow", "--bisect")
    assert all(subject in said for subject in (TOMORROW[1][0], TOMORROW[3][0])), said
    return said.replace(str(repo), "llama.cpp.git")


def page(runs: list[Run], said: str) -> str:
    """The generated page."""
    rows = "\n".join(
        f"| {run.commits:,} | {run.touching:,} | {run.judged:,} | {run.seconds:.1f} s |"
        f" {run.processor_seconds:.1f} s | {run.seconds * 1000 / run.commits:.0f} ms |"
        f" {run.again_seconds:.1f} s | {run.megabytes:.0f} MB |"
        for run in runs
    )
    return f"""# Drift

`q8a8-patch drift` plans the type on every commit of a repository, out of git's objects: nothing is checked
out. A file's content that many commits share is judged once, in parallel, and kept; an interrupted run goes
on.

```sh
q8a8-patch drift ./llama.cpp --refs b8390..HEAD --bisect
```

## Speed

As a whole process, from an empty store, {processors()} processors:

| commits | touch our files | contents | time | processor time | a commit | once more | largest process |
|---|---|---|---|---|---|---|---|
{rows}

```sh
for n in {" ".join(str(run.commits) for run in runs)}; do
    python -m benchmarks.drift --commits $n --keep histories
done
python -m benchmarks.drift --keep histories --page docs/drift.md
```

"contents" are the distinct ones that were judged. The history is generated: eight real releases, May 2025 to
September 2026, and between each two the hunks that separate them in the files that edits go to, spread over
the commits, at least {HUNKS} to each that has any. The more commits there are between two releases, the fewer
contents are new in each and the less it costs: what doesn't touch a file of ours costs what git takes to list
it. A thousand commits that each touch one are the worst case; upstream made about 5,800 between the first and
the last of these releases.

## Since when, and why

Fifty commits more, of what upstream may do next, on top of the newest release:

![Edits over revisions]({PICTURE})

Dates are made up. Short red bars in the middle are half-way states of a file that changes hunk by hunk, which
upstream's own history doesn't have.

`--picture` draws it; `--bisect` judges only what it takes to name the first commit that breaks each edit,
with the hunk that took the anchor away:

```text
{said.rstrip()}
```
"""


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--commits", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="Make histories here, or use those that are there.")
    parser.add_argument("--page", type=Path, help="Measure nothing; write the page of what was.")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        keep = chosen.keep or Path(scratch)
        if chosen.page:
            runs = [Run(**json.loads(path.read_text(encoding="utf-8"))) for path in keep.glob("*.json")]
            runs.sort(key=lambda run: run.commits)
            said = example(keep / f"{runs[0].commits}.git", chosen.page.parent / PICTURE)
            chosen.page.write_text(page(runs, said), encoding="utf-8")
            return 0
        repo, facts = keep / f"{chosen.commits}.git", keep / f"{chosen.commits}.facts"
        if not facts.exists():
            repo.mkdir(parents=True)
            # A process of its own: what this one had taken would count as its child's largest memory.
            with ProcessPoolExecutor(1) as pool:
                made = pool.submit(make_history, repo, chosen.commits).result()
            facts.write_text("{} {}".format(*made), encoding="utf-8")
        commits, touching = map(int, re.findall(r"\d+", facts.read_text(encoding="utf-8")))
        run = measure(repo, commits, touching)
        (keep / f"{chosen.commits}.json").write_text(json.dumps(asdict(run)), encoding="utf-8")
    print(run)
    first = run.seconds * 1000 / run.commits
    print(f"{first:.1f} s for 1,000 commits, {'within' if first < LIMIT else 'OVER'} {LIMIT:.0f} s")
    return 0 if first < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
