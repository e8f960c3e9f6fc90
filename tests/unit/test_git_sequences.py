"""Random sequences of git's verbs and ours: status tells the truth after each, and there is a way back."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.git_sequences import OFTEN, STEPS, template, walked

SEED = 16
COUNT = 12  # a sample: python -m benchmarks.git_sequences does as many as it is told


pytestmark = pytest.mark.slow  # no build: dozens of applies, merges and moves


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("sequences") / "stock")


# found by trying, or told by people: each was a tree that nothing could help, or a lie of status
KNOWN = (
    ("apply", "checkout .", "clean", "revert"),
    ("apply", "checkout -f r2", "apply", "revert"),
    ("apply", "apply --commit", "reset --hard"),
    ("apply --commit", "edit", "commit", "rebase r2", "move", "rebase --continue", "revert"),
    ("apply", "stash -u", "apply", "stash pop", "move"),
    ("apply", "commit", "merge r2", "move", "commit", "revert"),
    ("apply", "worktree", "apply", "revert"),
    ("apply", "clone", "revert", "apply"),
)


@pytest.mark.parametrize("steps", KNOWN, ids=" ; ".join)
def test_known_sequences(stock: Path, tmp_path: Path, steps: tuple[str, ...]) -> None:
    walked(stock, tmp_path, steps)


@pytest.mark.parametrize("number", range(COUNT))
def test_any_sequence(stock: Path, tmp_path: Path, number: int) -> None:
    chance = random.Random(SEED * 1000 + number)  # noqa: S311 - the same sequences every time
    walked(stock, tmp_path, chance.choices([*STEPS, *OFTEN], k=chance.randint(2, 7)))
