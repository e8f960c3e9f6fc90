"""Text from trees, objects, models and commits, made harmless: to terminals, CI services and Markdown.

Names may be anybody's: an escape sequence in one can rewrite the screen, set the title or answer a
question in the user's stead, a change of writing direction can make one name look like another, a line end
lets a name begin a line of its own, which a CI service may take as a command, and in a comment it may be a
link or call somebody by name. Whatever says a name says it by one of these functions.
"""

from __future__ import annotations

import re

# Our own colours pass: bold, dim, italic, underline, colours, and back. Nothing that hides or moves.
_ONE = r"(?:[0-4]|2[2-4]|3[0-7]|38;5;\d{1,3}|39|9[0-7])"
_COLOR = rf"\x1b\[(?:{_ONE}(?:;{_ONE})*)?m"
# C0 but tab and newline, DEL, C1, marks of direction, half a surrogate pair (a byte that was no UTF-8)
_UNSAFE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
# Patterns, compiled where they are first used: short commands say harmless things only.
_EITHER = f"{_COLOR}|(?P<unsafe>{_UNSAFE})"
# What GitHub's and Azure's runners take as a command, at the start of a line
_COMMAND = r"(?m)^([^\S\n]*)(::|##(?=\[))"
_LINE_ENDS = "[\n\u2028\u2029]"
_MARKDOWN = (
    r"(?P<char>[\\`*{}\[\]<>|~&$]|(?<!\w)_|_(?!\w))|(?P<call>@|\#(?=\d))"
    r"|(?P<link>(?i:(?<=www)(?=\.))|:(?=//))"
)


def harmless(text: str, *, commands: bool = False) -> str:
    """``text``, of several lines, with what would do more than show itself written as escapes.

    With ``commands`` lines may be a runner's commands: of ours, with every name in them escaped already.
    """
    shown = re.sub(_EITHER, lambda found: _escape(found["unsafe"]) if found["unsafe"] else found[0], text)
    if commands:
        return shown
    return re.sub(_COMMAND, lambda found: f"{found[1]}\\x{ord(found[2][0]):02x}{found[2][1:]}", shown)


def one_line(text: str) -> str:
    """``text`` as :func:`harmless` has it, and in one line whatever is in it."""
    return harmless(re.sub(_LINE_ENDS, lambda found: _escape(found[0]), text))


def readable(text: str) -> str:
    """``text`` in one line, with all that doesn't print, colours too, written as escapes."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def markdown(text: str) -> str:
    """``text`` as Markdown that says just that, in one line: no markup, no link, nobody called by name."""
    return re.sub(_MARKDOWN, _inert, readable(text))


def _inert(found: re.Match[str]) -> str:
    if found["char"]:
        return f"&#{ord(found[0])};"
    # nothing that is seen, and no name follows the sign any more, no address the colon
    return f"{found[0] if found['link'] is not None else f'&#{ord(found[0])};'}&#8203;"


def harmless_json(document: str) -> str:
    """The same for JSON, which stays the same document: such characters stand in strings only."""
    return re.sub(_UNSAFE, lambda found: f"\\u{ord(found[0]):04x}", document)


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")
