"""Files that are being made, named so that those of a process that was killed are told from those at work.

A folder of models may be shared by machines (a home on a network), so that a name holds machine and process.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from patcher.base import system
from patcher.base.machine import machine_id

_NAME = re.compile(r"\..*\.([0-9a-f]{12})-(\d+)-[0-9a-f]{32}\.draft(?:-\d{5}-of-\d{5})?(?:\.gguf)?")


def beside(destination: Path) -> Path:
    """Where ``destination`` is made before it is renamed: nobody else's draft is called so, nor can be.

    A model's keeps its ending, by which llama.cpp's programs name the parts of one that is split.
    """
    ending = ".gguf" if destination.name.endswith(".gguf") else ""
    # of letters that take three bytes, too, a name of 255 bytes at most is made
    stem = (
        destination.name.removesuffix(ending)
        .encode("utf-8", "surrogateescape")[:100]
        .decode("utf-8", "ignore")
    )
    mine = f"{machine_id()}-{os.getpid()}-{secrets.token_hex(16)}"
    return destination.with_name(f".{stem}.{mine}.draft{ending}")


def sweep(folder: Path) -> list[Path]:
    """Remove the drafts of this machine's processes that are gone; what was removed."""
    removed = []
    for place in folder.glob(".*.draft*"):
        found = _NAME.fullmatch(place.name)
        if found and found[1] == machine_id() and not _is_alive(int(found[2])):
            place.unlink(missing_ok=True)
            removed.append(place)
    return removed


def _is_alive(pid: int) -> bool:
    if not system.POSIX:
        return True  # asking would end it there
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
