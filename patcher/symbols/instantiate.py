"""The line that would define an undefined C++ template: an explicit instantiation (C++ [temp.explicit])."""

from __future__ import annotations

import re

_STRING = re.compile(
    r"std::(?:__cxx11::|__1::)?basic_string<char, std::(?:__1::)?char_traits<char>, "
    r"std::(?:__1::)?allocator<char> ?>"
)
_SPACED = re.compile(r"> (?=>)")
_SEQUENCE = re.compile(
    r"(?P<container>std::(?:__1::)?(?:vector|deque|list|forward_list))<(?P<item>[^;]+?), "
    r"std::(?:__1::)?allocator<(?P=item)>>"
)
_LONGEST = 4096  # of a name that is read for default arguments: the time grows by its square
_TABLE = re.compile(r"^(?:vtable|typeinfo|typeinfo name|VTT) for ")
# only template functions carry their return type in the mangling, so text before the name means template
_TEMPLATE = re.compile(r"^(?P<result>[\w:<>,*& ]+?) (?P<name>(?:[\w~]+(?:<.*>)?::)*\w+<.*>)\(")


def directive(demangled: str) -> str | None:
    """The explicit instantiation for a template function's demangled name; None where it is none."""
    text = tidy(demangled)
    if not _TEMPLATE.match(text):
        return None
    return f"template {text};"


def class_directive(demangled: str) -> str | None:
    """The explicit instantiation of the class template that a member belongs to; None where it is no such.

    A member that is no template itself has no return type in its mangled name: only the class can be
    instantiated. What is in ``std`` is the standard library's to define.
    """
    shape = class_instance(tidy(demangled))
    return f"template class {shape[0]}{shape[1]};" if shape else None


def class_instance(text: str) -> tuple[str, str] | None:
    """Name and arguments of the class template's instance whose member (or table) a tidy name is."""
    table = _TABLE.match(text)
    scope = text[table.end() :] if table else _scope(text)
    if not scope.endswith(">") or scope.startswith(("std::", "__gnu_cxx::")) or " " in _outside(scope):
        return None
    depth = 0
    for at in range(len(scope) - 1, -1, -1):
        depth += (scope[at] == ">") - (scope[at] == "<")
        if depth == 0:
            return scope[:at], scope[at:]
    return None


def _scope(text: str) -> str:
    """What stands before the last ``::`` that is in no bracket, the parameters left out."""
    depth, last = 0, -1
    for at, char in enumerate(text):
        if char == "(" and depth == 0 and not text.startswith("(anonymous", at):
            break
        depth += (char in "<([{") - (char in ">)]}")
        if text.startswith("::", at) and depth == 0:
            last = at
    return text[:last] if last > 0 else ""


def _outside(text: str) -> str:
    """The text that is in no angle bracket."""
    depth, kept = 0, []
    for char in text:
        depth += (char == "<") - (char == ">")
        if depth == 0:
            kept.append(char)
    return "".join(kept)


def tidy(demangled: str) -> str:
    """The demangled name with ``std::string`` for what it is called inside, and no default allocators."""
    text = _SPACED.sub(">", _STRING.sub("std::string", demangled))
    while len(text) < _LONGEST and (shorter := _SEQUENCE.sub(r"\g<container><\g<item>>", text)) != text:
        text = shorter
    return text
