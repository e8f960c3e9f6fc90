"""Write the pages, and what else repeats the code; ``--check`` only says which of them is stale.

python -m manual [--check]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from manual import anchor_kinds, owner
from manual.man_pages import man_pages
from manual.reference import reference_pages

ROOT = Path(__file__).parents[1]
# how a page begins that is made here: what somebody wrote by hand is never removed
OURS = re.compile(r"made by 'python -m manual'|\A\.TH \"Q8A8-PATCH")
PLACES = {ROOT / "docs" / "reference": reference_pages, ROOT / "man" / "man1": man_pages}


def stale() -> dict[Path, str | None]:
    """Files that aren't what the code says, with what they should hold; None for one that should go."""
    found: dict[Path, str | None] = {**owner.stale(owner.owner()), **anchor_kinds.stale()}
    for folder, make in PLACES.items():
        pages = make()
        for name, text in pages.items():
            path = folder / name
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                found[path] = text
        suffix = Path(next(iter(pages))).suffix
        found |= {
            path: None
            for path in folder.glob(f"*{suffix}")
            if path.name not in pages and OURS.search(path.read_text(encoding="utf-8")[:400])
        }
    return found


def main(arguments: list[str]) -> int:
    """Exit code 1 where ``--check`` finds a page out of step."""
    found = stale()
    for path, text in found.items():
        print(path.relative_to(ROOT))
        if "--check" in arguments:
            continue
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return 1 if found and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
