"""Places as services want them: relative to the checkout, ``/`` between folders."""

from __future__ import annotations

import os
from pathlib import Path


def relative(path: str) -> str:
    """``path`` seen from the working folder, without ``./``; as it is where it lies elsewhere."""
    try:
        return Path(os.path.realpath(path)).relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return Path(path).as_posix()
