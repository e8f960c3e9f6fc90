"""Random sequences of git's verbs and ours, each held against the truth (tests/git_sequences.py).

    python -m benchmarks.git_sequences [--count 2000] [--seed 1] [--jobs 2]

Prints each sequence that fails, and how many there were. Exit code 1 where one failed.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.git_sequences import OFTEN, STEPS, template, walked


def walk(number: int, seed: int, stock: Path, folder: Path) -> str:
    """Walk the sequence of that number; what was wrong with it, else nothing."""
    chance = random.Random(seed * 1_000_000 + number)  # noqa: S311 - repeatable
    steps = chance.choices([*STEPS, *OFTEN], k=chance.randint(2, 9))
    with tempfile.TemporaryDirectory(dir=folder) as place:
        try:
            walked(stock, Path(place), steps)
        except AssertionError as why:
            return f"{number}: {' ; '.join(steps)}\n    {why}"
    return ""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    identity = {"AUTHOR_NAME": "a", "AUTHOR_EMAIL": "a@b", "COMMITTER_NAME": "a", "COMMITTER_EMAIL": "a@b"}
    os.environ |= {f"GIT_{key}": value for key, value in identity.items()}
    os.environ["GIT_CONFIG_GLOBAL"] = os.devnull
    failed, start = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(options.jobs) as pool:
        os.environ["Q8A8_PATCH_CACHE"] = f"{folder}/cache"
        os.environ["XDG_DATA_HOME"] = f"{folder}/data"
        stock = template(Path(folder) / "stock")
        one = partial(walk, seed=options.seed, stock=stock, folder=Path(folder))
        for said in pool.map(one, range(options.count), chunksize=8):
            if said:
                failed += 1
                print(said, flush=True)
    print(f"{options.count} sequences, {failed} failed, {time.monotonic() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
