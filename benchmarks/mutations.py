"""What becomes of every mutation of the engine's test programs, and the page that says it.

    python -m benchmarks.mutations [--jobs 2] [--page docs/mutations.md]

Each is planned, applied where the plan has no conflict, planned once more, compiled and run. Exit code 1
where one is neither where it belongs nor a conflict.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.mutations.judge import CONFLICT, LANDS, Attempt, attempts, verdict

INTRO = """\
# Mutations

What happens when upstream, or a hand, changes the code around an edit: three small programs, in C, Python
and CMake, have every shape that edits look for, and a check of their own that the type is wherever its
sibling is. Each mutation changes one of them. The plan then either has a conflict, which names what was
looked for and what was found, or it is applied, planned once more (nothing may be missing), compiled and
run. **Silently wrong** is what is neither; there must be none.

```sh
python -m benchmarks.mutations --page docs/mutations.md
pytest tests/integration/test_mutations.py
```

Mutations of style (indent, line ends, comments) are combined with every other one as well, three at a time
in turn: the verdict must stay what it is alone.
"""


EVERY = tuple(attempts())


def judged(number: int) -> str:
    """The verdict on the attempt of that number (what it consists of doesn't go through a pipe)."""
    with tempfile.TemporaryDirectory() as folder:
        return verdict(EVERY[number], Path(folder))


def page(results: Iterable[tuple[Attempt, str]]) -> str:
    """The generated page."""
    counts: dict[str, Counter[str]] = {}
    alone: dict[str, list[tuple[str, str]]] = {}
    for attempt, said in results:
        kind = counts.setdefault(attempt.kind, Counter())
        single = len(attempt.mutations) == 1
        right = said == attempt.expected
        kind["attempts"] += 1
        kind["wrong"] += not right
        if single:
            kind["mutations"] += 1
            kind[said] += 1
            alone.setdefault(attempt.kind, []).append((attempt.name, said))
    columns = ("mutations", LANDS, CONFLICT, "attempts", "wrong")
    total = Counter[str]()
    lines = [
        INTRO,
        "| | mutations | land | conflict | with styles | silently wrong |",
        "|---|---|---|---|---|---|",
    ]
    for name, kind in counts.items():
        total += kind
        lines.append(f"| {name} | {' | '.join(str(kind[column]) for column in columns)} |")
    lines.append(f"| **all** | {' | '.join(f'**{total[column]}**' for column in columns)} |")
    for name, rows in alone.items():
        lines += ["", f"## {name[0].upper()}{name[1:]}", "", "| mutation | verdict |", "|---|---|"]
        lines += [f"| {mutation} | {said} |" for mutation, said in rows]
    return "\n".join(lines) + "\n"


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--page", type=Path, help="write the page here")
    chosen = parser.parse_args()
    with ProcessPoolExecutor(chosen.jobs) as pool:
        said_of_each = list(pool.map(judged, range(len(EVERY)), chunksize=8))
    results = list(zip(EVERY, said_of_each, strict=True))
    wrong = [(attempt, said) for attempt, said in results if said != attempt.expected]
    for attempt, said in wrong:
        print(f"{attempt.name}: expected {attempt.expected}: {said}")
    print(f"{len(EVERY)} attempts, {len(wrong)} wrong")
    if chosen.page:
        chosen.page.write_text(page(results), encoding="utf-8")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
