"""verify-symbols against real loaders, on files that others have made.

    python -m benchmarks.symbol_corpora modules FOLDER... --host PROGRAM [--before MODULE]...
    python -m benchmarks.symbol_corpora machine ROOT --loader 'qemu-arm ROOT/lib/ld-linux-armhf.so.3'
    python -m benchmarks.symbol_corpora machine ROOT --loader 'chroot ROOT /qemu-arm-static /lib/ld.so'

``modules``: every library below the folders is opened by ``dlopen(RTLD_NOW)`` in a process of its own, as
Python opens a module (``pip install --target FOLDER ...`` makes such a folder), or node an addon; any other
program gets a preloaded library that does it before the program's own code runs. ``--before`` names modules
that it opens first, for all (RTLD_GLOBAL).
``machine``: every program and library below ROOT, packages of another machine unpacked together, is loaded
by its own ``ld.so``, as ``ldd -r`` does. ``-L`` of qemu doesn't lead all calls into ROOT, ``statx`` in 7.2
not: where a loader of 32 bits asks with it, ``chroot`` and a static qemu in ROOT are needed. A verdict is
wrong where one says that it loads and the other not.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from patcher.symbols import SearchOptions, check
from patcher.symbols.elf import ET_DYN, ET_EXEC, UnreadableElfError, is_elf, read

BROKEN = ("undefined-symbol", "hidden-definition", "version-mismatch", "library-not-found", "unreadable-file",
          "host-not-named", "static-tls-refused")  # fmt: skip
_OPENS = {
    "python": "import os, sys, ctypes; ctypes.CDLL(sys.argv[1], os.RTLD_NOW)",
    "node": "process.dlopen({exports: {}}, process.argv[1], require('os').constants.dlopen.RTLD_NOW)",
}
# Opens $OPENED in whatever program it is preloaded into, behind what $BEFORE names.
_OPENER = """
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static void try(const char *path, int how) {
  if (dlopen(path, RTLD_NOW | how)) return;
  fprintf(stderr, "%s\\n", dlerror());
  _Exit(1);
}
__attribute__((constructor)) static void opener(void) {
  char *before = getenv("BEFORE");
  for (char *one = before ? strtok(before, ":") : 0; one; one = strtok(0, ":")) try(one, RTLD_GLOBAL);
  try(getenv("OPENED"), RTLD_LOCAL);
  _Exit(0);
}
"""
# What a loader says of a file that it can't load; all else that ends it is the file's own code running.
_REFUSED = re.compile(
    r"undefined symbol|cannot open shared object|version `|not defined in file|file too short|invalid ELF|"
    r"wrong ELF|static TLS"
)
_SECONDS = 60
Asks = Callable[[Path], "str | None"]  # why a file isn't loaded; "" where it is; None: it was ended otherwise


@dataclass
class Tally:
    """What both say of one corpus."""

    name: str
    files: int = 0
    refused: int = 0  # by both
    ended: int = 0  # neither loaded nor refused: the file's own code failed, or the loader can't be asked
    wrong: list[str] = field(default_factory=list)

    def row(self) -> str:
        """One line of the table."""
        cells = (self.name, self.files, self.files - self.refused - len(self.wrong), self.refused, self.ended,
                 len(self.wrong))  # fmt: skip
        return f"| {' | '.join(map(str, cells))} |"


def files(folders: Sequence[Path], sample: int, seed: int, *, programs: bool) -> list[Path]:
    """The ELF files below the folders, each once; of many a seeded sample."""
    found: dict[Path, None] = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or not is_elf(path):
            continue
        try:
            item = read(path)
        except UnreadableElfError:
            continue
        fits = item.dynamic and not item.debug and item.type in (ET_DYN, ET_EXEC)
        if fits and (programs or not item.executable):
            found[path.resolve()] = None
    every = list(found)
    chosen = random.Random(seed).sample(every, sample) if len(every) > sample else every  # noqa: S311
    return sorted(chosen)


def opened(host: Path) -> Asks:
    """Asks dlopen in a process of ``host``."""
    kind = "node" if host.name.startswith("node") else "python"

    def ask(path: Path) -> str | None:
        done = _run([str(host), *(("-e",) if kind == "node" else ("-c",)), _OPENS[kind], str(path)])
        if done is None or done[0] == 0:
            return None if done is None else ""
        text = next((line for line in done[1].splitlines() if _REFUSED.search(line)), "")
        return text or ("" if kind == "node" and "Module did not self-register" in done[1] else None)

    return ask


def preloaded(host: Path, before: Sequence[Path], folder: Path) -> Asks:
    """Asks dlopen in any program, through a library that is made in ``folder`` and preloaded."""
    source, opener = folder / "opener.c", folder / "opener.so"
    source.write_text(_OPENER)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", opener, source, "-ldl"], check=True)

    def ask(path: Path) -> str | None:
        first = ":".join(map(str, before))
        settings = [f"LD_PRELOAD={opener}", f"OPENED={path}", *([f"BEFORE={first}"] if first else [])]
        done = _run(["env", *settings, str(host), "--version"])
        if done is None or done[0] == 0:
            return None if done is None else ""
        return next((line for line in done[1].splitlines() if _REFUSED.search(line)), None)

    return ask


def loaded(loader: Sequence[str]) -> Asks:
    """Asks an ``ld.so``, under an emulator or not, in a ``chroot`` or not, as ``ldd -r`` does."""
    root = Path(loader[1]).resolve() if loader[0] == "chroot" else None
    start = 1 if root is None else 3
    environment = {
        "LD_TRACE_LOADED_OBJECTS": "1",
        "LD_WARN": "1",
        "LD_BIND_NOW": "1",
        "PATH": os.environ["PATH"],
    }
    words = [word for one in environment if one != "PATH" for word in ("-E", f"{one}={environment[one]}")]

    def ask(path: Path) -> str | None:
        there = str(path) if root is None else f"/{path.relative_to(root)}"
        done = _run([*loader[:start], *words, *loader[start:], there])
        if done is None:
            return None
        lines = done[1].splitlines()
        bad = [one for one in lines if "not found" in one or _REFUSED.search(one)]
        return bad[0].strip() if bad else "" if done[0] == 0 else None

    return ask


def _run(command: Sequence[str]) -> tuple[int, str] | None:
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, errors="replace", timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode, done.stdout + done.stderr


def compare(
    name: str, paths: Sequence[Path], ask: Asks, options: SearchOptions, hosts: Sequence[Path]
) -> Tally:
    """Both verdicts on each file."""
    tally = Tally(name)
    for path in paths:
        theirs = ask(path)
        if theirs is None:
            tally.ended += 1
            continue
        tally.files += 1
        report = check([path], options=options, hosts=hosts)
        ours = [one for one in report.findings if one.rule in BROKEN and one.severity == "error"]
        if bool(ours) == bool(theirs):
            tally.refused += bool(ours)
            continue
        said = f"{ours[0].rule} {ours[0].symbol} ({ours[0].chain[-1]})" if ours else "it loads"
        tally.wrong.append(f"{path}: the loader says {theirs or 'it loads'}; we say {said}")
    return tally


def main() -> int:
    """Compare, and print a row of the table in docs/symbols/agreement.md, with what differs below it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=("modules", "machine"))
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--name")
    parser.add_argument("--host", type=Path, default=Path(os.path.realpath(sys.executable)))
    parser.add_argument("--before", type=Path, action="append", default=[])
    parser.add_argument("--loader", default="")
    parser.add_argument("--sample", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.kind == "modules":
        paths = files(options.folders, options.sample, options.seed, programs=False)
        search = SearchOptions.from_environment()
        with tempfile.TemporaryDirectory(prefix="opener-") as folder:
            own = options.host.name.startswith(("python", "node"))
            ask = opened(options.host) if own else preloaded(options.host, options.before, Path(folder))
            hosts = [options.host, *options.before]
            tally = compare(options.name or "modules", paths, ask, search, hosts)
    else:
        paths = files(options.folders, options.sample, options.seed, programs=True)
        search = SearchOptions(sysroot=options.folders[0])
        tally = compare(options.name or "machine", paths, loaded(shlex.split(options.loader)), search, [])
    print(tally.row())
    print("\n".join(tally.wrong))
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
