"""What this machine has and lacks for each step, and the command that installs what it lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from patcher.doctor import hardware, linkers, network, tools
from patcher.doctor.check import Examination, Health
from patcher.doctor.linkers import blindness

__all__ = ["Examination", "Health", "blindness", "examine", "healthy"]

_GROUPS: tuple[Callable[[], Iterator[Examination]], ...] = (
    tools.base,
    tools.builders,
    linkers.checks,
    tools.cross,
    hardware.processor,
    tools.known_fixes,
    hardware.room,
)


def examine(*, offline: bool = False) -> list[Examination]:
    """Look at everything; the network only where not ``offline``. Nothing is installed or changed."""
    groups = (*_GROUPS, network.checks) if not offline else _GROUPS
    return [check for group in groups for check in group()]


def healthy(checks: list[Examination]) -> bool:
    """Whether nothing that a step needs is missing."""
    return all(check.state is not Health.MISSING for check in checks)
