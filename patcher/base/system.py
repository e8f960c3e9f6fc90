"""What not every system has, each by one name: how a file is opened and read, whose it is, who we are.

Nothing else asks for POSIX by itself. Where a system lacks something, what is here does what comes nearest.
"""

from __future__ import annotations

import os
import threading

POSIX = os.name == "posix"  # files belong to numbers and have modes for others
# How a file of a stranger's is opened to be read: a FIFO is not waited for, no child inherits the handle, and
# Windows changes no line end, nor stops at a byte that once ended files.
READ = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOINHERIT"):
    READ |= getattr(os, _flag, 0)

_SEEKING = threading.Lock()


def read_at(handle: int, size: int, offset: int) -> bytes:
    """At most ``size`` bytes at ``offset`` (``pread``). Without that call the handle's own place moves."""
    if hasattr(os, "pread"):
        return os.pread(handle, size, offset)
    with _SEEKING:
        os.lseek(handle, offset, os.SEEK_SET)
        return os.read(handle, size)


def is_ours(facts: os.stat_result) -> bool:
    """Whether a file or folder belongs to this user; everything does where owners have no numbers."""
    return not hasattr(os, "geteuid") or facts.st_uid == os.geteuid()


def is_root() -> bool:
    """Whether we may give files to others."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
