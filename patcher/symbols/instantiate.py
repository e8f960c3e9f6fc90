"""The line that would define an undefined C++ template: an explicit instantiation (C++ [temp.explicit]).

Demangled names are read by walks over their brackets: a pattern that looks for nested ones tries each way to
part them, and a name can be made so that there is no end of ways.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from patcher.symbols.brackets import Brackets

_STRING = re.compile(
    r"std::(?:__cxx11::|__1::)?basic_string<char, std::(?:__1::)?char_traits<char>, "
    r"std::(?:__1::)?allocator<char> ?>"
)
_SPACED = re.compile(r"> (?=>)")
_ALLOCATORS = ("std::allocator<", "std::__1::allocator<")
_SEQUENCES = tuple(
    f"std::{inner}{name}<" for inner in ("", "__1::") for name in ("vector", "deque", "list", "forward_list")
)
_TABLE = re.compile(r"^(?:vtable|typeinfo|typeinfo name|VTT) for ")
_PLAIN = re.compile(r"[\w:<>,*&~ ]+")  # what can be written outside of the brackets of an instantiation


class Instance(NamedTuple):
    """``result name<arguments>(parameters) suffix``, the name qualified."""

    result: str
    name: str
    arguments: str  # with their angle brackets
    parameters: tuple[str, ...]
    suffix: str


def directive(demangled: str) -> str | None:
    """The explicit instantiation for a template function's demangled name; None where it is none."""
    text = tidy(demangled)
    shape = function_instance(text)
    if shape is None or not all(_PLAIN.fullmatch(_outside(part)) for part in (shape.result, shape.name)):
        return None
    return f"template {text};"


def function_instance(text: str) -> Instance | None:
    """The parts of a tidy name of a template function's instance; None for any other name.

    Only template functions carry their result type in the mangling (Itanium C++ ABI, 5.1.5.3), so text
    before the name means template.
    """
    brackets = Brackets(text)
    start = next((at for at in brackets.outside() if text[at] == "(" and text[at - 1 : at] == ">"), None)
    if start is None or start not in brackets.partner:
        return None
    end = brackets.partner[start]
    spaces = (at for at in brackets.outside(0, start) if text[at] == " " and at not in brackets.operators)
    space = max(spaces, default=-1)
    angle = brackets.partner.get(start - 1, -1)
    if space < 1 or angle <= space + 1:
        return None
    parameters = tuple(brackets.split(start + 1, end))
    name, arguments = text[space + 1 : angle], text[angle:start]
    return Instance(text[:space], name, arguments, parameters, text[end + 1 :].strip())


def class_instance(text: str) -> tuple[str, str] | None:
    """Name and arguments of the class template's instance whose member (or table) a tidy name is."""
    table = _TABLE.match(text)
    scope = text[table.end() :] if table else _scope(text)
    if scope.startswith(("std::", "__gnu_cxx::")) or any(char in _outside(scope) for char in " ("):
        return None
    # a class inside of a template is instantiated with it
    brackets = Brackets(scope)
    scope = scope[: max((at for at in brackets.partner if scope[at] == ">"), default=-1) + 1]
    at = brackets.partner.get(len(scope) - 1)
    return None if at is None else (scope[:at], scope[at:])


def _scope(text: str) -> str:
    """What stands before the last ``::`` that is in no bracket, the parameters left out."""
    last = 0
    for at in Brackets(text).outside():
        if text[at] == "(" and not text.startswith("(anonymous", at):
            break
        if text.startswith("::", at):
            last = at
    return text[:last]


def _outside(text: str) -> str:
    """The text that is in no bracket; of a pair the opening one."""
    return "".join([text[at] for at in Brackets(text).outside()])


def tidy(demangled: str) -> str:
    """The demangled name with ``std::string`` for what it is called inside, and no default allocators."""
    text = _SPACED.sub(">", _STRING.sub("std::string", demangled))
    if not any(name in text for name in _ALLOCATORS):
        return text
    brackets = Brackets(text)
    made: list[str] = []  # characters
    # of each pair that is open: where it ends, where it begins in what is made, and its last comma there
    frames: list[tuple[int, int]] = []
    commas: list[int] = []
    for at, char in enumerate(text):
        if frames and at == frames[-1][0]:
            (_, begin), comma = frames.pop(), commas.pop()
            if comma and _is_default(made, begin, comma):
                del made[comma:]
        made.append(char)
        if brackets.partner.get(at, -1) > at:
            frames.append((brackets.partner[at], len(made)))
            commas.append(0)
        elif char == "," and frames:
            commas[-1] = len(made) - 1
    return "".join(made)


def _is_default(made: list[str], begin: int, comma: int) -> bool:
    """Whether what is made ends like ``std::vector<ITEM, std::allocator<ITEM>``: from ``begin`` on ITEM."""
    item, rest = comma - begin, len(made) - comma - 2
    wrapping = next((len(name) for name in _ALLOCATORS if rest == item + len(name) + 1), 0)
    if not wrapping or not "".join(made[max(0, begin - 24) : begin]).endswith(_SEQUENCES):
        return False  # lengths first: only what may be equal is compared
    other = "".join(made[comma + 2 :])
    return other.startswith(_ALLOCATORS) and other[wrapping:-1] == "".join(made[begin:comma])
