"""One thing that was looked at, and how programs are asked."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from patcher.base import processes
from patcher.base.environment import networked
from patcher.base.packages import install_commands

PROBE_SECONDS = 20.0


class Health(str, Enum):
    """How a thing is. The values are part of the JSON contract."""

    OK = "ok"
    WARNING = "warning"  # it is there, and something about it matters
    ABSENT = "absent"  # it is not there, and nothing fails for want of it
    MISSING = "missing"  # it is not there, and a step fails without it


@dataclass(frozen=True)
class Examination:
    """One thing that was looked at."""

    name: str
    state: Health
    found: str
    detail: str = ""
    install: dict[str, str] = field(default_factory=dict)  # system -> command, where something lacks

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "state": self.state.value}


def program(
    name: str, lacking: Health, detail: str, *, names: tuple[str, ...] = (), package: str | None = None
) -> Examination:
    """The first of ``names`` (or ``name``) that is on PATH; ``lacking``, with what installs it, for none."""
    for candidate in names or (name,):
        place = shutil.which(candidate)
        if place is not None:
            return Examination(name, Health.OK, f"{version(place)} ({place})")
    return Examination(name, lacking, "not found", detail, install_commands(package or name))


def version(place: str) -> str:
    """The version that a program says it has."""
    numbers = re.search(r"(?<!\d)\d+(?:\.\d+)+", said(place, "--version"))
    return numbers[0] if numbers else "version unknown"


def said(*command: str, seconds: float = PROBE_SECONDS, stdin: str | None = None) -> str:
    """What a program says on stdout; nothing where it fails, isn't there or takes too long."""
    try:
        done = processes.run(
            command,
            env=networked("PIP_.*|npm_config_.*", LC_ALL="C"),
            stdin=None if stdin is None else stdin.encode(),
            seconds=seconds,
            output=16 << 20,
        )
    except processes.ProcessError:
        return ""
    return done.text.strip() if done.code == 0 else ""
