"""Where downloads, builds and logs are kept: one folder per user, outside every tree."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from patcher.base import system
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
    hint = f"set {ENVIRONMENT_VARIABLE} to a folder of your own that can be written"
    if not root.is_absolute():  # no HOME, and no user of our number: "~" is still in it
        raise UsageError(f"{root}: looked for this user's home folder, found none", hint=hint)
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        _require_ours(root, hint)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        reason = os.strerror(why.errno or 0)
        raise UsageError(f"{folder}: the cache can't be made there ({reason})", hint=hint) from why
    return folder


def _require_ours(root: Path, hint: str) -> None:
    """What lies in the cache is run: it belongs to this user, and nobody else writes there.

    Without HOME, or below a folder like ``/tmp``, somebody else may have made it first.
    """
    if not system.POSIX:
        return
    for facts in (root.lstat(), root.stat()):  # the link, and what it leads to
        if not system.is_ours(facts):
            raise UsageError(f"{root}: belongs to another user (number {facts.st_uid})", hint=hint)
    if root.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        root.chmod(0o700)
