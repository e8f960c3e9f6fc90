"""Random sequences of git's verbs and ours, each held against the truth (tests/git_sequences.py).

    python -m benchmarks.git_sequences [--count 2000] [--seed 1]

Prints each sequence that fails, and how many there were. Exit code 1 where one failed.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.git_sequences import OFTEN, STEPS, template, walked


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    identity = {"AUTHOR_NAME": "a", "AUTHOR_EMAIL": "a@b", "COMMITTER_NAME": "a", "COMMITTER_EMAIL": "a@b"}
    os.environ |= {f"GIT_{key}": value for key, value in identity.items()}
    os.environ["GIT_CONFIG_GLOBAL"] = os.devnull
    failed, start = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["Q8A8_PATCH_CACHE"] = f"{folder}/cache"
        stock = template(Path(folder) / "stock")
        for number in range(options.count):
            chance = random.Random(options.seed * 1_000_000 + number)  # noqa: S311 - repeatable
            steps = chance.choices([*STEPS, *OFTEN], k=chance.randint(2, 9))
            with tempfile.TemporaryDirectory(dir=folder) as place:
                try:
                    walked(stock, Path(place), steps)
                except AssertionError as why:
                    failed += 1
                    print(f"{number}: {' ; '.join(steps)}\n    {why}", flush=True)
    print(f"{options.count} sequences, {failed} failed, {time.monotonic() - start:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
