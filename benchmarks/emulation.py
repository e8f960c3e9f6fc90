"""How often --emulate's verdict differs from the linker's own, on random link lines.

    python -m benchmarks.emulation --lines 2000 --seed 1

A verdict is wrong where one refuses and the other links, or where the symbols differ that are named. Lines
that a linker refuses for another reason (two definitions, an option that it lacks) count as such, and are
compared no further.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import which

from benchmarks.link_lines import MANGLED, NAMES, Line, link_line
from patcher.symbols.emulate import linker_named, refusals
from patcher.symbols.emulate.commandline import parse
from patcher.symbols.emulate.linkers import parse_version
from patcher.symbols.scope import Library
from patcher.symbols.search import Search

PROGRAMS = [
    ("bfd", "ld.bfd"), ("gold", "ld.gold"), ("mold", "ld.mold"), ("lld", "ld.lld"),
    *(("lld", f"ld.lld-{number}") for number in range(13, 30)),
]  # fmt: skip
# Lines in a linker's output that name the symbol that it misses; the others say where it is wanted.
COMPLAINT = re.compile(
    r"undefined|unresolvable symbol|(?:hidden|local|internal) symbol|non-exported|not defined|"
    r"symbol not found|not found: symbol"
)
# Reasons for a refusal that are nothing to do with symbols that are missing.
OTHER = re.compile(
    r"multiple definition|duplicate symbol|duplicate definition|relocation|reloc against|TLS|mismatch|"
    r"internal error|Assertion|PLEASE submit|cannot preempt|copy reloc|interpos|dangerous|no such version"
)
# What a line may name beside the names that all its parts share.
OTHERS = ("nowhere", "main", "__tls_get_addr", "api::nothing()")
_PLAIN = ("--no-demangle",)  # names as they are in the objects
_WHERE = re.compile(r"function \w+:|referenced by \S+|>>> .*|\(\.[\w.]+\+?\w*\)|in function `\w+'")


@cache
def linkers() -> dict[str, str]:
    """Name for --emulate -> program, of each linker that is there, each version once."""
    found: dict[str, str] = {}
    for family, program in PROGRAMS:
        if which(program) is None:
            continue
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        version = parse_version(family, done.stdout.partition("\n")[0])
        if version is not None:
            found.setdefault(f"{family}-{version[0]}.{version[1]}", program)
    return found


@dataclass(frozen=True)
class Answer:
    """Whether the line is refused, and over which symbols; ``other`` is another reason."""

    refused: bool
    symbols: frozenset[str] = frozenset()
    other: str = ""


def asked(program: str, line: Line, folder: Path) -> Answer:
    """What a real linker says."""
    done = subprocess.run(
        [program, *_PLAIN, "-o", "out", *line.arguments], cwd=folder, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    lines = [one for one in done.stderr.splitlines() if "warning: " not in one]
    text = "\n".join(_WHERE.sub("", one) for one in lines if COMPLAINT.search(one))
    names = {
        name
        for name in (*NAMES, *(f"__wrap_{one}" for one in NAMES), *MANGLED.values(), *OTHERS)
        if re.search(rf"(?<![\w/.]){re.escape(name)}(?![\w(.])", text)
    }
    if not done.returncode:
        return Answer(False)
    other = next((one for one in lines if OTHER.search(one)), "")
    if done.returncode < 0:
        other = f"signal {-done.returncode}"
    return Answer(True, frozenset(names), other)


def emulated(name: str, line: Line, folder: Path) -> Answer:
    """What we say that it says."""
    ours = refusals(parse([*_PLAIN, *line.arguments], folder), linker_named(name), Library(Search()))
    return Answer(bool(ours), frozenset(one.symbol.partition("@")[0] for one in ours) - {""})


@dataclass(frozen=True)
class Compared:
    """One line and one linker."""

    seed: int
    linker: str
    real: Answer
    ours: Answer

    @property
    def verdict(self) -> str:
        """``same``, ``other`` (refused for another reason), ``names`` or ``wrong``."""
        if self.real.other:
            return "other"
        if self.real.refused != self.ours.refused:
            return "wrong"
        return "same" if self.real.symbols == self.ours.symbols else "names"


def compare(seed: int) -> list[Compared]:
    """The line of ``seed`` under every linker."""
    line = link_line(seed)
    with tempfile.TemporaryDirectory(prefix="link-line-") as name:
        folder = Path(name)
        line.build(folder)
        return [
            Compared(seed, linker, asked(program, line, folder), emulated(linker, line, folder))
            for linker, program in linkers().items()
        ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--show", type=int, default=0, help="so many wrong ones in full")
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = {name: Counter() for name in linkers()}
    shown = 0
    seeds = range(options.seed, options.seed + options.lines)
    with ProcessPoolExecutor(options.jobs) as pool:
        for compared in pool.map(compare, seeds, chunksize=8):
            for one in compared:
                counts[one.linker][one.verdict] += 1
                if one.verdict in ("wrong", "names") and shown < options.show:
                    shown += 1
                    print(f"{one.verdict} seed {one.seed} {one.linker}\n  {link_line(one.seed).text}")
                    print(f"  real {one.real}\n  ours {one.ours}")
    for name, count in counts.items():
        judged = sum(count.values()) - count["other"]
        share = count["wrong"] / max(1, judged)
        print(
            f"{name}: {judged} judged, {count['wrong']} wrong ({share:.2%}), "
            f"{count['names']} names, {count['other']} other"
        )
    return 1 if any(count["wrong"] for count in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
