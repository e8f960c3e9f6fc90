"""docs/lift-tutorial.md, as its reader walks it; the proof, which builds, is tested beside it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import environment
from tests.pages import walk
from tests.programs import need

PAGE = Path(__file__).parents[2] / "docs" / "lift-tutorial.md"
pytestmark = [pytest.mark.llama, pytest.mark.network, pytest.mark.slow]


def test_the_tutorial_of_a_forks_type(tmp_path: Path) -> None:
    need("npm")
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    walked = list(walk(PAGE, tmp_path, environment(PATH=programs)))
    assert sum(block.is_shell for block, _ in walked) == 5
    assert len(list((tmp_path / "series").glob("*.patch"))) == 5
