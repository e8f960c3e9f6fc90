"""The patterns of a type's file. A stranger's are tried in a process of its own: they may have no end."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from patcher.base import sandbox
from patcher.base.errors import UsageError
from patcher.base.sandbox import OverLimitError
from patcher.engine.anchors import ANCHORS, AnchorError
from patcher.engine.patchset import Edit

Text = TypeVar("Text", str, bytes)


def search(edit: Edit, key: str, text: Text) -> re.Match[Text] | None:
    """The first place in ``text`` that the edit's pattern ``key`` (``when`` or ``compare``) matches.

    Raises :class:`UsageError` where a stranger's takes more than seconds.
    """
    said = getattr(edit, key)
    pattern: Text = said.encode() if isinstance(text, bytes) else said
    _tried(edit, key, lambda: re.search(pattern, text))
    return re.search(pattern, text)


def try_anchor(edit: Edit, locate: Callable[[], object]) -> None:
    """Run ``locate`` elsewhere first where the anchor has patterns of a stranger's.

    Raises :class:`UsageError` where it takes more than seconds.
    """

    def work() -> None:
        try:
            locate()
        except AnchorError:
            return  # it has an end: that is all that is asked

    if any(edit.anchor.get(key) for key in ANCHORS[edit.kind].patterns):
        _tried(edit, "anchor", work)


def _tried(edit: Edit, key: str, work: Callable[[], object]) -> None:
    if not edit.own:
        return  # ours are tested

    def child() -> str:
        work()
        return "done"

    try:
        sandbox.confined(child)
    except OverLimitError as why:
        raise UsageError(
            f"edit {edit.id}: {key}: its pattern {why} on this tree",
            hint="write it without nested repetitions",
        ) from why
