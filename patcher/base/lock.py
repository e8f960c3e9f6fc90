"""One process at a time: a lock file, held by the system, so that it ends with whoever holds it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patcher.base.errors import PatcherError, UsageError
from patcher.base.folder import Folder
from patcher.base.os_errors import reason, refused

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_POLL_SECONDS = 0.05
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class LockTakenError(UsageError):
    """Another process holds the lock, and went on holding it."""

    def __init__(self, place: Path) -> None:
        super().__init__(f"{place}: another q8a8-patch holds it", hint="wait for it, or end it")


@contextmanager
def hold(
    place: Path,
    *,
    seconds: float | None = None,
    folder: Folder | None = None,
    failure: type[PatcherError] = UsageError,
) -> Iterator[int | None]:
    """Hold the lock file ``place``, for which we wait ``seconds`` (None: as long as it takes).

    The value is the handle for children to inherit (``pass_fds``): they hold the lock with us then. The file
    is made where it is missing, never emptied, and no link is followed; ``folder`` is the one that it lies
    in, where that is open already. Raises :class:`LockTakenError`; ``failure`` where the file can't be made,
    or its file system has no locks.
    """
    if fcntl is None:
        from filelock import FileLock, Timeout

        try:
            with FileLock(place, timeout=-1 if seconds is None else seconds):
                yield None
        except Timeout as why:
            raise LockTakenError(place) from why
        return
    try:
        within = folder if folder is not None else Folder.open(place.parent)
        handle = within.handle(place.name, os.O_RDWR | os.O_CREAT)
    except OSError as why:
        raise refused(place, why, failure=failure) from why
    try:
        _take(handle, place, seconds, failure)
        yield handle
    finally:
        os.close(handle)  # which lets go of the lock, when the last child has ended


class Sharing:
    """A lock file that many processes hold at once, each until it ends, and one of them alone for a moment.

    Where the file can't be made or its file system has no locks, nothing is held: what is shared is still of
    use. On Windows nothing is held either: there an open file keeps its folder from being moved.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._handle: int | None = None
        if fcntl is None:
            return
        try:
            self._handle = Folder.open(place.parent).handle(place.name, os.O_RDWR | os.O_CREAT)
            fcntl.flock(self._handle, fcntl.LOCK_SH)
        except (OSError, UsageError):
            self.close()

    def close(self) -> None:
        """Hold it no longer."""
        if self._handle is not None:
            os.close(self._handle)
        self._handle = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold it while no other process does. Raises :class:`LockTakenError` where one does."""
        if self._handle is None:
            yield
            return
        try:
            _take(self._handle, self.place, 0, UsageError)
            yield
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_SH)


def _take(handle: int, place: Path, seconds: float | None, failure: type[PatcherError]) -> None:
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as why:
            if why.errno not in _TAKEN:
                raise failure(
                    f"{place}: its file system can't lock files ({reason(why)}), so that two runs at once"
                    " could not be kept apart",
                    hint="keep it on a file system that can",
                ) from why
        else:
            return
        if end is not None and time.monotonic() >= end:
            raise LockTakenError(place)
        time.sleep(_POLL_SECONDS)
