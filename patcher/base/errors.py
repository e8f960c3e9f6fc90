"""One class and one exit code per kind of failure.

The library raises these and never prints; the command line prints the one line that
:meth:`PatcherError.__str__` gives and leaves with :attr:`PatcherError.exit_code`.
A message names the file, what was looked for, what was found; ``hint`` says what to do next.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the shell sees. Part of the command contract: never renumber."""

    OK = 0
    FINDINGS = 1
    USAGE = 2
    CONFLICT = 3
    SOURCE = 4
    BUILD = 5
    TREE_CHANGED = 6
    INTERNAL = 70
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class PatcherError(Exception):
    """Base of every failure that a user can meet."""

    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        return f"{self.message}\n{self.hint}" if "\n" in self.message else f"{self.message}; {self.hint}"


class UsageError(PatcherError):
    """Wrong usage, or an input that can't be read (exit 2)."""

    exit_code = ExitCode.USAGE


class ConflictError(PatcherError):
    """An anchor is missing, ambiguous or contradicted; nothing was written (exit 3)."""

    exit_code = ExitCode.CONFLICT


class SourceError(PatcherError):
    """The source can't be had: no route, no such release, a hostile archive (exit 4)."""

    exit_code = ExitCode.SOURCE


class BuildError(PatcherError):
    """CMake, the compiler or the linker failed (exit 5)."""

    exit_code = ExitCode.BUILD


class TreeChangedError(PatcherError):
    """The tree was changed by somebody else since we wrote it (exit 6)."""

    exit_code = ExitCode.TREE_CHANGED
