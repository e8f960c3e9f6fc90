"""Text from trees, objects, models and commits, made harmless to a terminal.

Names may be anybody's: an escape sequence in one can rewrite the screen, set the title or answer a
question in the user's stead, and a change of writing direction can make one name look like another.
"""

from __future__ import annotations

import re

# Our own colours pass: bold, dim, italic, underline, colours, and back. Nothing that hides or moves.
_ONE = r"(?:[0-4]|2[2-4]|3[0-7]|38;5;\d{1,3}|39|9[0-7])"
_COLOR = rf"\x1b\[(?:{_ONE}(?:;{_ONE})*)?m"
# C0 but tab and newline, DEL, C1, marks of direction, half a surrogate pair (a byte that was no UTF-8)
_UNSAFE = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
_EITHER = re.compile(f"{_COLOR}|(?P<unsafe>{_UNSAFE})")
_EACH = re.compile(_UNSAFE)


def harmless(text: str) -> str:
    """``text`` with what would do more than show itself written as escapes."""
    return _EITHER.sub(lambda found: _escape(found["unsafe"]) if found["unsafe"] else found[0], text)


def harmless_json(document: str) -> str:
    """The same for JSON, which stays the same document: such characters stand in strings only."""
    return _EACH.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def _escape(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")
