"""What imports what: the floors of ``patcher/`` as pyproject.toml has them, held by import-linter."""

from __future__ import annotations

from pathlib import Path

import pytest
from importlinter import cli

ROOT = Path(__file__).parents[2]


def test_nothing_imports_what_is_above_it(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert code == 0, capsys.readouterr().out
