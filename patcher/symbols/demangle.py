"""Mangled C++ names as people write them, by the C++ runtime's own demangler, in a process of its own.

Names come from anybody's files. In a mangled name each further part may double the text, and the demangler
is C that reads them in this process's memory: so it runs in a child that has little memory and little time,
and a name that is too much for it stays as it is.
"""

from __future__ import annotations

import os
import select
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from patcher.base.processes import Service

LONGEST = 8192  # characters of a name that is demangled, and of what it may become
TOGETHER = 64 << 20  # characters of all demangled names; beyond, names stay as they are
LIVES = 3  # children that may be lost to names before no more is demangled
_SECONDS = 20.0  # until an answer, on a busy machine; the child itself has a third of one


@cache
def demangle(name: str) -> str:
    """``name`` demangled; as it is where it isn't mangled, is a bomb, or where no C++ runtime is there."""
    if not name.startswith(("_Z", "__Z")) or len(name) > LONGEST or "\0" in name:
        return name
    return _demangler().ask(name) or name


@cache
def _demangler() -> _Demangler:
    return _Demangler()


class _Demangler:
    """The child, begun when the first name is asked for."""

    def __init__(self) -> None:
        self._child: Service | None = None
        self._lives = LIVES if hasattr(os, "fork") else 0
        self._left = TOGETHER
        self._owner = os.getpid()

    def ask(self, name: str) -> str | None:
        """What the name stands for; None where nobody can say."""
        if self._owner != os.getpid():  # forked: the pipes are our parent's
            self._child, self._owner = None, os.getpid()
        if self._lives <= 0 or self._left <= 0:
            return None
        if self._child is None:
            self._child = _begun()
            if self._child is None:
                self._lives = 0
                return None
        text = _answer(self._child, name)
        if text is None:
            self._child.kill()
            self._child.wait()
            self._child = None
            self._lives -= 1
            return None
        self._left -= len(text)
        return text or None


def _begun() -> Service | None:
    program = Path(__file__).with_name("demangler_program.py")
    from patcher.base import processes  # here, because most runs demangle nothing

    try:
        return processes.converse([sys.executable, "-I", "-S", program, str(LONGEST)])
    except processes.NotStartedError:
        return None


def _answer(child: Service, name: str) -> str | None:
    """The child's answer, empty where it has none; None where it didn't give one."""
    if child.stdin is None or child.stdout is None:
        return None
    until = time.monotonic() + _SECONDS
    data = bytearray()
    try:
        child.stdin.write(name.encode("utf-8", "surrogateescape") + b"\0")
        while not data.endswith(b"\0"):
            if not select.select([child.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            part = child.stdout.read(1 << 16)
            if not part:
                return None
            data += part
    except OSError:
        return None
    return data[:-1].decode("utf-8", "surrogateescape")
