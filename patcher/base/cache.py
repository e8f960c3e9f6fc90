"""Where downloads, builds and logs are kept: one folder per user, outside every tree."""

from __future__ import annotations

import os
from pathlib import Path

from patcher.base.errors import UsageError

ENVIRONMENT_VARIABLE = "Q8A8_PATCH_CACHE"


def cache_dir(*parts: str) -> Path:
    """The folder ``parts`` below the user's cache, created when missing.

    ``Q8A8_PATCH_CACHE`` overrides the system's place (``$XDG_CACHE_HOME/q8a8-patch`` on Linux).
    Raises :class:`UsageError` where no folder can be made there.
    """
    override = os.environ.get(ENVIRONMENT_VARIABLE)
    if override:
        root = Path(os.path.abspath(os.path.expanduser(override)))  # noqa: PTH100, PTH111 - ~nobody stays
    else:
        import platformdirs  # here, because most commands never need it

        root = Path(platformdirs.user_cache_dir("q8a8-patch", appauthor=False))
    folder = root.joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        reason = os.strerror(why.errno or 0)
        hint = f"set {ENVIRONMENT_VARIABLE} to a folder that can be written"
        raise UsageError(f"{folder}: the cache can't be made there ({reason})", hint=hint) from why
    return folder
