"""The one place that starts programs: how long, how much, with which environment, and ended on every way out.

A program and all that it starts form a group. Whatever makes us leave (an error, Ctrl-C, a closed terminal,
a cancelled job), the group is ended first, politely and then for good.
Each function here keeps a part of that one promise, so that they stay in one module.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from patcher.base import interrupt
from patcher.base.environment import plain
from patcher.base.errors import BuildError
from patcher.base.streams import PENDING, Listener, Streams

GROUP = os.name == "posix"
OUTPUT = 512 << 20  # bytes that a program may say where all of it is wanted
TAIL = 16 << 20  # bytes that are kept of a program whose lines are followed
_TICK = 0.05
_LINGER = 2.0  # seconds that what a program left behind may hold its output open


class ProcessError(BuildError):
    """A program that came to no end of its own. The message begins with a verb; callers say whose it is."""


class NotStartedError(ProcessError):
    """It isn't there, or can't be run; ``reason`` is what the system says."""

    remedy = "install it, or see with 'ls -l' whether it may be run"

    def __init__(self, why: OSError | ValueError) -> None:
        self.reason = why if isinstance(why, OSError) else OSError(errno.EINVAL, str(why))
        super().__init__(f"can't be run ({self.reason.strerror or why})")


class TimeUpError(ProcessError):
    """It took longer than it may."""

    remedy = "run the same command again when the machine has less to do"


class StoppedError(ProcessError):
    """Another thread wants no more of it."""

    remedy = "it was stopped on purpose: run the same command again"


class TooMuchError(ProcessError):
    """It said more than anybody wants to keep."""

    remedy = "run it by hand, to see what it repeats, and report that"


@dataclass(frozen=True)
class Ended:
    """A program that has ended. ``code`` is negative for a signal; ``peak_rss`` is bytes, 0 if unknown."""

    code: int
    out: bytes
    err: bytes
    seconds: float
    peak_rss: int

    @property
    def text(self) -> str:
        """Its stdout."""
        return self.out.decode("utf-8", "replace")

    @property
    def errors(self) -> str:
        """Its stderr."""
        return self.err.decode("utf-8", "replace")


@dataclass(frozen=True)
class Politeness:
    """How a program is asked to end: by which signal, and the seconds that it has for it.

    Ninja removes what it had half written at SIGINT; a calibration saves what it has.
    """

    number: int = signal.SIGTERM
    seconds: float = 5.0


def run(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    seconds: float | None = None,
    memory: int | None = None,
    output: int = OUTPUT,
    on_line: Callable[[str], None] | None = None,
    on_text: Callable[[str], None] | None = None,
    merged: bool = False,
    pass_fds: Sequence[int] = (),
    stop: threading.Event | None = None,
    ending: Politeness = Politeness(),
) -> Ended:
    """Run ``command`` to its end, in ``folder``, with the environment ``env`` (:func:`plain` for None).

    ``on_line`` gets every line (``on_text`` every piece) of its output as it comes, without the end of line;
    of what is followed so, the last :data:`TAIL` bytes are kept, else more than ``output`` bytes are an
    error. ``merged`` sends stderr to stdout. ``memory`` limits the address space in bytes (Linux). ``stop``
    is for a program that is run by another thread than the one that an interruption reaches.

    Raises :class:`NotStartedError`, :class:`TimeUpError` after ``seconds``, :class:`TooMuchError`,
    :class:`StoppedError` once ``stop`` is set.
    """
    words = [os.fspath(word) for word in command]
    start = time.monotonic()
    child: subprocess.Popen[bytes] | None = None
    with _interruptible():
        try:
            with interrupt.held():  # a signal between its start and our knowing of it would leave it running
                child = _started(words, folder, plain() if env is None else env, stdin, merged, pass_fds)
            if memory is not None:
                _limit_memory(child.pid, memory)
            listener = Listener(on_line, on_text)
            streams = Streams((child.stdout, child.stderr), TAIL if listener.is_there else output, listener)
            _feed(child, stdin)
            try:
                limit = None if listener.is_there else output
                seen = _follow(streams, child, _until(start, seconds), seconds, limit, stop)
                listener.finish()
            finally:
                streams.leave()
            peak = _reaped(child, _until(start, seconds), seconds)
        except BaseException:
            if child is not None:
                end(child, ending)
            raise
        finally:
            if child is not None:
                _LIVING.pop(child.pid, None)
                _close(child)
    # Linux counts what stood at the fork, which was our own memory: for a smaller child, /proc has told
    peak = peak if peak > _own_peak() or not seen else seen
    return Ended(child.returncode, streams.text(0), streams.text(1), time.monotonic() - start, peak)


Service = subprocess.Popen[bytes]  # a program that is talked with, line by line


def converse(command: Sequence[str | Path]) -> Service:
    """Start a program that answers what is written to it; whoever starts it ends it.

    It is no group of its own: it ends as soon as nobody holds its stdin. Raises :class:`NotStartedError`.
    """
    try:
        with interrupt.held():  # whoever starts it gets it, or it is let go of as a whole
            return subprocess.Popen(
                [os.fspath(word) for word in command],
                env=plain(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
    except OSError as why:
        raise NotStartedError(why) from why


def end(child: subprocess.Popen[Any], how: Politeness = Politeness()) -> None:
    """End ``child`` and all that it has started."""
    if child.returncode is not None:
        return
    for number in (how.number, getattr(signal, "SIGKILL", signal.SIGTERM)):
        try:
            if GROUP:
                os.killpg(child.pid, number)
            else:
                child.terminate()
            child.wait(timeout=how.seconds)
        except ProcessLookupError:
            child.wait()
        except subprocess.TimeoutExpired:
            continue
        break
    if GROUP:  # what it had started and didn't end
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


# ---------------------------------------------------------------- the start

_LIVING: dict[int, subprocess.Popen[bytes]] = {}


def _started(
    words: list[str],
    folder: Path | None,
    env: Mapping[str, str],
    stdin: bytes | None,
    merged: bool,
    pass_fds: Sequence[int],
) -> subprocess.Popen[bytes]:
    try:
        child = subprocess.Popen(
            words,
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            start_new_session=GROUP,
            pass_fds=tuple(pass_fds),
        )
    except OSError as why:
        raise NotStartedError(why) from why
    except ValueError as why:  # a NUL in a word
        raise NotStartedError(why) from why
    _LIVING[child.pid] = child
    return child


def _limit_memory(pid: int, memory: int) -> None:
    if sys.platform == "linux":
        import resource

        with contextlib.suppress(OSError, ValueError):  # it has ended, or has a lower limit already
            resource.prlimit(pid, resource.RLIMIT_AS, (memory, memory))


def _feed(child: subprocess.Popen[bytes], stdin: bytes | None) -> None:
    pipe = child.stdin
    if pipe is None or stdin is None:
        return

    def write() -> None:
        with contextlib.suppress(OSError, ValueError), pipe:  # it doesn't want all of it
            pipe.write(stdin)

    threading.Thread(target=write, daemon=True).start()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """While a program runs, a signal that would end us at once ends the program first.

    Only where nobody has said what such a signal is to do; whoever has (the command line) raises, and an
    exception ends the program just as well.
    """
    if not GROUP or threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        for child in list(_LIVING.values()):
            end(child, Politeness(seconds=1.0))
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    ours = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


# ---------------------------------------------------------------- while it runs


def _follow(
    streams: Streams,
    child: subprocess.Popen[bytes],
    until: float,
    seconds: float | None,
    limit: int | None,
    stop: threading.Event | None,
) -> int:
    """Take all that comes until both outputs are closed; return the most memory that was seen in use."""
    from patcher.base.machine import peak_memory  # here: most commands start no program

    peak, ended, silent, late = 0, False, 0, 0
    while streams.are_open:
        now = time.monotonic()
        if now > until:
            raise TimeUpError(f"gave no answer in {seconds:g} s")
        if stop is not None and stop.is_set():
            raise StoppedError("was stopped")
        ended = ended or _has_ended(child)
        if streams.take(_TICK):
            late += ended
        else:
            silent += ended
            peak = max(peak, peak_memory(child.pid))
        # A daemon that it has started holds its output open. Counted by turns, not by the clock: a machine
        # that stood still has all that the program said before its end still to hand on.
        if silent * _TICK > _LINGER or late > PENDING:
            break
        if limit is not None and streams.most > limit:
            raise TooMuchError(f"says more than {limit >> 20} MB")
    return peak


# ---------------------------------------------------------------- the end


def _until(start: float, seconds: float | None) -> float:
    return float("inf") if seconds is None else start + seconds


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether it has, without reaping it: its number stays its own."""
    if not hasattr(os, "waitid"):
        return child.poll() is not None
    try:
        return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _reaped(child: subprocess.Popen[bytes], until: float, seconds: float | None) -> int:
    """Wait for the end; the peak of resident memory in bytes."""
    pause = 0.0005
    while True:
        if hasattr(os, "wait4"):
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        elif child.poll() is not None:
            return 0
        if time.monotonic() > until:
            raise TimeUpError(f"gave no answer in {seconds:g} s")
        time.sleep(pause)
        pause = min(2 * pause, _TICK)


def _own_peak() -> int:
    if not hasattr(os, "wait4"):
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _close(child: subprocess.Popen[bytes]) -> None:
    for stream in (child.stdout, child.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
