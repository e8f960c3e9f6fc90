"""How fast verify-symbols is, as whole processes, and how far it agrees with ``ldd -r``.

    python benchmarks/symbols.py BUILD_BIN [--sample 300] [--write docs/symbols/agreement.md]

Every time is the best of several runs in turn, so that a busy machine hurts all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from patcher.base.files import write_wanted
from patcher.base.machine import peak_memory
from patcher.symbols import SearchOptions, check
from patcher.symbols.elf import ET_DYN, ET_EXEC, UnreadableElfError, is_elf, read

_SCRIPT = Path(sys.executable).with_name("q8a8-patch")
_START = (str(_SCRIPT),) if _SCRIPT.exists() else (sys.executable, "-m", "patcher")
TOOL = (*_START, "verify-symbols", "-q")
MACHINE = (Path("/usr/lib/x86_64-linux-gnu"), Path("/usr/bin"))
BROKEN = ("undefined-symbol", "hidden-definition", "version-mismatch", "library-not-found")


@dataclass
class Timing:
    """Best wall and processor time of a command, in seconds, and its peak memory, in MB."""

    wall: float = float("inf")
    cpu: float = float("inf")
    megabytes: float = 0.0
    output: str = ""

    def once(self, command: Sequence[str]) -> None:
        """Run it once more."""
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
            assert child.stdout is not None
            self.output = child.stdout.read()
            _, _, usage = os.wait4(child.pid, 0)
            child.returncode = 0
        self.wall = min(self.wall, time.perf_counter() - start)
        self.cpu = min(self.cpu, usage.ru_utime + usage.ru_stime)

    def weigh(self, command: Sequence[str]) -> None:
        """Run it once more for its memory: wait4's ru_maxrss counts this process, too, from before exec."""
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            while child.poll() is None:
                self.megabytes = max(
                    self.megabytes, *(peak_memory(one) / (1 << 20) for one in _family(child.pid))
                )
                time.sleep(0.001)


def _family(pid: int) -> list[int]:
    """A process and its children, as ldd has."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        children = []
    return [pid, *map(int, children)]


def race(commands: dict[str, Sequence[str]], rounds: int) -> dict[str, Timing]:
    """All commands in turn, ``rounds`` times."""
    times = {name: Timing() for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].once(command)
    for name, command in commands.items():
        times[name].weigh(command)
    return times


def elf_files(folder: Path) -> list[Path]:
    """The programs and libraries below a folder, each once."""
    found: dict[Path, None] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and is_elf(path):
            found[path.resolve()] = None
    return list(found)


@dataclass
class Agreement:
    """What ``ldd -r`` and we say of the same files."""

    same: int = 0
    broken: int = 0  # of those: both name the same symbols
    plugins: int = 0  # of those: we name the host that has what ldd lists
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)


def ldd(path: Path) -> set[str]:
    """What ``ldd -r`` complains of: symbols, and libraries that it doesn't find."""
    done = subprocess.run(
        ["ldd", "-r", str(path)], check=False, capture_output=True, text=True, errors="replace"
    )
    text = done.stdout + done.stderr
    said = {found[1].strip() for found in re.finditer(r"undefined symbol: ([^\t\n(,]+)", text)}
    said |= {found[1] for found in re.finditer(r"symbol (\S+), version \S+ not defined", text)}
    said |= {found[1] for found in re.finditer(r"^\s*(\S+) => not found", text, re.M)}
    if "not a dynamic executable" in text or "exited with unknown exit code" in text:
        said.add("(ldd can't)")
    return said


def agree(sample: Sequence[Path]) -> Agreement:
    """Compare file by file."""
    result = Agreement()
    for path in sample:
        theirs = ldd(path)
        report = check([path], options=SearchOptions.from_environment())
        ours = {one.symbol.partition("@")[0] for one in report.findings if one.rule in BROKEN}
        if ours == theirs:
            result.same += 1
            result.broken += bool(ours)
            continue
        if ours < theirs and any(one.rule == "host-not-named" for one in report.findings):
            result.same += 1
            result.plugins += 1
            continue
        more, fewer = sorted(ours - theirs), sorted(theirs - ours)
        why = reason(path, ours, theirs)
        result.kinds[why] = result.kinds.get(why, 0) + 1
        result.rows.append((path.name, _few(more), _few(fewer), why))
    return result


def reason(path: Path, ours: set[str], theirs: set[str]) -> str:
    """Why the two differ on one file, as far as its shape tells."""
    item = read(path)
    if "(ldd can't)" in theirs:
        if not item.dynamic or not item.needed:
            return "a static program or one without NEEDED: ldd has nothing to load"
        return "ldd can't load it as a program (another machine, or a loader of its own)"
    gone = [one.symbol for one in check([path]).findings if one.rule == "library-not-found"]
    if gone:
        return "a library is missing: we don't guess which symbols it would define, ldd lists them"
    if ours > theirs:
        return "not bound by any relocation: the loader never looks these symbols up"
    return "unexplained"


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def main() -> None:
    """Run it all; print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path)
    parser.add_argument("--llvm", type=Path, default=MACHINE[0] / "libLLVM-14.so.1")
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    # an installed package has its bytecode; a checkout may be told not to write any
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = tempfile.mkdtemp(prefix="q8a8-bytecode-")
    subprocess.run((*TOOL, sys.executable), check=False, capture_output=True)
    command = (
        f"python benchmarks/symbols.py build/bin --sample {options.sample} --seed {options.seed}"
        f" --rounds {options.rounds} --write docs/symbols/agreement.md"
    )
    lines = ["# verify-symbols: speed, and agreement with `ldd -r`", "", f"Made by `{command}`.", ""]
    lines += ["| what | wall s | processor s | peak MB |", "|---|---|---|---|"]

    def row(name: str, timing: Timing) -> None:
        lines.append(f"| {name} | {timing.wall:.3f} | {timing.cpu:.3f} | {timing.megabytes:.0f} |")
        print(lines[-1], flush=True)

    build = elf_files(options.build)
    times = race(
        {"ours": (*TOOL, str(options.build)), "ldd": ("ldd", "-r", *map(str, build))}, options.rounds
    )
    row(f"llama.cpp build folder, {len(build)} files: verify-symbols", times["ours"])
    row("the same files: `ldd -r`", times["ldd"])
    programs = random.Random(options.seed).sample(elf_files(MACHINE[1]), 100)  # noqa: S311
    names = [str(path) for path in programs]
    times = race({"ours": (*TOOL, *names), "ldd": ("ldd", "-r", *names)}, options.rounds)
    row(f"100 random programs of {MACHINE[1]}: verify-symbols", times["ours"])
    row("the same files: `ldd -r`", times["ldd"])
    if options.llvm.exists():
        times = race(
            {"ours": (*TOOL, str(options.llvm)), "nm": ("nm", "-D", str(options.llvm))}, options.rounds
        )
        row(f"{options.llvm.name}: verify-symbols", times["ours"])
        row("the same: `nm -D`", times["nm"])
        ratio = times["ours"].wall / times["nm"].wall
        lines.append(f"| ratio to `nm -D` | {ratio:.2f} | {times['ours'].cpu / times['nm'].cpu:.2f} | |")
    machine = Timing()
    machine.once((*TOOL, "--json", *map(str, MACHINE)))
    machine.weigh((*TOOL, "--json", *map(str, MACHINE)))
    objects = json.loads(machine.output)["objects"]
    row(f"all of {' and '.join(map(str, MACHINE))}, {objects} objects", machine)
    lines.append(f"| objects per second | {objects / machine.wall:.0f} | {objects / machine.cpu:.0f} | |")
    everything = [path for folder in MACHINE for path in elf_files(folder)]
    usable = []
    for path in everything:
        try:
            if read(path).type in (ET_DYN, ET_EXEC):
                usable.append(path)
        except UnreadableElfError:
            continue
    sample = random.Random(options.seed).sample(usable, min(options.sample, len(usable)))  # noqa: S311
    result = agree(sample)
    all_of_them = len(sample) == len(usable)
    which = f"all {len(usable)}" if all_of_them else f"{len(sample)} random of the {len(usable)}"
    table = ["| file | only we say | only `ldd -r` says | why |", "|---|---|---|---|"]
    table += [f"| {' | '.join(cells)} |" for cells in result.rows]
    lines += [
        "",
        f"Of {which} files there, {result.same} have the same verdict from both"
        f" ({result.broken} of them with symbols that are undefined; for {result.plugins} more we name the"
        f" program that opens them and has what `ldd` lists), {len(result.rows)} differ"
        f"{':' if result.rows else '.'}",
        *(["", *table] if result.rows else []),
        "",
    ]
    print("\n".join(lines))
    if options.write is not None:
        write_wanted(options.write, "\n".join(lines))


if __name__ == "__main__":
    main()
