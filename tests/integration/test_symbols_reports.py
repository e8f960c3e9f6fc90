"""What people report: the loader is asked, and we have to say the same. The page has every situation."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.symbol_reports import row
from tests.linking import have
from tests.situations import SITUATIONS, Situation

pytestmark = [pytest.mark.compiler, pytest.mark.skipif(not have("gcc", "g++"), reason="needs gcc")]
PAGE = Path(__file__).parents[2] / "docs" / "symbols" / "reports.md"


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda one: one.make.__name__)
def test_we_say_what_the_loader_says(situation: Situation, tmp_path: Path) -> None:
    line, right = row(situation, tmp_path)
    assert right, line
    assert line.startswith(f"| {situation.title} |")
    if situation.symbol:
        assert situation.symbol in line


def test_the_page_has_every_situation() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [one.title for one in SITUATIONS if f"| {one.title} |" not in page] == []
    assert f"{len(SITUATIONS)} of {len(SITUATIONS)} agree." in page
