"""One class and one exit code for each way to fail.

The library raises these and never prints; the command line prints the one line that
:meth:`PatcherError.__str__` gives and leaves with :attr:`PatcherError.exit_code`.
A message names the file, what was looked for, what was found; ``hint`` says what to do next. It is one
line whatever is in the names: what doesn't print is written as escapes here, for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar

from patcher.base.printable import readable


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
    # the next step where the raise names none: of a class whose errors all ask for the same
    remedy: ClassVar[str | None] = None

    def __init__(self, message: str, *, hint: str | None = None, details: Sequence[str] = ()) -> None:
        # names in it are anybody's: whatever they hold, it stays one line, and says itself
        self.message = readable(message)
        hint = hint or self.remedy
        self.hint = readable(hint) if hint else None
        self.details = tuple(map(readable, details))  # a line each, below the message
        super().__init__(self.message)

    def __str__(self) -> str:
        if not self.details:
            return f"{self.message}; {self.hint}" if self.hint else self.message
        lines = [self.message, *(f"  {line}" for line in self.details)]
        return "\n".join([*lines, self.hint] if self.hint else lines)


class ShippedFileError(PatcherError):
    """A file that comes with this program is missing or malformed (exit 70)."""

    remedy = "the file comes with q8a8-patch, and is damaged or changed: install q8a8-patch again"


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
