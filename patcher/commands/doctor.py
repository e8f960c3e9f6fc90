"""``q8a8-patch doctor``."""

from __future__ import annotations

import click

from patcher.console import Output, common_options
from patcher.errors import ExitCode


@click.command("doctor")
@click.option(
    "--system",
    type=click.Choice(["debian", "fedora", "macos", "windows", "termux", "all"]),
    help="Whose install commands to show. [default: this machine's]",
)
@common_options
def command(system: str | None, output: Output) -> int:
    """Say what this machine has and lacks, and the command that installs each lack.

    Exit code 1 where a step can't work for want of something. Example: q8a8-patch doctor --json
    """
    from patcher import doctor, packages

    checks = doctor.examine()
    sound = doctor.healthy(checks)
    wanted = packages.SYSTEMS if system == "all" else {system or packages.system() or "debian": ""}

    def text() -> str:
        marks = {
            doctor.State.OK: ("ok     ", "green"),
            doctor.State.WARNING: ("warning", "yellow"),
            doctor.State.ABSENT: ("absent ", "blue"),
            doctor.State.MISSING: ("MISSING", "red"),
        }
        lines = []
        for check in checks:
            mark, color = marks[check.state]
            lines.append(f"{click.style(mark, fg=color)}  {check.name:<22} {check.found}")
            lines += [f"{'':33}{check.detail}"] if check.detail else []
            lines += [
                f"{'':33}{packages.SYSTEMS[key]}: {check.install[key]}"
                for key in wanted
                if key in check.install
            ]
        lines.append("everything that is needed is there" if sound else "something that is needed is missing")
        return "\n".join(lines)

    document = {
        "healthy": sound,
        "system": packages.system(),
        "checks": [check.document() for check in checks],
    }
    output.emit(document, text)
    return ExitCode.OK if sound else ExitCode.FINDINGS
