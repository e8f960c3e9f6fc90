"""Sources that a build writes into the tree itself, as older releases do with common/build-info.cpp."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patcher.base.files import write_whole

_COMMAND = re.compile(r"^build ((?:[^:$\n]|\$[^\n])*): CUSTOM_COMMAND\b", re.MULTILINE)
_OUTPUT = re.compile(r"(?:[^ $|]|\$.)+")
_LARGEST = 16 << 20  # bytes; a source is smaller


def generated(root: Path, folder: Path) -> list[Path]:
    """The files of the tree ``root`` that commands of ``folder``'s build.ninja write.

    None of the build folder's own, where that lies in the tree.
    """
    try:
        text = (folder / "build.ninja").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return []
    names = (name for command in _COMMAND.finditer(text) for name in _OUTPUT.findall(command[1]))
    places = {Path(os.path.normpath(folder / re.sub(r"\$(.)", r"\1", name))) for name in names}
    top, own = Path(os.path.normpath(root.absolute())), Path(os.path.normpath(folder.absolute()))
    return sorted(one for one in places if one.is_relative_to(top) and not one.is_relative_to(own))


@contextmanager
def as_they_were(root: Path, folder: Path) -> Iterator[None]:
    """Whatever the build writes over in ``root`` holds at the end what it held before, an interruption's too.

    A fork may have committed such a file. It keeps the time of the build's own text, so that ninja finds
    nothing to do the next time. One that wasn't there stays: upstream's .gitignore names it.
    """
    before = {place: place.read_bytes() for place in generated(root, folder) if _is_source(place, root)}
    try:
        yield
    finally:
        for place, data in before.items():
            if _is_source(place, root) and place.read_bytes() != data:
                written = place.stat()
                write_whole(place, data)
                os.utime(place, ns=(written.st_atime_ns, written.st_mtime_ns))


def _is_source(place: Path, root: Path) -> bool:
    inside = place.is_file() and not place.is_symlink() and place.resolve().is_relative_to(root.resolve())
    return inside and place.stat().st_size <= _LARGEST
