"""Text files that somebody asked for, or that the cache keeps: whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from patcher.base.errors import UsageError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def require_place(path: Path) -> None:
    """Raise :class:`UsageError` where nothing can be written at ``path``: before the work, not after it."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(
            f"{path}: can't be written: looked for the folder {folder}, found none", hint="name another place"
        )
    if path.is_dir():
        raise UsageError(f"{path}: can't be written, it is a folder", hint="name another place")


def write_wanted(path: Path, text: str) -> Path:
    """Write what somebody asked for. Raises :class:`UsageError` where it can't be written.

    Where ``path`` is a device or a pipe (``/dev/null``, ``/dev/stdout``) it stays one; a link stays a link.
    """
    require_place(path)
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            write_whole(path.resolve(), text)
    except OSError as why:
        hint = "free some space, then run the same command again" if why.errno in DISK_FULL else None
        raise UsageError(f"{path}: can't be written ({why.strerror or why})", hint=hint) from why
    return path


def write_whole(path: Path, text: str) -> None:
    """Write ``path`` by way of a draft beside it, so that nobody ever reads half of it. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
