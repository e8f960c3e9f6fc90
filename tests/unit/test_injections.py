"""A sample of the injections; ``benchmarks/injections.py`` runs them all and writes the page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.injections import shim
from tests.injections.harness import Outcome

SEED, COUNT = 14, 20


@pytest.mark.skipif(shim.missing() is not None, reason=str(shim.missing()))
def test_after_any_of_them_the_next_command_ends_in_one_of_both_states(tmp_path: Path) -> None:
    out = tmp_path / "outcomes.json"
    command = [sys.executable, "-m", "tests.injections.harness", str(tmp_path / "home"), str(out)]
    done = subprocess.run(
        [*command, f"seed:{SEED}:{COUNT}"],
        env=shim.environment(shim.build(tmp_path)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    outcomes = [Outcome(**found) for found in json.loads(out.read_text(encoding="utf-8"))]
    assert [one for one in outcomes if one.fault] == []
    assert len(outcomes) == COUNT
    # it did strike: not all runs went through, and not all the same way
    assert {one.state for one in outcomes} >= {"before", "after"}
    assert sum(one.code != 0 for one in outcomes) > COUNT // 3
