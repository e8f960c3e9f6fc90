"""How we know a record as our own: a seal made with a secret that only this user has.

A tree may come with records, unpacked from an archive: they belong to the user by then, and whoever packed
them chose every byte. What they can't have is the seal.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from patcher.base import system
from patcher.base.errors import UsageError
from patcher.base.folder import Folder
from patcher.base.os_errors import refused

NAME = "record-key"
SIZE = 32


def seal(body: bytes) -> str:
    """The seal of ``body``; the user's secret is made where there is none yet.

    Raises :class:`UsageError` where no secret can be kept, or it isn't the user's alone.
    """
    return _made(_key(make=True) or b"", body)


def is_ours(body: bytes, said: str) -> bool:
    """Whether ``said`` is the seal of ``body``; nothing is written. Raises as :func:`seal` does."""
    key = _key(make=False)
    return key is not None and hmac.compare_digest(_made(key, body), said)


def _made(key: bytes, body: bytes) -> str:
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def key_folder() -> Path:
    """Where the secret lies: what a cache holds may be thrown away, this would take ``revert`` with it."""
    import platformdirs

    return Path(platformdirs.user_data_dir("q8a8-patch", appauthor=False))


def _key(*, make: bool) -> bytes | None:
    place = key_folder()
    hint = "set XDG_DATA_HOME to a folder of your own; what undoes an apply is known by a secret kept there"
    if not place.is_absolute():
        raise UsageError(f"{place}: looked for the user's home folder, found none", hint=hint)
    try:
        if make:
            place.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                place.mkdir(mode=0o700)
        elif not place.is_dir():
            return None
        with Folder.open(place) as folder:
            found = folder.read(NAME, SIZE + 1)
            if found is None and make:
                found = _new(folder)
            if found is not None:
                _require_private(folder, hint)
    except OSError as why:
        raise refused(place, why, what="used", hint=hint) from why
    if found is not None and len(found) != SIZE:
        raise UsageError(f"{place / NAME}: looked for {SIZE} bytes, found others", hint="remove it")
    return found


def _new(folder: Folder) -> bytes:
    """Make the secret: whole or not at all, and one of two processes' only."""
    draft = f".{NAME}.{secrets.token_hex(16)}"
    folder.create(draft, secrets.token_bytes(SIZE), mode=0o600)
    try:
        folder.link(draft, NAME)
    finally:
        folder.remove(draft)
    folder.sync()
    return folder.read(NAME, SIZE + 1) or b""


def _require_private(folder: Folder, hint: str) -> None:
    if not system.POSIX:
        return  # a profile's folder is its user's there
    for what, place in ((folder.itself(), folder.path), (folder.look(NAME), folder.path / NAME)):
        others = what.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if stat.S_ISREG(what.st_mode):
            others = what.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        if not system.is_ours(what) or others:
            raise UsageError(f"{place}: others than this user may use it", hint=hint)
