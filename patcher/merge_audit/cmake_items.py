"""The items of a CMake list: arguments, each owned by its command; conditions; whole commands."""

from __future__ import annotations

import re
from bisect import bisect_right

from patcher.merge_audit.item import Item, Key, Reading

_TOKEN = re.compile(
    r"(?P<skip>\s+|#\[(?P<eq>=*)\[.*?(?:\](?P=eq)\]|\Z)|#[^\n]*)"
    r'|(?P<text>\[(?P<eq2>=*)\[.*?(?:\](?P=eq2)\]|\Z)|"(?:\\.|[^"\\])*"?)'
    r'|(?P<mark>[()])|(?P<word>(?:\\.|\$\{[^}$\n]*\}|\$<[^>$\n]*>|[^\s()#"\\])+|.)',
    re.DOTALL,
)
_CONDITIONS = frozenset(["if", "elseif", "foreach", "while"])
_CLOSING = frozenset(["else", "endif", "endforeach", "endwhile", "endfunction", "endmacro"])
_VISIBILITY = frozenset(["PUBLIC", "PRIVATE", "INTERFACE"])  # of what follows it in its command
_WHOLE = frozenset(
    ["message", "string", "math", "file", "find_package", "include", "execute_process", "return"]
)
_FILE = re.compile(
    r"[\w${}./-]*\.(?:c|cc|cpp|cxx|h|hpp|cu|cuh|m|mm|metal|S|comp|glsl|py|in)|[\w${}-]+/[\w${}./-]+"
)


def read(text: str) -> Reading:
    """The items of a ``CMakeLists.txt`` or ``.cmake`` file."""
    ends = [found.start() for found in re.finditer("\n", text)]
    reading = Reading()
    around: list[str] = []
    conditions: list[str] = []
    name, start, depth, words = "", 0, 0, list[str]()
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            break
        position = found.end()
        if found["skip"] is not None:
            continue
        word = found.group()
        if word == "(":
            depth += 1
            if depth > 1:
                words.append(word)
        elif word == ")" and depth:
            depth -= 1
            if depth:
                words.append(word)
                continue
            line = bisect_right(ends, start - 1) + 1
            _command(reading, around, conditions, name.lower(), words, line)
            words = []
        elif depth:
            words.append(word)
        else:
            name, start = word, found.start()
    return reading


def _command(
    reading: Reading, around: list[str], conditions: list[str], name: str, words: list[str], line: int
) -> None:
    visibility = ""

    def add(owner: tuple[str, ...], construct: str, text: str, opens: str = "") -> None:
        under = (conditions[-1] if conditions else "", visibility)
        reading.items.append(Item(Key(owner, construct, text), line, None, under, opens))

    here = tuple(around)
    whole = f"{name}({' '.join(words)})"
    if name in ("function", "macro"):
        add(here, "definition", whole)
        around.append(words[0] if words else name)
    elif name in _CLOSING:
        if name in ("endfunction", "endmacro"):
            del around[-1:]
        elif name == "else":
            asked = conditions.pop() if conditions else ""
            add(here, "condition", "else", f"else of {asked}")
            conditions.append(f"else of {asked}")
        else:
            del conditions[-1:]
    elif name in _CONDITIONS:
        if name == "elseif":
            del conditions[-1:]
        asked = whole.removeprefix("else")  # whether it is the first of its row is the same
        add(here, "condition", whole, asked)
        conditions.append(asked)
    elif name in ("option", "add_subdirectory", "cmake_dependent_option", "llama_option_depr"):
        add(here, "option" if "option" in name else "source", whole)
    elif name in _WHOLE or len(words) < 2:
        add(here, "statement", whole)
    else:
        first = words[:2] if name == "list" else words[:1]
        owner = (*here, f"{name}({' '.join(first)})")
        add(owner, "statement", f"{name}({' '.join(first)} ...)")
        for word in words[len(first) :]:
            visibility = word if word in _VISIBILITY else visibility
            opens = visibility if word == visibility else ""
            add(owner, "source" if _FILE.fullmatch(word) else "argument", word, opens)
