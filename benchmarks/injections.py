"""A signal or an error at every call that writes, in every command that writes, and the page that says it.

    python -m benchmarks.injections [--jobs 2] [--page docs/injections.md]

Exit code 1 where one leaves a tree or a model that the next command doesn't bring to one of both states.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from patcher.base.files import write_wanted
from tests.injections import shim
from tests.injections.harness import Outcome

KINDS = (*shim.SIGNALS, *shim.ERRORS, shim.STAYS_FULL)
INTRO = """\
# Injections

What happens when somebody presses Ctrl-C, a job is cancelled, a terminal closes, a process is killed or
the disk refuses, at each call that writes: every command that writes a tree or a model is run once for
each signal and each error at each of its calls. At once afterwards the tree (or the model) is as it was
**before**, as it was to be **after**, or **between** the two, and then the error says so, or nothing
could be said any more (SIGKILL). Then the next command runs (a revert and the same command again, in
turn), and everything must be as it was before or as it is after, to the byte, with no draft, no empty
folder and no record of a run left.

```sh
python -m benchmarks.injections --page docs/injections.md
pytest tests/unit/test_injections.py
```

The pocket-sized tree of the tests is what is patched; where a command would write every file of it, it
writes those of one group, and one row more writes all. A library that stands before libc's calls does the
striking: calls that open for writing, write to a file, sync, rename, link, unlink, make and remove
folders, change lengths and permissions, and lock. *{full}* is a disk that is full and stays so: every
call that takes room fails from that one on.
""".replace("{full}", shim.STAYS_FULL)


def run(part: int, of: int, library: Path, folder: Path) -> list[Outcome]:
    """Every injection whose number is ``part`` modulo ``of``."""
    out = folder / f"{part}.json"
    command = [sys.executable, "-m", "tests.injections.harness", str(folder / f"home-{part}"), str(out)]
    subprocess.run(
        [*command, f"all:{part}/{of}"],
        check=True,
        env=shim.environment(library),
        stdout=subprocess.DEVNULL,
    )
    return [Outcome(**found) for found in json.loads(out.read_text(encoding="utf-8"))]


def page(outcomes: Iterable[Outcome]) -> str:
    """The generated page: command and call by signal and error."""
    by_command: dict[str, dict[str, dict[str, Counter[str]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(Counter))
    )
    total, faults = 0, []
    states, then = Counter[str](), Counter[str]()
    for one in outcomes:
        by_command[one.command][one.call][one.what][one.state] += 1
        total += 1
        states[one.state] += 1
        then[one.then] += 1
        if one.fault:
            faults.append(one)
    lines = [
        INTRO,
        f"**{total} injections**: {states['before']} left everything as before, {states['after']} as after, "
        f"{states['between']} between the two. After the next command: {then['before']} as before, "
        f"{then['after']} as after, **{total - then['before'] - then['after']} between**; "
        f"{len(faults)} faults.",
        "",
        "A cell counts the states at once afterwards: *b* before, *a* after, *~* between.",
    ]
    for command, calls in by_command.items():
        lines += ["", f"## {command}", "", f"| call | {' | '.join(KINDS)} |"]
        lines.append("|---" * (len(KINDS) + 1) + "|")
        for call in sorted(calls):
            cells = [_cell(calls[call][kind]) for kind in KINDS]
            lines.append(f"| {call} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(states: Counter[str]) -> str:
    marks = (("before", "b"), ("after", "a"), ("between", "~"))
    return " ".join(f"{states[state]}{mark}" for state, mark in marks if states[state])


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="only one injection of that many")
    parser.add_argument("--page", type=Path, help="write the page here")
    chosen = parser.parse_args()
    why = shim.missing()
    if why:
        print(why)
        return 2
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(chosen.jobs) as pool:
        folder = Path(name)
        library = shim.build(folder)
        parts = range(0, chosen.jobs * chosen.every, chosen.every)
        of = chosen.jobs * chosen.every
        found = [pool.submit(run, part, of, library, folder) for part in parts]
        outcomes = sorted(
            (one for part in found for one in part.result()),
            key=lambda one: (one.command, one.turn, one.what),
        )
    for one in outcomes:
        if one.fault:
            print(f"{one.command}, {one.what} at {one.call} (call {one.turn}): {one.fault}")
    print(f"{len(outcomes)} injections, {sum(bool(one.fault) for one in outcomes)} faults")
    if chosen.page:
        write_wanted(chosen.page, page(outcomes))
    return 1 if any(one.fault for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
