"""The page of messages has what is really printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manual.messages import Message, messages
from patcher import cli


def pattern(text: str) -> str:
    """What ``text`` can look like: anything stands for a value."""
    return ".*".join(map(re.escape, re.split(r"\{[^}]*\}", text)))


@pytest.fixture(scope="module")
def listed() -> list[Message]:
    return messages()


@pytest.mark.parametrize(
    "line",
    [
        ["apply", "none"], ["fetch", "--source", "pypi:x"], ["build", "FILE"], ["status", "--type", "none.toml"],
        ["verify-symbols", "none"], ["gguf", "identify", "none.gguf"], ["evaluate", "compare", "a.json"],
        ["drift", "none"], ["quantize", "none.gguf", "out.gguf", "Q8_A8"], ["cache", "clean", "none"],
        ["smooth", "-o", "out.gguf"], ["drift", "REPO"], ["verify-symbols", "--explain", "none"], ["guard", "check", "--source", "."],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_printed_is_listed(
    line: list[str], listed: list[Message], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("", encoding="utf-8")
    (tmp_path / "REPO/objects").mkdir(parents=True)
    code = cli.run([*line, "-q"])
    assert code >= 2
    said = capsys.readouterr().err.removeprefix("error: ").rstrip("\n")
    found = [
        one
        for one in listed
        # one that is almost all value would fit everything
        if sum(map(str.isalpha, re.sub(r"\{[^}]*\}", "", one.text))) > 8
        and re.match(pattern(one.text), said, re.DOTALL)
    ]
    assert code in [one.code for one in found], said


def test_each_says_what_to_do(listed: list[Message]) -> None:
    assert len(listed) > 400
    assert [one.text for one in listed if not one.advice.strip()] == []
