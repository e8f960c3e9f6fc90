"""Make docs/symbols/reports.md: what people report of loaders, what the loader says of it, and what we say.

    python -m benchmarks.symbol_reports [--write docs/symbols/reports.md]

Each situation of ``tests/situations.py`` is built with this machine's compiler, the real loader is asked,
and so are we. Exit code 1 where we differ.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from patcher.base.files import write_wanted
from patcher.symbols.findings import readable
from tests.linking import Workshop
from tests.situations import SITUATIONS, Situation

HEAD = """# What people report, and what is said of it

Made by `python -m benchmarks.symbol_reports --write docs/symbols/reports.md` on this machine's compiler and
loader. Each situation is built from a few files (`tests/situations.py`), the real loader is asked with
`LD_BIND_NOW=1` or by `dlopen(RTLD_NOW)`, and so is `verify-symbols`, which runs nothing. What agrees is the
verdict: whether it loads.

| situation | seen at | the loader says | we say | and advise |
|---|---|---|---|---|
"""


def row(situation: Situation, folder: Path) -> tuple[str, bool]:
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
        return text.replace("|", r"\\|").replace("*", r"\\*").replace("<", "&lt;")

    loader = "it loads" if loads else cell(words)
    return f"| {situation.title} | {situation.seen} | {loader} | {cell(said)} | {cell(advice)} |", right


def main() -> int:
    """Build all, ask both, print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    lines, wrong = [], []
    for situation in SITUATIONS:
        with TemporaryDirectory() as folder:
            line, right = row(situation, Path(folder).resolve())
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
