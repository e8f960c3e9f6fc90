"""Whether a loader takes a file of the right name, passes it over, or stops at it (glibc's elf/dl-load.c,
open_verify; musl's ldso/dynlink.c, load_library). Told by the file's first bytes."""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from patcher.base import system
from patcher.base.os_errors import reason
from patcher.symbols.elf.constants import EM_ARM, ET_DYN, ET_EXEC, MAGIC
from patcher.symbols.elf.identity import Abi, identify

_SHORTEST = 52  # bytes of the smaller ELF header
_TYPES = {1: "an object file", 4: "a core dump"}
_OSABIS = (0, 3)  # System V and GNU; ARM's own names, too, on ARM
_ARM_OSABIS = (64, 97)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG)


class Start(NamedTuple):
    """What the first bytes of a file say. ``why``: a loader that comes to it goes no further.

    ``abi`` is None for what is no ELF file. ``system`` is what glibc looks at before it looks at the
    machine, and musl not at all.
    """

    abi: Abi | None
    why: str = ""
    system: str = ""


def start_of(path: Path | str) -> Start | None:
    """The start of the file at ``path``; None where a loader finds nothing that it may open there."""
    try:
        handle = os.open(path, system.READ)
    except ValueError:
        return None
    except OSError as failed:
        # what isn't there or may not be opened is passed over; a circle of links is neither
        return None if failed.errno in _ABSENT else Start(None, f"it can't be opened ({reason(failed)})")
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            return Start(None, "it is a folder")
        if not stat.S_ISREG(mode):
            return None
        return judged(os.read(handle, 64))
    except OSError as failed:
        return Start(None, f"it can't be read ({reason(failed)})")
    finally:
        os.close(handle)


def judged(data: bytes) -> Start:
    """:class:`Start` for the first 64 bytes of a file."""
    if data[:4] != MAGIC:
        if len(data) < _SHORTEST:
            return Start(None, f"it is no ELF file (too short: {len(data)} bytes)")
        return Start(None, "it is no ELF file (invalid ELF header)")
    abi = identify(data)
    if abi is None or len(data) < (64 if abi[0] == 64 else _SHORTEST):
        return Start(None, "its ELF header is cut off or of no known class")
    order = "<" if abi[1] else ">"
    object_type, machine, version = struct.unpack_from(order + "HHI", data, 16)
    size = struct.unpack_from(order + "H", data, 54 if abi[0] == 64 else 42)[0]
    allowed = (*_OSABIS, *_ARM_OSABIS) if machine == EM_ARM else _OSABIS
    system = ""
    if data[6] != 1 or version != 1:
        system = "its ELF version is not 1"
    elif data[7] not in allowed:
        system = f"its OS ABI is {data[7]}, not Linux's"
    if object_type not in (ET_DYN, ET_EXEC):
        return Start(abi, f"it is {_TYPES.get(object_type, 'no library')}", system)
    if size != (56 if abi[0] == 64 else 32):
        return Start(abi, f"its program headers have {size} bytes each", system)
    return Start(abi, "", system)


def refusal(start: Start, wanted: Abi, *, first_counts: bool) -> str | None:
    """Why a loader stops at the file; "" where it takes it, None where it passes it over.

    ``first_counts``: musl's and Android's loaders take the first file of a name, whatever it is.
    """
    if start.abi is None:
        return start.why
    if first_counts:
        other = "it is for another machine, and this loader takes the first file of the name"
        return start.why if start.abi == wanted else other
    if start.abi[:2] != wanted[:2]:
        return None  # another class or byte order
    return start.system or (start.why if start.abi == wanted else None)
