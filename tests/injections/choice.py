"""Which injections are run: a seeded sample, or a part of all."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.injections.shim import ERRORS, SIGNALS, STAYS_FULL, Injection

Chosen = list[tuple[str, Injection, int]]
_SAMPLED = "apply, every file"  # its calls are those of apply, more often


def every(calls: dict[str, list[str]]) -> Chosen:
    """Each signal and error at each writing call of each command (of the largest one every 15th)."""
    found: Chosen = []
    for name, names in calls.items():
        for turn in range(1, len(names) + 1, 15 if name == _SAMPLED else 1):
            found += [(name, Injection(what, turn), turn) for what in (*SIGNALS, *ERRORS, STAYS_FULL)]
    return found


def chosen(choice: str) -> Callable[[dict[str, list[str]]], Chosen]:
    """``seed:N:COUNT`` or ``all:PART/OF``."""
    kind, _, rest = choice.partition(":")
    if kind == "seed":
        seed, count = map(int, rest.split(":"))
        return lambda calls: random.Random(seed).sample(every(calls), count)  # noqa: S311 - no secret
    part, of = map(int, rest.split("/"))
    return lambda calls: every(calls)[part::of]
