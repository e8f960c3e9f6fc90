"""One timed child at a time on a machine: two would time each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone(place: Path) -> Iterator[tuple[int, ...]]:
    """Hold the lock file ``place``; the value is what children must inherit (``pass_fds``).

    They hold the lock with us then: where we are killed, nobody else is timed before they have ended.
    """
    if fcntl is None:
        from filelock import FileLock

        with FileLock(place):
            yield ()
        return
    with place.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield (file.fileno(),)
