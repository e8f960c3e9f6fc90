"""Being asked to end: by Ctrl-C, by a cancelled job (SIGTERM), by a terminal that closes (SIGHUP).

All three become one exception, so that whatever tidies up behind Ctrl-C (children are ended, drafts removed)
tidies up behind the others. Where a few steps belong together, they are held until the steps are done.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """Somebody asked us to end, by signal ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def exit_code(why: BaseException | None) -> int:
    """What the shell expects of a program that ``why`` has ended: 128 and the signal's number."""
    while why is not None:
        if isinstance(why, Interrupted):
            return 128 + why.number
        why = why.__cause__ or why.__context__
    return 128 + signal.SIGINT


def listen() -> None:
    """Turn the three signals into :class:`Interrupted` from now on; one that is ignored (nohup) stays so.

    Only the first SIGTERM or SIGHUP counts: services send several, and the second must not cut the tidying
    up that the first began. A second Ctrl-C does.
    """
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _raise)


def _raise(number: int, _: FrameType | None) -> None:
    for other in SIGNALS:
        if other != signal.SIGINT and signal.getsignal(other) is _raise:
            signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number)


class Hold:
    """The signals that came while they were held."""

    def __init__(self) -> None:
        self.came: list[int] = []

    def check(self) -> None:
        """Raise :class:`Interrupted` where one came: between two steps, of which the first can be undone."""
        if self.came:
            raise Interrupted(self.came.pop(0))

    def note(self, number: int, _: FrameType | None) -> None:
        """A signal's handler: remember it."""
        self.came.append(number)


@contextmanager
def held() -> Iterator[Hold]:
    """Let no signal in until the block is done; then it has the effect that it would have had."""
    import threading  # not loaded where nothing has to be held

    hold = Hold()
    if threading.current_thread() is not threading.main_thread():
        yield hold  # handlers run in the main thread only: nothing can come between here
        return
    before: dict[int, Any] = {}
    try:
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if handler not in (signal.SIG_IGN, None):
                before[number] = handler
                signal.signal(number, hold.note)
        yield hold
    finally:
        _restore(before)
        # what was raised by check() has been taken out; what came later is said again
        if hold.came:
            signal.raise_signal(hold.came[0])


def _restore(handlers: dict[int, Any]) -> None:
    """All handlers or none: a signal between two of them would leave the rest deaf."""
    mask = getattr(signal, "pthread_sigmask", None)
    blocked = mask(signal.SIG_BLOCK, SIGNALS) if mask else None
    for number, handler in handlers.items():
        signal.signal(number, handler)
    if mask:
        mask(signal.SIG_SETMASK, blocked)
