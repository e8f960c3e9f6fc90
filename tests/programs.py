"""Programs of the system that a test needs."""

from __future__ import annotations

import shutil

import pytest


def need(*programs: str) -> None:
    """Skip the test that asks, with the reason, where one of these isn't on the PATH."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program}: not on PATH")
