"""How a reader's work grows with its input: the exponent, from the processor's time of two sizes."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from typing import TypeVar

Input = TypeVar("Input")

LINEAR = 1.7  # an exponent below is no square; measured ones of linear work are 0.9 to 1.2
NOTHING = 0.05  # seconds that are no measure of anything


def seconds(work: Callable[[], object]) -> float:
    """The processor's time of this process, the best of three: others on the machine don't count."""
    best = math.inf
    for _ in range(3):
        gc.collect()
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
        if best > 2:
            break
    return best


def exponent(make: Callable[[int], Input], work: Callable[[Input], object], size: int) -> float:
    """The power of the input's size that the time of ``work`` grows with, between ``size`` and four times it.

    Work that is done at once, however large, has the exponent 0.
    """
    small, large = make(size), make(4 * size)
    after = seconds(lambda: work(large))
    if after < NOTHING:
        return 0.0
    before = seconds(lambda: work(small))
    return math.log(after / max(before, 1e-6)) / math.log(4)
