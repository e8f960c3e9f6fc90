"""A merge that somebody has begun and not ended: its marks in a file, its paths in git's index."""

from __future__ import annotations

import re
from pathlib import Path

from patcher.engine.anchors import Source

MERGE = "merge in progress"
_MARK = re.compile(rb"(?m)^(?:<{7}|>{7})(?: [^\r\n]*)?\r?$")


def progress(source: Source) -> str | None:
    """What is said of a file that holds both sides of a merge; None for one that doesn't."""
    found = _MARK.search(source.data)
    if found is None:
        return None
    mark, line = found[0].decode("utf-8", "replace").strip(), source.line_number(found.start())
    return f"{MERGE}: '{mark[:40]}' in line {line}"


def unmerged(root: Path) -> list[str]:
    """The paths below ``root`` that git's index has in more than one version; none without git."""
    from patcher import git
    from patcher.git import changes

    top = git.find_toplevel(root)
    if top is None:
        return []
    prefix = git.prefix(top, root)
    return sorted(name.removeprefix(prefix) for name in changes.unmerged(top) if name.startswith(prefix))
