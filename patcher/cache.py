"""Where downloads, builds and logs are kept: one folder per user, outside every tree."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT_VARIABLE = "Q8A8_PATCH_CACHE"


def cache_dir(*parts: str) -> Path:
    """The folder ``parts`` below the user's cache, created when missing.

    ``Q8A8_PATCH_CACHE`` overrides the system's place (``$XDG_CACHE_HOME/q8a8-patch`` on Linux).
    """
    override = os.environ.get(ENVIRONMENT_VARIABLE)
    if override:
        root = Path(override).expanduser()
    else:
        import platformdirs  # here, because most commands never need it

        root = Path(platformdirs.user_cache_dir("q8a8-patch", appauthor=False))
    folder = root.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
