"""What the words before a brace name: an enum, a function, what a list is given to."""

from __future__ import annotations

import re

_LONGEST = 60  # characters of a text that tells one call from another
_NO_NAME = frozenset(
    [
        "__attribute__",
        "__declspec",
        "alignas",
        "decltype",
        "noexcept",
        "throw",
        "requires",
        "sizeof",
        "if",
        "for",
        "while",
        "switch",
        "return",
        "__launch_bounds__",
        "layout",
        "asm",
        "__asm__",
        "LLAMA_ATTRIBUTE_FORMAT",
        "GGML_ATTRIBUTE_FORMAT",
    ]
)


def named(head: list[str], *keywords: str) -> str | None:
    """The name behind ``enum``, ``struct``, ...; None where it has none."""
    at = max((number for number, word in enumerate(head) if word in (*keywords, "class")), default=-1)
    for number, word in enumerate(head[at + 1 :], at + 1):
        if word == ":":
            break
        if re.fullmatch(r"[A-Za-z_]\w*", word) and word not in ("final", "alignas"):
            return word + _given(head, number + 1)
    return None


def _given(head: list[str], at: int) -> str:
    """What a template is specialized for, where that stands there: ``<float>``; else nothing."""
    depth = 0
    for end in range(at, len(head)):
        depth += {"<": 1, ">": -1, ">>": -2}.get(head[end], 0)
        if depth <= 0:
            return "".join(head[at : end + 1]) if end > at else ""
    return ""


def equals(head: list[str]) -> int | None:
    """Where something is given to a name: the first ``=`` in no parentheses that is no operator's name."""
    depth = 0
    for at, word in enumerate(head):
        if word == "=" and depth <= 0 and head[at - 1 : at] != ["operator"]:
            return at
        depth += (word in "([") - (word in ")]")
    return None


def assigned(head: list[str]) -> str | None:
    """What a list is given to: the last name before ``=`` that stands in no brackets."""
    name, depth = None, 0
    for word in head[: equals(head)]:
        depth += (word in "([<") - (word in ")]>")
        if depth <= 0 and re.fullmatch(r"[A-Za-z_]\w*", word):
            name = word
    return name


def function(head: list[str]) -> str | None:
    """A function's name, with its class where it is written outside of that."""
    depth = 0
    for at, word in enumerate(head):
        if word == "(":
            end = _before_given(head, at)
            before = head[end - 1] if end else ""
            if not depth and re.fullmatch(r"[A-Za-z_]\w*", before) and before not in _NO_NAME:
                start = end - 1
                while start >= 2 and head[start - 1] == "::":
                    start -= 2
                return "".join(head[start:at])
            if not depth and "operator" in head[:at]:
                return "".join(head[head.index("operator") : at])
        depth += (word in "([") - (word in ")]")
    return None


def _before_given(head: list[str], end: int) -> int:
    """Where ``<...>`` begins that ends there; ``end`` where nothing does."""
    depth = 0
    for at in range(end - 1, 0, -1):
        depth += {">": 1, ">>": 2, "<": -1}.get(head[at], 0)
        if depth <= 0:
            return at if at < end - 1 else end
    return end


def called(head: list[str]) -> str | None:
    """What a list is an argument of: the call that is open, with the first text that it is given."""
    opened: list[int] = []
    for at, word in enumerate(head):
        if word in "([":
            opened.append(at)
        elif word in ")]" and opened:
            opened.pop()
    if not opened or not re.fullmatch(r"[A-Za-z_]\w*", head[opened[-1] - 1] if opened[-1] else ""):
        return None
    text = next((word for word in head[opened[-1] :] if word.startswith('"')), "")
    return f"{head[opened[-1] - 1]}({text[:_LONGEST]}"
