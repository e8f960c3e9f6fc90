"""The page of messages has what is really printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manual.messages import Message, messages, raised
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


# file: text -> why what is said for all errors of the kind is right there, or nobody reads it
GENERAL = {
    **dict.fromkeys(
        (
            "symbols/emulate/commands.py: {words}: looked for a compiler or linker, found something else",
            "symbols/emulate/commands.py: {words} {stops}: looked for a command that links, found one that compiles",
            "symbols/emulate/commands.py: {folder}: looked for link commands with ninja ({message})",
            "symbols/emulate/driver.py: {folder}: looked for words of a command line ({why})",
            "symbols/emulate/driver.py: {folder}: holds more than {max_words} words",
            "symbols/emulate/driver.py: {driver} -###: looked for the linker's arguments, found: {said}",
        ),
        "it quotes the command that was typed, and the part of it that is wrong",
    ),
    **dict.fromkeys(
        (
            "symbols/elf/image.py: {path}: not a sound ELF file ({what})",
            "symbols/elf/reader.py: {path}: not a sound ELF file ({why})",
        ),
        "it stands within a finding, whose rule says what to do",
    ),
    "evaluate/measure/models.py: {why}": "it becomes the reason why a type was left out, in a warning",
}


def test_each_says_what_to_do_next() -> None:
    """A new message has a hint of its own, at the raise or as its class's ``remedy``."""
    made = raised()
    assert len(made) > 500
    general = {f"{one.place.rpartition(':')[0]}: {one.text}" for one in made if one.is_general}
    assert general - GENERAL.keys() == set()
    assert GENERAL.keys() - general == set(), "these have a hint now: take them off the list"


def test_no_hint_repeats_its_message(listed: list[Message]) -> None:
    assert [one.text for one in listed if one.advice.lower() in one.text.lower()] == []


def test_a_page_that_a_hint_names_is_there(listed: list[Message]) -> None:
    named = {page for one in listed for page in re.findall(r"docs/[\w/.-]+\.md", one.advice)}
    assert named
    assert [page for page in named if not (Path(__file__).parents[2] / page).is_file()] == []
