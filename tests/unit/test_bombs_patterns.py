"""No pattern of ours takes the square of a text, and a stranger's are tried where they can be ended."""

from __future__ import annotations

import math
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from patcher.audit import audit
from patcher.base import sandbox
from patcher.base.errors import UsageError
from patcher.engine import patterns
from patcher.engine.anchors import ANCHORS
from patcher.engine.patchset import Edit, load
from patcher.engine.planning import make_plan
from patcher.engine.tree import WorkTree
from tests.patterns import Pattern, all_patterns, attacks

LENGTH = 32000  # a square of `[^\n]*`, which reads a character in less than a nanosecond, is far beyond QUICK
QUICK = 0.002  # seconds of the processor that need no second look; on a machine ten times slower, too
ENDLESS_SECONDS = 2.0  # 20 times what the slowest pattern of ours takes for a text of LENGTH
TIMES = 4  # as long: a linear one takes four times the time (five with a bound), the square sixteen
TOO_MUCH = 10  # times the time


class _EndlessError(Exception):
    pass


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    def over(*_: object) -> None:
        raise _EndlessError

    before = signal.signal(signal.SIGVTALRM, over)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def slow(pattern: Pattern, length: int = LENGTH) -> str | None:
    """A text for which the pattern takes more than its length; None where none was found.

    How the time grows says it, not how long it is: a limit of seconds was met by a square on one machine and
    missed on a slower one.
    """
    flags = pattern.flags & ~re.UNICODE
    ask = getattr(re.compile(pattern.text, flags), pattern.how)
    for number, text in enumerate(attacks(pattern.text, flags, length)):
        took = _seconds(ask, text, ENDLESS_SECONDS)
        if took <= QUICK:
            continue
        if took == math.inf:
            return text
        long = next(islice(attacks(pattern.text, flags, TIMES * length), number, None))
        if all(_grows(ask, text, long) for _ in range(3)):  # once in proportion is enough
            return text
    return None


def _grows(ask: Callable[[str], object], text: str, long: str) -> bool:
    took = _seconds(ask, text, ENDLESS_SECONDS)
    if took <= QUICK:
        return False
    most = TOO_MUCH * took
    return _seconds(ask, long, most) > most


def _seconds(ask: Callable[[str], object], text: str, most: float) -> float:
    before = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, most)
    try:
        ask(text)
    except _EndlessError:
        return math.inf
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return time.process_time() - before


@pytest.mark.parametrize("text", [r"(a+)+b", r"[^\s:]+\.cpp:", r"/\*(?:.|\n)*?\*/"])
def test_a_bad_pattern_is_noticed(text: str) -> None:
    assert slow(Pattern("x.py:1", text, 0), LENGTH // 4) is not None


@pytest.mark.parametrize("text", [r"/\*(?:.|\n)*?(?:\*/|\Z)", r"a+b?[c-f]*", r"a[^;]{0,400};"])
def test_a_good_one_is_not(text: str) -> None:
    assert slow(Pattern("x.py:1", text, 0)) is None


def test_no_pattern_takes_the_square() -> None:
    asked = all_patterns()
    assert len(asked) > 200
    found = {f"{one.place}: {one.text[:80]}": text[:40] for one in asked if (text := slow(one))}
    assert not found


ENDLESS = Edit(
    "evil", "g", "p", ("evil.txt",), "statement", {}, "t", when="(a+)+b", compare="(a+)+b", own=True
)


@pytest.mark.parametrize("key", ["when", "compare"])
def test_a_strangers_pattern_ends(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0.5)
    with pytest.raises(UsageError, match=rf"edit evil: {key}: its pattern computes for more than 0.5 s"):
        patterns.search(ENDLESS, key, "a" * 60)
    found = patterns.search(ENDLESS, key, b"aab")
    assert found is not None
    assert found.group() == b"aab"


def test_a_strangers_anchor_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0.5)
    edit = replace(ENDLESS, anchor={ANCHORS["statement"].patterns[0]: "(a+)+b"})
    with pytest.raises(UsageError, match="edit evil: anchor: its pattern computes"):
        patterns.try_anchor(edit, lambda: re.search("(a+)+b", "a" * 60))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_a_strangers_waiver_ends(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the type's file says it or the tree's own does: both come with somebody's repository."""
    monkeypatch.setattr(sandbox, "SECONDS", 0.5)
    file = mini / "src/llama-model.cpp"
    late = "bool late(int t) { return t == GGML_TYPE_Q8_0; } // " + "a" * 60
    file.write_text(file.read_text(encoding="utf-8") + f"\n{late}\n", encoding="utf-8")
    ours = load()
    for text, ends in (("return t == GGML", True), ("(a+)+b", False)):
        waiver = {"file": "src/*", "reason": "r", "text": text}
        if ends:
            assert {"late"} == {
                one.site.function for one in audit(WorkTree(mini), replace(ours, waivers=(waiver,))).sites
                if one.reason == "r"
            }  # fmt: skip
            continue
        with pytest.raises(
            UsageError, match=r"waiver of src/\*: text: its pattern computes for more than 0\.5 s"
        ):
            audit(WorkTree(mini), replace(ours, waivers=(waiver,)))


def test_a_plan_with_a_strangers_pattern_ends(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0.5)
    ours = load().select(("enum",)) if "enum" in {group.id for group in load().groups} else load()
    file = mini / ours.edits[0].files[0]
    file.write_bytes(file.read_bytes() + b"\n// " + b"a" * 60 + b"\n")
    evil = replace(ours.edits[0], when="(a+)+X", own=True)
    with pytest.raises(UsageError, match="when: its pattern computes for more than"):
        make_plan(WorkTree(mini), replace(ours, edits=(evil, *ours.edits[1:])))
