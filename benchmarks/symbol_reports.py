"""Make docs/symbols/reports.md: what people report of loaders, what the loader says of it, and what we say.

    python -m benchmarks.symbol_reports [--abicheck PROGRAM] [--write docs/symbols/reports.md]

Each situation of ``tests/situations.py`` is built with this machine's compiler, the real loader is asked,
and so are we, and abicheck (``pip install abicheck``) where it is named. Exit code 1 where we differ.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from patcher.base.files import write_wanted
from patcher.base.printable import readable
from tests.linking import Workshop
from tests.situations import SITUATIONS, Scene, Situation

HEAD = """# What people report, and what is said of it

Made by `python -m benchmarks.symbol_reports --abicheck PROGRAM --write docs/symbols/reports.md` on this
machine's compiler and loader. Each situation is built from a few files (`tests/situations.py`), the real
loader is asked with `LD_BIND_NOW=1` or by `dlopen(RTLD_NOW)`, and so is `verify-symbols`, which runs
nothing. What agrees is the verdict: whether it loads.

Beside it stands what `abicheck deps tree FILE` (abicheck 0.7.0 of PyPI) says of the same files, given the
same `LD_LIBRARY_PATH` and started in the same folder: `loads` or `fails`, by its exit code, in brackets
where the loader says otherwise. It has no way to name a plugin's host, a library that is assumed, or an
entry that must be exported: those are left out (-). Its own work, to compare two versions of a library, is
not ours.

| situation | seen at | the loader says | we say | and advise | abicheck |
|---|---|---|---|---|---|
"""


def beside(program: Path | None, scene: Scene, *, loads: bool) -> str:
    """What abicheck says of the situation's files; a dash where it can't be asked."""
    if program is None or scene.hosts or scene.options.assumed or scene.demands.must_export:
        return "-"
    folders = scene.environment.get("LD_LIBRARY_PATH", "")
    more = ("--ld-library-path", folders) if folders else ()
    files = [one for path in scene.paths for one in (sorted(path.rglob("*.so")) if path.is_dir() else [path])]
    asked = [[program, "deps", "tree", file, *more] for file in files]
    codes = {
        subprocess.run(words, check=False, capture_output=True, cwd=scene.folder).returncode
        for words in asked
    }
    said = "fails" if 1 in codes else "loads" if codes == {0} else f"exit codes {codes}"
    return said if said == ("loads" if loads else "fails") else f"({said})"


def row(situation: Situation, folder: Path, abicheck: Path | None = None) -> tuple[str, bool]:
    """The line of one situation, and whether we say what the loader's word asks for."""
    scene = situation.make(Workshop(folder))
    loads, words = scene.truth()
    report = scene.verdict()
    found = situation.found(report)
    rules = situation.rule.split("|")
    mine = [one for one in found if one.rule in rules]
    shown = mine[0] if mine else None
    said = f"{shown.severity}: {shown.rule}: {shown.demangled}" if shown else "nothing: it loads"
    advice = "; ".join(part for part in (shown.detail, shown.suggestion or "") if part) if shown else ""
    right = (shown is not None) is bool(situation.rule) and loads is not bool(situation.rule)

    def cell(text: str) -> str:
        text = re.sub(rf"{re.escape(str(folder))}/?", "", readable(text))
        return text.replace("|", r"\|").replace("*", r"\*").replace("<", "&lt;")

    loader = "it loads" if loads else cell(words)
    other = beside(abicheck, scene, loads=loads)
    return (
        f"| {situation.title} | {situation.seen} | {loader} | {cell(said)} | {cell(advice)} | {other} |",
        right,
    )


def main() -> int:
    """Build all, ask both, print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--abicheck", type=Path, help="its program")
    options = parser.parse_args()
    lines, wrong = [], []
    for situation in SITUATIONS:
        with TemporaryDirectory() as folder:
            line, right = row(situation, Path(folder).resolve(), options.abicheck)
        lines.append(line)
        if not right:
            wrong.append(situation.title)
    text = HEAD + "\n".join(lines) + f"\n\n{len(lines) - len(wrong)} of {len(lines)} agree.\n"
    print(text)
    for title in wrong:
        print(f"differs: {title}", file=sys.stderr)
    if options.write is not None:
        write_wanted(options.write, text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
