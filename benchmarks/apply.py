"""How long ``q8a8-patch apply`` takes as a whole process, against ``git apply`` of the exported series.

    python -m benchmarks.apply [--tree CHECKOUT] [--rounds 15]

Both start from the same clean clone, in turns; each round's times are of one run. Wall-clock seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from patcher.base.cache import cache_dir
from patcher.source import fetch

DEFAULT_SOURCE = "npm:node-llama-cpp@3.22.1"
LIMIT = 1.5  # seconds, the median of a whole process


def timed(command: list[str], folder: Path) -> float:
    """Seconds of one run. Raises CalledProcessError where it fails."""
    # as an installed tool runs: with its bytecode at hand
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def measure(stock: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round, by what was run."""
    tool = [sys.executable, "-m", "patcher"]
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        tree, series = Path(scratch) / "llama.cpp", Path(scratch) / "series"
        subprocess.run(
            ["git", "-c", "advice.detachedHead=false", "clone", "-q", "--shared", str(stock), str(tree)],
            check=True,
        )
        subprocess.run([*tool, "export", str(tree), "-o", str(series), "-q"], check=True, capture_output=True)
        patches = [str(path) for path in sorted(series.iterdir())]
        runs = {
            "q8a8-patch apply": [*tool, "apply", str(tree)],
            "q8a8-patch apply, again": [*tool, "apply", str(tree)],
            "q8a8-patch revert": [*tool, "revert", str(tree)],
            "git apply of the series": ["git", "apply", *patches],
            "q8a8-patch --version": [*tool, "--version"],
        }
        for number in range(rounds + 1):
            for name, command in runs.items():
                seconds = timed(command, tree)
                if number:  # the first round fills caches
                    times.setdefault(name, []).append(seconds)
            subprocess.run(["git", "checkout", "-q", "."], cwd=tree, check=True)
            subprocess.run(["git", "clean", "-qfdx"], cwd=tree, check=True)
    return times


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--tree", type=Path, help="A clean checkout; without it one is fetched.")
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    stock = chosen.tree or fetch(DEFAULT_SOURCE, cache_dir("benchmarks") / "llama.cpp").path
    times = measure(stock, chosen.rounds)
    print(f"| whole process, {chosen.rounds} rounds | median s | least s | most s |\n|---|---|---|---|")
    for name, seconds in times.items():
        row = (statistics.median(seconds), min(seconds), max(seconds))
        print(f"| `{name}` | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    median = statistics.median(times["q8a8-patch apply"])
    print(f"\napply: {median:.3f} s, {'within' if median < LIMIT else 'OVER'} {LIMIT} s")
    return 0 if median < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
