"""Walks through a page as a reader would: its shell blocks one after another, their output as shown.

    python -m tests.pages PAGE [--in FOLDER] [--renew]

A block of ``sh`` is run in one shell with those before it; it has to end well. A block of ``text`` right behind it
is what it prints: a number stands for any number, several spaces for any number of them; in a line, ``…`` for
anything; a line that is ``…`` alone, for any lines. What the shell knows is kept from block to block. ``<!-- walk: skip (reason) -->`` before a block leaves it out, and
``<!-- walk: file NAME -->`` makes the block that file. With ``--renew`` the page gets the numbers of this run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SHELLS = ("sh", "bash", "console")
_QUIET = {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}  # pip's advice is of the day, no output of a page
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w+-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S
)
_MARK = re.compile(r"<!-- walk: (?P<what>skip|file) (?P<rest>[^\n]+?) -->\s*\Z")

# where long work is, each half minute without a terminal: how often is the machine's
_PROGRESS = re.compile(r"[^:]+: (?:\d+ s so far|\d+ of \d+|\d+ done)(?: \(.*\))?")

_NUMBER = r"\d(?:[\d.,]*\d)?"
_ANY = {"…": ".*", "  ": " +", "─": "─+"} | dict.fromkeys("0123456789", f"({_NUMBER})")


@dataclass(frozen=True)
class Block:
    """One fenced block. ``line`` counts from 1; ``mark`` is what a comment before it says of it."""

    language: str
    text: str
    line: int
    mark: tuple[str, str] | None = None
    follows: bool = False  # nothing but white space between it and the block before

    @property
    def is_shell(self) -> bool:
        """Whether it is run."""
        return self.language in SHELLS and self.mark is None


class WalkError(Exception):
    """A block failed, or printed something else."""


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a Markdown page."""
    found: list[Block] = []
    end = 0
    for match in _FENCE.finditer(page):
        before = page[end : match.start()]
        mark = _MARK.search(before)
        indent = match["indent"]
        text = "".join(line.removeprefix(indent) for line in match["body"].splitlines(keepends=True))
        found.append(
            Block(
                match["language"],
                text,
                page.count("\n", 0, match.start()) + 1,
                (mark["what"], mark["rest"]) if mark else None,
                bool(found) and not before.strip(),
            )
        )
        end = match.end()
    return found


def steps(page: str) -> Iterator[tuple[Block, str | None]]:
    """The blocks to run or write, each with the output that the page shows for it, if it does."""
    every = blocks(page)
    for number, block in enumerate(every):
        if block.mark is not None and block.mark[0] == "file":
            yield block, None
        if not block.is_shell:
            continue
        after = every[number + 1] if number + 1 < len(every) else None
        shown = after is not None and after.language == "text" and after.follows
        yield block, after.text if shown and after is not None else None


def agrees(shown: str, printed: str) -> bool:
    """Whether ``printed`` is what a page shows, white space at line ends apart."""
    return _match(shown, printed) is not None


def renewed(shown: str, printed: str) -> str:
    """``shown`` with the numbers that were ``printed``, which agrees with it; all else stays as it is written."""
    match = _match(shown, printed)
    numbers = iter(match.groups() if match is not None else ())
    return re.sub(_NUMBER, lambda old: next(numbers, old[0]), shown)


def _match(shown: str, printed: str) -> re.Match[str] | None:
    lines = [line.rstrip() for line in shown.strip().splitlines()]
    pattern = ""
    for line in lines:
        if line == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            parts = re.split(rf"(…|{_NUMBER}|  +|─+)", line)
            pattern += (
                "".join(_ANY.get(part[:2], _ANY.get(part[:1], re.escape(part))) for part in parts) + r"\n"
            )
    kept = (line for line in printed.strip().splitlines() if not _PROGRESS.fullmatch(line.rstrip()))
    said = "".join(f"{line.rstrip()}\n" for line in kept)
    return re.fullmatch(pattern, said)


def walk(
    path: Path,
    folder: Path,
    environment: Mapping[str, str],
    *,
    seconds: float = 1800,
    renew: dict[str, str] | None = None,
) -> Iterator[tuple[Block, float]]:
    """Do what the page says, in ``folder``; gives each block and the seconds that it took.

    ``renew`` receives each output that the page shows with the numbers of this run.

    Raises :class:`WalkError` with the block's place, and what was printed.
    """
    state = folder / ".walk"
    state.write_text("", encoding="utf-8")
    for block, shown in steps(path.read_text(encoding="utf-8")):
        place = f"{path.name}:{block.line}"
        if block.mark is not None:
            (folder / block.mark[1]).write_text(block.text, encoding="utf-8")
            continue
        # the shell's variables and its folder go on to the next block, as in the reader's one terminal
        script = f'set -ea; . "{state}"; set +a\n{block.text}\n{{ export -p; printf "cd %q\\n" "$PWD"; }} > "{state}"'
        start = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env={**environment, **_QUIET},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
        )
        if done.returncode != 0:
            raise WalkError(f"{place}: exit code {done.returncode}\n{block.text}\n{done.stdout[-3000:]}")
        if shown is not None and not agrees(shown, done.stdout):
            raise WalkError(f"{place}: the page shows\n{shown}\nand this is printed\n{done.stdout[-3000:]}")
        if shown is not None and renew is not None:
            renew[shown] = renewed(shown, done.stdout)
        yield block, time.monotonic() - start
    state.unlink()


def main(arguments: list[str]) -> int:
    """Exit code 1 where a block fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.pages")
    parser.add_argument("page", type=Path)
    parser.add_argument("--in", dest="folder", type=Path, default=Path())
    parser.add_argument("--renew", action="store_true")
    options = parser.parse_args(arguments)
    renew: dict[str, str] = {}
    try:
        for block, seconds in walk(options.page, options.folder.resolve(), os.environ, renew=renew):
            first = block.text.strip().splitlines()[0]
            print(f"{options.page.name}:{block.line:<4} {seconds:7.1f} s  {first}", flush=True)
    except WalkError as why:
        print(f"error: {why}", file=sys.stderr)
        return 1
    if options.renew:
        page = options.page.read_text(encoding="utf-8")
        for shown, said in renew.items():
            page = page.replace(f"```text\n{shown}```", f"```text\n{said}```")
        options.page.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
