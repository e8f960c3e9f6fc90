"""One timed child at a time on a machine: two would time each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patcher.base import lock


@contextmanager
def alone(place: Path) -> Iterator[tuple[int, ...]]:
    """Hold the lock file ``place``; the value is what children must inherit (``pass_fds``).

    They hold the lock with us then: where we are killed, nobody else is timed before they have ended.
    """
    with lock.hold(place) as handle:
        yield (handle,) if handle is not None else ()
