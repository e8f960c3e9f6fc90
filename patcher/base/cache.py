"""Where downloads, builds and logs are kept: one folder per user, outside every tree."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.base import lock, system
from patcher.base.errors import UsageError
from patcher.base.os_errors import reason, refused

ENVIRONMENT_VARIABLE = "Q8A8_PATCH_CACHE"
# the first folder of every cache_dir(...), and what is kept there
PARTS = {
    "audit": "what 'audit' has judged",
    "builds": "build folders of 'build' without --build-dir",
    "downloads": "source packages of llama.cpp",
    "drift": "what 'drift' and 'guard watch' have judged",
    "evaluate": "models and measurements of 'evaluate'",
    "guard": "copies and builds of 'guard check', history of 'guard watch'",
    "logs": "tracebacks of errors that nobody expected",
    "models": "the demonstration's model",
    "prove": "copies and builds of 'type prove'",
    "templates": "templates, compiled",
    "texts": "the demonstration's texts",
    "tools": "CMake and Ninja from PyPI",
}
_GOING = ".going-"
_IN_USE = ".in-use"
_sharing: lock.Sharing | None = None  # of this process, with every other that uses the same cache


def cache_dir(*parts: str) -> Path:
    """The folder ``parts`` below the user's cache, created when missing; nobody cleans it before we end.

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
        _shared(root)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise UsageError(f"{folder}: the cache can't be made there ({reason(why)})", hint=hint) from why
    return folder


def _shared(root: Path) -> lock.Sharing:
    """Ours is the lock that says that the cache is used, from the first folder in it until we end."""
    global _sharing  # noqa: PLW0603 - what a process holds until it ends
    place = root / _IN_USE
    if _sharing is None or _sharing.place != place:
        if _sharing is not None:
            _sharing.close()
        _sharing = lock.Sharing(place)
    return _sharing


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


@dataclass(frozen=True)
class CachePart:
    """One folder of the cache: its name, what is in it, and how many bytes of the disk it takes."""

    name: str
    what: str
    bytes: int

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {"kind": self.name, "what": self.what, "bytes": self.bytes}


def parts() -> list[CachePart]:
    """What there is in the cache, in the order of names. Raises as :func:`cache_dir` does."""
    root = cache_dir()
    there = {place.name for place in root.iterdir() if place.is_dir() and not place.is_symlink()}
    return [CachePart(name, what, _bytes(root / name)) for name, what in PARTS.items() if name in there]


def others() -> int:
    """Bytes of what lies in the cache besides :data:`PARTS`: ``ci/guard``'s environments, say. Left alone."""
    root = cache_dir()
    return sum(_bytes(place) for place in root.iterdir() if place.is_dir() and place.name not in PARTS)


def clean(names: Iterable[str] | None, *, dry_run: bool = False) -> list[CachePart]:
    """Remove these parts, or all; say which were there. Nothing but :data:`PARTS` is touched.

    A part leaves its name at once, so that one cut off is never taken for a whole one; its rest goes with the
    next cleaning. Raises :class:`UsageError` for a name that isn't one, that can't be removed, and where
    another process of ours is at work with the cache.
    """
    wanted = set(PARTS if names is None else names)
    unknown = sorted(wanted - set(PARTS))
    if unknown:
        raise UsageError(f"{unknown[0]}: is no part of the cache", hint=f"name one of {', '.join(PARTS)}")
    root = cache_dir()
    found = [part for part in parts() if part.name in wanted]
    if dry_run:
        return found
    try:
        with _shared(root).alone():
            for part in found:
                going = Path(tempfile.mkdtemp(prefix=_GOING, dir=root))
                (root / part.name).rename(going / part.name)
        for place in root.glob(f"{_GOING}*"):
            shutil.rmtree(place)
    except lock.LockTakenError as why:
        raise UsageError(
            f"{root}: another q8a8-patch is at work with it, and nothing was removed",
            hint="wait for it or end it, then clean again",
        ) from why
    except OSError as why:
        raise refused(
            why.filename or root, why, what="removed", hint="end what uses it, then clean again"
        ) from why
    return found


def _bytes(folder: Path) -> int:
    """What the disk gives to ``folder``; a file with several names in it counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                facts = os.lstat(os.path.join(place, name))  # noqa: PTH118 - there are tens of thousands
            except OSError:
                continue  # gone meanwhile: another command is at work
            if facts.st_nlink > 1 and (key := (facts.st_dev, facts.st_ino)) in seen:
                continue
            if facts.st_nlink > 1:
                seen.add(key)
            total += getattr(facts, "st_blocks", -(-facts.st_size // 512)) * 512
    return total
