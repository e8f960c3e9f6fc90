"""Where in a row something begins to be refused, found by asking about few of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

NEAR = 64  # changes before the newest that are asked about one by one, where longer steps found nothing good


def near(refused: Callable[[int], bool], newest: int, changed: Sequence[int]) -> tuple[int, int] | None:
    """:func:`halved`; where it was answered with nothing but refusals, the last positions before a change
    (``changed``, ascending) are asked about in turn: what was good for a short while lies between the steps.
    """
    found = halved(refused, newest)
    nearest = reversed(changed[-NEAR:])
    return found or next(((good, good + 1) for good in nearest if not refused(good)), None)


def halved(refused: Callable[[int], bool], newest: int) -> tuple[int, int] | None:
    """Of ``newest``, which is refused: the last that isn't before it, and the first that is from there on.

    What is looked at first is near: history may begin with revisions that were never fit for the type.
    None where every one that is looked at is refused.
    """
    bad, step = newest, 1
    while True:
        good = max(0, newest - step)
        if not refused(good):
            break
        bad = good
        if good == 0:
            return None
        step *= 2
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (good, middle) if refused(middle) else (middle, bad)
    return good, bad
