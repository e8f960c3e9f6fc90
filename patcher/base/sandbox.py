"""A process of its own for what a stranger's text makes us compute: it ends in time, within its memory."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

SECONDS = 10.0  # a template takes milliseconds
MEMORY = 1 << 30  # bytes, besides what this process has already


class OverLimitError(Exception):
    """It took too long, or more memory than it may; the message says which, and begins with a verb."""


def confined(work: Callable[[], str], *, seconds: float | None = None, memory: int | None = None) -> str:
    """What ``work`` gives, computed in a child process that changes nothing of ours.

    Raises :class:`OverLimitError` after ``seconds`` (:data:`SECONDS`), for more than ``memory`` bytes
    (:data:`MEMORY`), and where the child dies. In the child the time is up as an exception in the midst of
    ``work``, so that it may say where; a child that doesn't obey is killed. Where a process can't be forked
    (Windows), ``work`` is done here and has no limit.
    """
    seconds, memory = seconds or SECONDS, memory or MEMORY
    if not hasattr(os, "fork"):
        return work()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(work, writing, seconds, memory)
    os.close(writing)
    try:
        data = _read(reading, time.monotonic() + 2 * seconds)
    finally:
        os.close(reading)
        os.kill(
            child, signal.SIGKILL
        )  # it has ended, or is to end: it isn't reaped, so the number is its own
        _, status = os.waitpid(child, 0)
    if data is None or (not data and os.WTERMSIG(status) == signal.SIGXCPU):
        raise OverLimitError(_too_long(seconds))
    if not data:
        raise OverLimitError(f"ended by signal {os.WTERMSIG(status)}")
    if data[:1] != b"=":
        raise OverLimitError(data[1:].decode())
    return data[1:].decode("utf-8", "surrogatepass")


def too_much(memory: int | None = None) -> str:
    """What is said of work that ran out of its ``memory`` (bytes)."""
    return f"takes more than {(memory or MEMORY) >> 20} MB of memory"


def _too_long(seconds: float) -> str:
    return f"computes for more than {seconds:g} s"


def _work(work: Callable[[], str], writing: int, seconds: float, memory: int) -> None:
    """The child: it says ``=`` and the text, or ``!`` and what went wrong, and is gone."""

    def over(number: int, frame: FrameType | None) -> None:
        raise OverLimitError(_too_long(seconds))

    said = b"!ended for no known reason"
    try:
        signal.signal(signal.SIGALRM, over)
        _limit(seconds, memory)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        said = b"=" + work().encode("utf-8", "surrogatepass")
    except OverLimitError as why:
        said = f"!{why}".encode()
    except MemoryError:
        said = f"!{too_much(memory)}".encode()
    except BaseException as why:  # noqa: BLE001 - nothing of it may go on into what the parent was doing
        said = f"!{type(why).__name__}: {why}".encode("utf-8", "replace")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            while said:
                said = said[os.write(writing, said) :]
        finally:
            os._exit(0)


def _limit(seconds: float, memory: int) -> None:
    """What the system itself enforces, even where our parent is gone."""
    import resource

    def lower(which: int, to: int) -> None:
        _, hard = resource.getrlimit(which)
        to = to if hard == resource.RLIM_INFINITY else min(to, hard)
        resource.setrlimit(which, (to, hard))

    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_CPU, int(2 * seconds) + 1)
    if sys.platform == "linux":  # elsewhere the limit isn't enforced, or can't be reckoned
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no path object in a child
            there = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        lower(resource.RLIMIT_AS, there + memory)


def _read(reading: int, until: float) -> bytes | None:
    """All that comes, up to its end; None where the end doesn't come in time."""
    data = bytearray()
    while True:
        left = until - time.monotonic()
        if left <= 0 or not select.select([reading], [], [], left)[0]:
            return None
        part = os.read(reading, 1 << 16)
        if not part:
            return bytes(data)
        data += part
