"""How a test takes away what an edit is anchored at."""

from __future__ import annotations

from pathlib import Path

from patcher.engine.anchors import ANCHORS
from patcher.engine.patchset import NEW_FILE, Edit


def place_of(edit: Edit, tree: Path) -> str | None:
    """The file of ``tree`` in which a test takes the edit's anchor away; None where it has none."""
    paths = edit.besides if edit.kind == NEW_FILE else edit.files
    return next((path for path in paths if (tree / path).exists()), None)


def gone(edit: Edit) -> str:
    """A pattern for what the edit is anchored at, so that a test can take it away."""
    return ANCHORS[edit.kind].hangs_on(edit.anchor)
