"""Record a command in a terminal of its own and draw what it left on the screen as an SVG picture.

    python docs/record.py docs/pictures/run.svg -- q8a8-patch run --source npm:node-llama-cpp@3.22.1

The picture shows the command, then its real output; nothing is typed in by hand.
"""

from __future__ import annotations

import io
import os
import pty
import re
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 110
_ERASED = re.compile(r"[^\n]*\x1b\[2K")  # a progress line that was taken back
_UP = re.compile(r"^(?:\r|\x1b\[\?25[hl])*\x1b\[1A\x1b\[2K")  # the line above is taken back
_CURSOR = re.compile(r"\x1b\[\d*[A-HJKfs]|\x1b\[\?\d+[hl]|\r")


def record(command: list[str]) -> tuple[int, str]:
    """Run ``command`` in a pseudo-terminal: its exit status, and all that it wrote."""
    seen = io.BytesIO()

    def read(handle: int) -> bytes:
        data = os.read(handle, 65536)
        seen.write(data)
        return data

    os.environ |= {"COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    status = os.waitstatus_to_exitcode(pty.spawn(command, read))
    return status, seen.getvalue().decode("utf-8", "replace")


def settled(output: str) -> str:
    """What stays on the screen: progress that was erased is gone, colours stay."""
    lines: list[str] = []
    for line in output.replace("\r\n", "\n").split("\n"):
        if _UP.match(line) and lines:
            lines.pop()
        lines.append(_CURSOR.sub("", _ERASED.sub("", line)))
    return "\n".join(line for line in lines if re.sub(r"\x1b\[[\d;]*m", "", line).strip())


def main() -> int:
    if len(sys.argv) < 4 or sys.argv[2] != "--":
        print(__doc__, file=sys.stderr)
        return 2
    picture, command = Path(sys.argv[1]), sys.argv[3:]
    status, output = record(command)
    draw(picture, command, output)
    return status


def draw(picture: Path, command: list[str], output: str) -> None:
    """Write the SVG: the command, then what is left of its output."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ ", "bold green") + Text(shlex.join([Path(command[0]).name, *command[1:]]), "bold"))
    console.print(Text.from_ansi(settled(output)))
    svg = console.export_svg(title="q8a8-patch")
    # the fonts that rich names are fetched from elsewhere: a picture should need nothing
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
