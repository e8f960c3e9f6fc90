"""Version scripts, as far as they take symbols out of what is exported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|#[^\n]*", re.S)
_TOKEN = re.compile(r'extern|"[^"]*"|[{};:]|[^\s{};:]+|::')


def local_names(script: Path | None, names: Iterable[str]) -> list[str]:
    """Which of ``names`` a version script makes local. None where there is no script.

    An exact name goes before a pattern, and ``global`` before ``local`` among equals.
    """
    if script is None:
        return []
    try:
        text = _COMMENT.sub(" ", script.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return []
    patterns: dict[str, list[str]] = {"global": [], "local": []}
    part = "global"
    for token in _TOKEN.findall(text):
        if token in ("global", "local"):
            part = token
        elif token[0] == "{":
            part = "global"
        elif token not in ("}", ";", ":", "extern") and token not in ('"C"', '"C++"'):
            patterns[part].append(token.strip('"'))
    return [name for name in names if _is_local(name, patterns)]


def _is_local(name: str, patterns: dict[str, list[str]]) -> bool:
    if name in patterns["global"]:
        return False
    if name in patterns["local"]:
        return True
    if any(pattern != "*" and fnmatchcase(name, pattern) for pattern in patterns["global"]):
        return False
    return any(fnmatchcase(name, pattern) for pattern in patterns["local"]) and "*" not in patterns["global"]
