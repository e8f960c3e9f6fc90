"""Differences that aren't the type's: operators that only the base has for it, the tree's own partner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from patcher.prove.proof import Part
from patcher.prove.running import Called

_ABORTED = "ended by signal 6"  # what GGML_ABORT comes to; a failed GGML_ASSERT is one, too, and says so


def judged(parts: Iterable[Part], what: str, tree: Called, base: Called, partner: str) -> Iterator[Part]:
    """``parts`` of one call of ``what`` on both, those marked that say nothing of the type.

    ``partner`` is the type that it is multiplied with, where the base has that without it; else empty.
    """
    for part in parts:
        if not part.differing:
            yield part
        elif part.what == "end" and _is_refused(what, tree, base):
            yield replace(part, beside="the tree has no such operator for the type, and the base has one")
        elif part.what.partition(".")[0] == "activations" and partner:
            yield replace(part, beside=f"the tree quantizes {partner} differently, which isn't the type's")
        else:
            yield part


def _is_refused(what: str, tree: Called, base: Called) -> bool:
    """Whether an operator of the tree gave up by itself where the base's computed."""
    gave_up = tree.ended == _ABORTED and "GGML_ASSERT" not in tree.last_words
    return what.startswith("op:") and gave_up and not base.ended
