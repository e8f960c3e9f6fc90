"""Which programs may be run: those of this machine, and none that came with what is inspected."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_PLACES = ("/usr/", "/opt/", "/bin/", "/Library/", "/Applications/", "/nix/store/")


def is_installed(program: str) -> bool:
    """Whether ``program`` is one of this machine's: on PATH, or where systems keep programs."""
    found = shutil.which(Path(program).name)
    if "/" not in program:
        return found is not None
    real = os.path.realpath(program)
    if found is not None and os.path.realpath(found) == real:
        return True
    return real.startswith(_PLACES)
