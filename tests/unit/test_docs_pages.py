"""The pages hold together: the site builds without a warning, commands in them exist, translations keep in step."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from manual.__main__ import stale
from manual.commands import commands
from patcher.base.errors import ExitCode
from tests.pages import Block, agrees, blocks, main, renewed, steps

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])
KOREAN = {"README.md": ROOT / "README.md"} | {
    name: DOCS / name
    for name in (
        "tutorial.md",
        "evaluate.md",
        "how-to/undefined-get-key.md",
        "how-to/guard-a-repository.md",
        "how-to/own-type.md",
    )
}
_INLINE = re.compile(r"`(q8a8-patch [^`]+)`")


def code(page: Path) -> list[Block]:
    """A page's blocks without drawings, whose words are translated."""
    return [block for block in blocks(page.read_text(encoding="utf-8")) if block.language != "mermaid"]


def test_generated_pages_are_what_the_code_says() -> None:
    """Where this fails: ``python -m manual``."""
    assert [path.relative_to(ROOT).as_posix() for path in stale()] == []


def test_the_reference_names_every_option_and_exit_code() -> None:
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    for command in commands():
        part = page.split(f"\n## {command.name}\n", 1)[1].split("\n## ", 1)[0]
        own = [
            name
            for item in command.options
            for name in item.names
            if item.names[0] not in ("--json", "-q", "-v", "-h")
        ]
        assert [name for name in own if name not in part] == []
        assert command.examples or command.name in ("gguf", "guard"), command.name
    table = (DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    assert [code for code in ExitCode if f"| {int(code)} |" not in table] == []


def test_every_option_is_explained_by_a_sentence() -> None:
    """Three words at least, and a full stop; behind it only a default, or that it is required."""
    wanting = [
        (command.name, option.names[-1], option.help)
        for command in commands()
        for option in command.options
        if not re.fullmatch(r".+\.( \[required\])?", option.help) or len(option.help.split()) < 3
    ]
    assert wanting == []


class _Assets(HTMLParser):
    """What a page makes a browser fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.language = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "html":
            self.language = given.get("lang") or ""
        if tag in ("script", "img", "iframe", "source") or (
            tag == "link" and given.get("rel") != "canonical"
        ):
            self.found += [value for name in ("src", "href") if (value := given.get(name))]


def test_the_site_builds_without_a_warning_and_asks_nobody(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-d",
        str(tmp_path / "site"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        seen = _Assets()
        seen.feed(page.read_text(encoding="utf-8"))
        away = [link for link in seen.found if re.match(r"(?:https?:)?//", link)]
        assert away == [], page.name
        korean = "ko" in page.relative_to(tmp_path / "site").parts[:-1]
        assert seen.language == ("ko" if korean else "en")
        if page.name != "404.html":  # the site's own words: what the search box says
            assert ('placeholder="검색"' if korean else 'placeholder="Search"') in page.read_text(
                encoding="utf-8"
            )
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(?:https?:)?//", style.read_text(encoding="utf-8")), style.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_in_pages_exist(page: Path) -> None:
    """Every ``q8a8-patch`` in a block of shell, or between backticks: its verb, and each of its options."""
    known = {
        command.name: {name for item in command.options for name in item.names} for command in commands()
    }
    text = page.read_text(encoding="utf-8")
    lines = [match[1].replace("\\|", "|") for match in _INLINE.finditer(text)]
    for block in blocks(text):
        if block.language in ("sh", "bash", "console"):
            lines += [line for line in block.text.replace("\\\n", " ").splitlines() if "q8a8-patch " in line]
    for line in lines:
        for words in _calls(line):
            verb = next((name for name in (" ".join(words[:2]), words[0]) if name in known), None)
            options = [word.split("=", 1)[0] for word in words if re.match(r"--?[a-z]", word)]
            if verb is None:
                assert words[0].startswith("-") or words[0] == "VERB", f"{line}: {words[0]}"
                continue
            assert [name for name in options if name not in known[verb]] == [], line


def _calls(line: str) -> list[list[str]]:
    """The words behind each ``q8a8-patch`` of a line, to the end of that command."""
    found = []
    for match in re.finditer(r"(?:^|[\s/(\"'])q8a8-patch (?P<rest>[^|;&<>)#]+)", line):
        try:
            words = shlex.split(match["rest"])
        except ValueError:
            words = match["rest"].split()
        if words:
            found.append(words)
    return found


@pytest.mark.parametrize("name", KOREAN)
def test_korean_pages_have_the_same_code(name: str) -> None:
    english, korean = code(KOREAN[name]), code(DOCS / "ko" / name)
    assert [(block.language, block.text, block.mark) for block in korean] == [
        (block.language, block.text, block.mark) for block in english
    ]


def test_the_tables_of_commands_have_every_command() -> None:
    """The reference's and the Korean page's: each with an example of just that command."""
    wanted = {command.name for command in commands() if not command.is_group}
    for page, row in (
        (DOCS / "reference" / "commands.md", r"^\| \[([a-z][a-z -]*)\]\(.*\| `(.*)` \|$"),
        (DOCS / "ko" / "README.md", r"^\| `([a-z][a-z -]*)`:.*\| `(.*)` \|$"),
    ):
        rows = dict(re.findall(row, page.read_text(encoding="utf-8"), re.M))
        assert set(rows) == wanted, page.name
        for verb, example in rows.items():
            assert f"q8a8-patch {verb}" in example


@pytest.mark.parametrize("name", KOREAN)
def test_korean_pages_are_korean(name: str) -> None:
    """Each paragraph of prose has more Hangul than Latin letters, code and links left out."""
    text = re.sub(
        r"<!--.*?-->|```.*?```|`[^`]*`|\]\([^)]*\)",
        "",
        (DOCS / "ko" / name).read_text(encoding="utf-8"),
        flags=re.S,
    )
    for paragraph in text.split("\n\n"):
        latin, hangul = (len(re.findall(kind, paragraph)) for kind in (r"[A-Za-z]", r"[가-힣]"))
        assert hangul >= latin or latin < 30, paragraph


def test_what_a_page_shows_is_compared() -> None:
    assert agrees("made in 1.5 s", "made in 22 s\n")
    assert agrees("a      b\n…\nlast …", "a  b\nx\ny\nlast of all")
    assert not agrees("no undefined symbol", "1 error found")
    assert not agrees("one\ntwo", "one")
    assert agrees("3 of 4 files.", "12 of 1,300 files.")
    assert agrees("done", "Building llama.cpp: 12 of 138 (x.cpp)\nFetching: 30 s so far\ndone\n")
    page = "<!-- walk: skip (reason) -->\n```sh\nfalse\n```\n\n```sh\ntrue\n```\n\n```text\nshown\n```\n\n```sh\nlast\n```\n"
    assert [(block.text, shown) for block, shown in steps(page)] == [("true\n", "shown\n"), ("last\n", None)]


def test_numbers_of_a_page_come_from_the_run(tmp_path: Path) -> None:
    assert (
        renewed("…: 39 files, v0.5.0\n…\nin 2.5 s.\n", "a/b: 41 files, v0.5.0\nx\nin 13 s.\n")
        == "…: 41 files, v0.5.0\n…\nin 13 s.\n"
    )
    page = tmp_path / "page.md"
    page.write_text(
        "7 stays\n\n```sh\necho 12 files, 3 edits\n```\n\n```text\n1 files, 99 edits\n```\n", encoding="utf-8"
    )
    assert main([str(page), "--in", str(tmp_path)]) == 0
    assert "99 edits" in page.read_text(encoding="utf-8")
    assert main([str(page), "--in", str(tmp_path), "--renew"]) == 0
    assert page.read_text(encoding="utf-8").endswith("```text\n12 files, 3 edits\n```\n")
    assert page.read_text(encoding="utf-8").startswith("7 stays\n")
