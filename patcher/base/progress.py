"""What long work tells about itself.

The library calls a :class:`Reporter`; :data:`SILENT` is the default, and ``patcher.base.console``
has the one that draws on a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One piece of long work under way."""

    def update(self, *, done: int | None = None, total: int | None = None, detail: str | None = None) -> None:
        """Set the absolute position, the total (units are the caller's) or the text beside the bar."""


class Reporter(Protocol):
    """Where notes, warnings and progress go (never to stdout)."""

    def note(self, message: str) -> None:
        """Say one line that a user wants to know; hidden by ``-q``."""

    def warn(self, message: str) -> None:
        """Say one line that a user must know."""

    def step(self, label: str, total: int | None = None) -> AbstractContextManager[Step]:
        """Show a piece of work for as long as the context lasts; ``total=None`` means unknown."""


class SilentStep:
    """Progress where nobody watches: nothing is drawn."""

    def update(self, *, done: int | None = None, total: int | None = None, detail: str | None = None) -> None:
        return None


class _Silent:
    def note(self, message: str) -> None:
        return None

    def warn(self, message: str) -> None:
        return None

    @contextmanager
    def step(self, label: str, total: int | None = None) -> Iterator[Step]:
        yield SilentStep()


SILENT: Reporter = _Silent()
