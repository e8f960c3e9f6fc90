"""The library that stands before libc's writing calls: built, loaded, armed."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL")
ERRORS = ("ENOSPC", "EIO", "EXDEV", "EDQUOT", "EACCES")
STAYS_FULL = "ENOSPC from here on"


@dataclass(frozen=True)
class Injection:
    """``what`` (a signal's or an error's name) at writing call number ``turn``, counted from 1."""

    what: str
    turn: int

    def arm(self) -> None:
        """From now on, in this process."""
        if self.what == STAYS_FULL:
            _shim().shim_arm(4, errno.ENOSPC, self.turn)
        elif self.what in SIGNALS:
            _shim().shim_arm(2, int(getattr(signal, self.what)), self.turn)
        else:
            _shim().shim_arm(3, int(getattr(errno, self.what)), self.turn)


def missing() -> str | None:
    """Why there can be no injections here; None where there can."""
    if not sys.platform.startswith("linux"):
        return "the shim is for Linux"
    return None if shutil.which("cc") else "needs cc"


def build(folder: Path) -> Path:
    """The shim, compiled into ``folder``."""
    made = folder / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-w", "-o", str(made), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return made


def environment(shim: Path) -> dict[str, str]:
    """What a process needs so that the shim stands before its calls, and somebody who commits."""
    identity = {"AUTHOR_NAME": "a", "AUTHOR_EMAIL": "a@b", "COMMITTER_NAME": "a", "COMMITTER_EMAIL": "a@b"}
    return {
        **os.environ,
        **{f"GIT_{name}": value for name, value in identity.items()},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "LD_PRELOAD": str(shim),
    }


def count() -> None:
    """Count from now on."""
    _shim().shim_arm(1, 0, 0)


def counted() -> list[str]:
    """The names of the calls since :func:`count`; stops counting."""
    shim = _shim()
    shim.shim_name.restype = ctypes.c_char_p
    shim.shim_seen.restype = ctypes.c_long
    return [shim.shim_name(ctypes.c_long(n)).decode() for n in range(1, shim.shim_seen() + 1)]


def _shim() -> ctypes.CDLL:
    return ctypes.CDLL(None)
