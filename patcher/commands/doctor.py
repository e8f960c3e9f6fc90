"""``q8a8-patch doctor``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode

if TYPE_CHECKING:
    from patcher.doctor import Examination

_MARKS = {"ok": "green", "warning": "yellow", "absent": "blue", "missing": "red"}
_INDENT = " " * 33


@click.command("doctor")
@click.option(
    "--system",
    type=click.Choice(["debian", "fedora", "macos", "windows", "termux"]),
    help="Show the install commands of this system alone. [default: this one's first, then the others']",
)
@click.option("--offline", is_flag=True, help="Don't check whether the network can be reached.")
@common_options
def command(system: str | None, offline: bool, output: Output) -> int:
    """Say what this machine has and lacks, and the command that installs what is missing.

    Exit code 1 where a required tool is missing. Example: q8a8-patch doctor --offline
    """
    from patcher import doctor
    from patcher.base import packages

    with output.reporter.step("Looking around"):
        checks = doctor.examine(offline=offline)
    sound = doctor.healthy(checks)

    def text() -> str:
        lines: list[str] = []
        for check in checks:
            lines += _lines(check, packages.SYSTEMS, system)
        lines.append("everything that is needed is there" if sound else "something that is needed is missing")
        return "\n".join(lines)

    document = {
        "healthy": sound,
        "system": packages.system(),
        "checks": [check.document() for check in checks],
    }
    output.emit(document, text)
    return ExitCode.OK if sound else ExitCode.FINDINGS


def _lines(check: Examination, systems: Mapping[str, str], only: str | None) -> list[str]:
    state = check.state.value
    word = f"{state.upper() if state == 'missing' else state:<7}"
    lines = [f"{click.style(word, fg=_MARKS[state])}  {check.name:<22} {check.found}"]
    lines += [f"{_INDENT}{check.detail}"] if check.detail else []
    install = {key: command for key, command in check.install.items() if only in (None, key)}
    shown = [f"{systems[key]}: {command}" for key, command in install.items()]
    if shown:
        lines.append(f"{_INDENT}{shown[0]}")
        lines += [click.style(f"{_INDENT}{other}", dim=True) for other in shown[1:]]
    return lines
