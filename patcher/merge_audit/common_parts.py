"""What all versions of a file have in common, left out before they are read: most of a long file.

A part that is the same in all of them, as often, can't be lost, and nothing else is read differently without
it: it goes from each. Lines keep their numbers.
"""

from __future__ import annotations

import re
from collections import Counter

# where the next part begins: behind a brace that closes at the start of its line; at a class or a function
_ENDS = {
    "c": re.compile(r"^\}[^\n]*\n", re.MULTILINE),
    "python": re.compile(r"^(?=(?:@[^\n]*\n)*(?:class|def|async def)\b)", re.MULTILINE),
}


def without_common(language: str, texts: list[str]) -> list[str]:
    """``texts`` with the parts that all have blanked."""
    pattern = _ENDS.get(language)
    if pattern is None or len(texts) < 2 or not all(texts):
        return texts
    split = [_parts(pattern, text) for text in texts]
    counts = [Counter(parts) for parts in split]
    first = counts[0]
    common = {
        part
        for part, number in first.items()
        if all(other[part] == number for other in counts[1:]) and _is_whole(language, part)
    }
    return ["".join("\n" * part.count("\n") if part in common else part for part in parts) for parts in split]


def _parts(pattern: re.Pattern[str], text: str) -> list[str]:
    parts, start = [], 0
    for found in pattern.finditer(text):
        end = found.end()
        if end > start:
            parts.append(text[start:end])
            start = end
    return [*parts, text[start:]]


def _is_whole(language: str, part: str) -> bool:
    """Whether what it opens it closes: braces, comments, conditions; strings of several lines."""
    if language == "python":
        return part.count('"""') % 2 == 0 and part.count("'''") % 2 == 0
    opened = len(re.findall(r"^[ \t]*#[ \t]*if", part, re.MULTILINE))
    closed = len(re.findall(r"^[ \t]*#[ \t]*endif", part, re.MULTILINE))
    return (
        part.count("{") == part.count("}")
        and part.count("/*") == part.count("*/")
        and opened == closed
        and part.count('R"') == 0
        and re.search(r"^[ \t]*#[ \t]*el", part, re.MULTILINE) is None
    )
