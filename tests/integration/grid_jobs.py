"""Jobs for the grid test that take a moment and note when they begin and end."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS = 1.0


def note(folder: Path, kind: str, name: str) -> None:
    """One line, appended in one write, so that processes don't mix theirs."""
    with (folder / f"{kind}.txt").open("a", encoding="utf-8") as file:
        file.write(f"{name} {os.getpid()}\n")


def slow_job(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Measure nothing, slowly."""
    model = Path(settings["model"])
    note(model.parent, "begun", model.stem)
    time.sleep(SECONDS)
    note(model.parent, "measured", model.stem)
    return {"model": model.stem, "pid": os.getpid()}
