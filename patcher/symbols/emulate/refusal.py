"""One complaint of a linker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Refusal:
    """One complaint that ends the link. ``symbol`` is empty where it isn't about one."""

    symbol: str
    user: Path | None
    why: str
    unexported: bool = False
    fatal: bool = False  # whatever is allowed
    ends: bool = False  # the linker looks no further, and so says nothing of the rest
