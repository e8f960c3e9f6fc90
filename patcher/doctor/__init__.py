"""What this machine has and lacks for each step, and the command that installs what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from patcher.doctor import hardware, linkers, network, tools
from patcher.doctor.check import Check, State
from patcher.doctor.linkers import blindness

__all__ = ["Check", "State", "blindness", "examine", "healthy"]

_GROUPS: tuple[Callable[[], Iterator[Check]], ...] = (
    tools.base,
    tools.builders,
    linkers.checks,
    tools.cross,
    hardware.processor,
    tools.known_fixes,
    hardware.room,
)


def examine(*, offline: bool = False) -> list[Check]:
    """Look at everything; the network only where not ``offline``. Nothing is installed or changed."""
    groups = (*_GROUPS, network.checks) if not offline else _GROUPS
    return [check for group in groups for check in group()]


def healthy(checks: list[Check]) -> bool:
    """Whether nothing that a step needs is missing."""
    return all(check.state is not State.MISSING for check in checks)
