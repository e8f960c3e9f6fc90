"""The line that would define an undefined C++ template: an explicit instantiation (C++ [temp.explicit])."""

from __future__ import annotations

import re

_STRING = re.compile(
    r"std::(?:__cxx11::|__1::)?basic_string<char, std::(?:__1::)?char_traits<char>, "
    r"std::(?:__1::)?allocator<char> ?>"
)
_SPACED = re.compile(r"> (?=>)")
# only template functions carry their return type in the mangling, so text before the name means template
_TEMPLATE = re.compile(r"^(?P<result>[\w:<>,*& ]+?) (?P<name>(?:[\w~]+(?:<.*>)?::)*\w+<.*>)\(")


def directive(demangled: str) -> str | None:
    """The explicit instantiation for a template function's demangled name; None where it is none."""
    text = _SPACED.sub(">", _STRING.sub("std::string", demangled))
    if not _TEMPLATE.match(text):
        return None
    return f"template {text};"


def tidy(demangled: str) -> str:
    """The demangled name with ``std::string`` for what it is called inside."""
    return _SPACED.sub(">", _STRING.sub("std::string", demangled))
