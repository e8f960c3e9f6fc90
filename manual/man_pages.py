"""Man pages in man(7): one for the program, one for each command."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from manual.commands import PROGRAM, Command, commands, program
from manual.exit_codes import EXIT_CODES
from patcher import __version__
from patcher.start import ALONE

DATE = "2026-11-24"  # of the version: pages that say the day they were made on are never the same twice

_ENVIRONMENT = {
    "Q8A8_PATCH_CACHE": "Where downloads, builds and logs are kept. Default: the system's place for caches.",
    "Q8A8_PATCH_PASS_ENVIRONMENT": "More variables, by their names with commas between them, that"
    " builds and the programs that were built are given. The rest of the environment doesn't reach them.",
    "NO_COLOR": "If it is set, nothing is coloured.",
    "CC, CXX, CFLAGS, CXXFLAGS, LDFLAGS": "As CMake has them.",
}


def man_pages() -> dict[str, str]:
    """Every page by its file name."""
    all_of_them = list(commands())
    pages = {f"{PROGRAM}.1": _page(program(), all_of_them)}
    pages |= {f"{command.slug}.1": _page(command, ()) for command in all_of_them}
    verify = next(command for command in all_of_them if command.name == "verify-symbols")
    return pages | {f"{ALONE}.1": _alone(verify)}


def _alone(command: Command) -> str:
    """The page of the command that has a name of its own."""
    page = _page(command, ()).replace(f'"{command.slug.upper()}"', f'"{ALONE.upper()}"', 1)
    page = page.replace(_text(command.slug), ALONE).replace(_text(f"{PROGRAM} {command.name}"), ALONE)
    status = [".SH EXIT STATUS", *_items({str(code.number): code.meaning for code in EXIT_CODES[:3]})]
    return page + "\n".join(status) + "\n"


def _page(command: Command, listed: Iterable[Command]) -> str:
    lines = [
        f'.TH "{command.slug.upper()}" "1" "{DATE}" "{PROGRAM} {__version__}" "{PROGRAM} manual"',
        ".SH NAME",
        rf"{_text(command.slug)} \- {_text(_lowered(command.summary))}",
        ".SH SYNOPSIS",
        rf"\fB{_text(' '.join([PROGRAM, *command.name.split()]))}\fR"
        + "".join(f" {_text(word)}" for word in ("[OPTIONS]", *command.arguments)),
        ".SH DESCRIPTION",
    ]
    for number, paragraph in enumerate(command.text):
        lines += [*([".PP"] if number else []), *_filled(paragraph)]
    listed = list(listed)
    if listed:
        lines += [".SH COMMANDS"]
        for other in listed:
            lines += _item(rf"\fB{_text(other.name)}\fR", other.summary)
    lines += [".SH OPTIONS"]
    for option in command.options:
        names = ", ".join(rf"\fB{_text(name)}\fR" for name in option.names)
        value = rf" \fI{_text(option.value)}\fR" if option.value else ""
        lines += _item(
            names + value, option.help + (f" Default: {option.default}." if option.default else "")
        )
    lines += _tables(command)
    if command.examples:
        lines += [".SH EXAMPLES"]
        for number, example in enumerate(command.examples):
            lines += [*([".PP"] if number else []), ".nf", _text(example), ".fi"]
    if command.name:
        lines += [".SH SEE ALSO", rf"\fB{_text(PROGRAM)}\fR(1)"]
    return "\n".join(lines) + "\n"


def _tables(command: Command) -> list[str]:
    if command.name:
        return []
    return [
        ".SH EXIT STATUS",
        *_items({str(code.number): code.meaning for code in EXIT_CODES}),
        ".SH ENVIRONMENT",
        *_items(_ENVIRONMENT),
    ]


def _items(table: Mapping[str, str]) -> list[str]:
    return [line for name, text in table.items() for line in _item(rf"\fB{_text(name)}\fR", text)]


def _item(head: str, text: str) -> list[str]:
    return [".TP", head, *_filled(text)]


def _filled(text: str) -> list[str]:
    """``text`` in lines that are no longer than an editor shows."""
    return [_text(line) for line in textwrap.wrap(text, 72, break_on_hyphens=False)] or [r"\&"]


def _lowered(summary: str) -> str:
    text = summary.rstrip(".")
    return text[:1].lower() + text[1:] if not text[:2].isupper() else text


def _text(text: str) -> str:
    """``text`` with what troff would take for its own made plain."""
    plain = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", r"\(ga")
    return r"\&" + plain if plain.startswith(".") else plain
