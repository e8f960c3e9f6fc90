"""How long whole processes take that only say something: ``--version``, ``--help``, a command's ``--help``.

    python -m benchmarks.startup [--rounds 15] [--program PATH]

Each round starts every command once, so that what slows the machine slows all. Beside them, for comparison,
Python itself doing nothing. Goal: 150 ms for ``--help`` and ``--version``, median; exit code 1 where missed.
Wall time of a busy machine says little; processor time is given beside it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from patcher.cli import COMMANDS

GOAL = 0.150  # seconds


@dataclass
class Timed:
    """One command line and its times, in seconds."""

    name: str
    command: list[str]
    bounded: bool
    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def once(self) -> None:
        """Start it, wait for its end. Raises where it fails."""
        # as an installed program runs: with its bytecode at hand
        values = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        start, before = time.perf_counter(), os.times()
        subprocess.run(
            self.command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=values
        )
        after = os.times()
        self.wall.append(time.perf_counter() - start)
        used = (after.children_user, after.children_system, -before.children_user, -before.children_system)
        self.processor.append(sum(used))

    @property
    def row(self) -> str:
        """Of the table."""
        wall, processor = statistics.median(self.wall) * 1000, statistics.median(self.processor) * 1000
        verdict = ("met" if wall <= GOAL * 1000 else "MISSED") if self.bounded else ""
        return f"| {self.name} | {wall:.0f} | {min(self.wall) * 1000:.0f} | {processor:.0f} | {verdict} |"


def main() -> int:
    """Measure, print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--program", default=shutil.which("q8a8-patch", path=str(Path(sys.executable).parent))
    )
    options = parser.parse_args()
    if options.program is None:
        parser.error("q8a8-patch: not installed beside this Python; name one with --program")
    every = [
        Timed("python -c pass", [sys.executable, "-c", "pass"], bounded=False),
        Timed("--version", [options.program, "--version"], bounded=True),
        Timed("--help", [options.program, "--help"], bounded=True),
        *(Timed(f"{verb} --help", [options.program, verb, "--help"], bounded=True) for verb in COMMANDS),
    ]
    for one in every:
        one.once()  # bytecode and the disk's cache: not what is measured
        one.wall.clear()
        one.processor.clear()
    for _ in range(options.rounds):
        for one in every:
            one.once()
    print("| command | median, ms | least, ms | processor, ms | 150 ms |\n|---|---|---|---|---|")
    print("\n".join(one.row for one in every))
    missed = [one for one in every if one.bounded and statistics.median(one.wall) > GOAL]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
