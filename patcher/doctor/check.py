"""One thing that was looked at, and how programs are asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from patcher.base.packages import install_commands

PROBE_SECONDS = 20.0


class State(str, Enum):
    """How a thing is. The values are part of the JSON contract."""

    OK = "ok"
    WARNING = "warning"  # it is there, and something about it matters
    ABSENT = "absent"  # it is not there, and nothing fails for want of it
    MISSING = "missing"  # it is not there, and a step fails without it


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    detail: str = ""
    install: dict[str, str] = field(default_factory=dict)  # system -> command, where something lacks

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "state": self.state.value}


def program(
    name: str, lacking: State, detail: str, *, names: tuple[str, ...] = (), package: str | None = None
) -> Check:
    """The first of ``names`` (or ``name``) that is on PATH; ``lacking``, with what installs it, for none."""
    for candidate in names or (name,):
        place = shutil.which(candidate)
        if place is not None:
            return Check(name, State.OK, f"{version(place)} ({place})")
    return Check(name, lacking, "not found", detail, install_commands(package or name))


def version(place: str) -> str:
    """The version that a program says it has."""
    numbers = re.search(r"(?<!\d)\d+(?:\.\d+)+", said(place, "--version"))
    return numbers[0] if numbers else "version unknown"


def said(*command: str, seconds: float = PROBE_SECONDS, stdin: str | None = None) -> str:
    """What a program says on stdout; nothing where it fails, isn't there or takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False,
            env=os.environ | {"LC_ALL": "C"},
            **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
