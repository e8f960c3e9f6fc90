"""Whose repository this is: pyproject.toml says it, every page, workflow and example repeats it."""

from __future__ import annotations

import re
from pathlib import Path

from patcher.base import toml

ROOT = Path(__file__).parents[1]
_PLACES = (
    "*.md",
    "pyproject.toml",
    "docs/**/*.md",
    "ci/*",
    "ci/examples/*",
    ".github/**/*.yml",
    ".pre-commit-hooks.yaml",
)
# a link, an action's name, a project that a pipeline includes
_NAMED = re.compile(r"(?P<before>(?:git(?:hub|lab)\.com/|uses: |project: ))[\w.-]+(?=/q8a8-patch\b)")


def owner() -> str:
    """The owner in the address of the sources."""
    urls = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    return str(urls["Source"]).split("/")[-2]


def renamed(text: str, name: str) -> str:
    """``text`` with the owner ``name`` wherever it names the repository."""
    return _NAMED.sub(lambda match: match["before"] + name, text)


def stale(name: str) -> dict[Path, str]:
    """Files that name another owner than ``name``, with what they should hold."""
    found = {}
    for pattern in _PLACES:
        for path in ROOT.glob(pattern):
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                if renamed(text, name) != text:
                    found[path] = renamed(text, name)
    return found
