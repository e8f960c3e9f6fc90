"""Ignore files: reasons, dates, what is stale."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from patcher.base.errors import UsageError
from patcher.symbols import Ignores, SymbolFinding

DAY = dt.date(2030, 6, 15)
FINDINGS = [
    SymbolFinding("undefined-symbol", "_Z3fooi", "/x/liba.so", ("liba.so",), "nowhere"),
    SymbolFinding("undefined-symbol", "bar", "/x/libb.so.1", ("libb.so.1",), "nowhere"),
]


def left(text: str, tmp_path: Path) -> list[tuple[str, str]]:
    path = tmp_path / "ignore.toml"
    path.write_text(text)
    ignores = Ignores(today=DAY)
    ignores.read(path)
    return [(one.rule, one.symbol) for one in ignores.apply(FINDINGS).findings]


def entry(**keys: object) -> str:
    keys = {"symbol": '"bar"', "reason": '"preloaded"', **keys}
    return "[[ignore]]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())


def test_hides_by_symbol_object_and_rule(tmp_path: Path) -> None:
    both = entry(symbol='"foo(int)"', object='"liba*"') + entry(rule='"undefined-symbol"')
    assert left(both, tmp_path) == []
    assert ("undefined-symbol", "bar") in left(entry(object='"liba*"'), tmp_path)
    assert ("undefined-symbol", "bar") in left(entry(rule='"version-mismatch"'), tmp_path)


def test_the_last_day_still_counts(tmp_path: Path) -> None:
    assert ("undefined-symbol", "bar") not in left(entry(expires="2030-06-15"), tmp_path)
    late = left(entry(expires="2030-06-14"), tmp_path)
    assert ("undefined-symbol", "bar") in late
    assert ("expired-ignore", "bar") in late


def test_an_entry_that_hides_nothing_is_told(tmp_path: Path) -> None:
    assert ("unused-ignore", "gone") in left(entry(symbol='"gone"'), tmp_path)


def test_the_command_line_says_nothing_of_unused_patterns() -> None:
    kept = Ignores.of(["libb*!b?r", "nothing"]).apply(FINDINGS)
    assert ([one.symbol for one in kept.findings], kept.ignored) == (["_Z3fooi"], 1)


@pytest.mark.parametrize(("text", "message"), [
    ("[[ignore]]\nsymbol = 'x'\n", "looked for a reason"),
    (entry(reason='" "'), "looked for a reason"),
    (entry(expires='"soon"'), "looked for a date"),
    (entry(rule='"no-such"'), "looked for a rule"),
    (entry(sybmol='"x"'), "found sybmol"),
    (entry(object="3"), "looked for a pattern"),
    ("ignore = 3", "looked for \\[\\[ignore\\]\\]"),
    ("[other]\n", "looked for \\[\\[ignore\\]\\]"),
    ("= what", "none that can be read"),
])  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        left(text, tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.toml"):
        Ignores().read(tmp_path / "gone.toml")
