"""One way in which an upstream, or a hand, may change a program."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One way to change the program. ``lands``: a human would still know where every edit goes.

    ``files`` says in which files the changed program lies, by path; in its own where None.
    """

    name: str
    change: Callable[[bytes], bytes]
    lands: bool
    files: Callable[[bytes], Mapping[str, bytes]] | None = None


def sub(name: str, pattern: str, to: str, *, lands: bool, count: int = 0) -> Mutation:
    """The mutation that replaces ``pattern`` by ``to``, wherever it stands or the first ``count`` times."""

    def change(data: bytes) -> bytes:
        return re.sub(pattern.encode(), to.encode(), data, count=count, flags=re.MULTILINE)

    return Mutation(name, change, lands)
