"""A demangled template's instance, taken apart: result, name, arguments, parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass

from patcher.symbols.demangle import demangle
from patcher.symbols.instantiate import class_instance, function_instance, tidy

_CONST = re.compile(r"^([\w:<>, ]+?) const(?= ?[&*]|$)")


@dataclass(frozen=True)
class Signature:
    """``result name<arguments>(parameters) suffix``."""

    result: str
    name: str  # qualified, without the arguments
    arguments: str  # with their angle brackets
    parameters: tuple[str, ...]
    suffix: str = ""  # const and the like
    is_class: bool = False  # a member of a class template: the class is what can be instantiated

    @property
    def base(self) -> str:
        """The unqualified name."""
        return self.name.rpartition("::")[2]

    def directive(self, names: tuple[str, ...] = ()) -> str:
        """The explicit instantiation, with parameter names where they are known, one for each."""
        if self.is_class:
            return f"template class {self.name}{self.arguments};"
        types = [_spelled(one) for one in self.parameters]
        if len(names) == len(types):
            types = [_named(kind, name) for kind, name in zip(types, names, strict=True)]
        tail = f" {self.suffix}" if self.suffix else ""
        return f"template {_spelled(self.result)} {self.name}{self.arguments}({', '.join(types)}){tail};"


def signature(mangled: str) -> Signature | None:
    """The instance that a mangled name stands for; None for what is no template's.

    Only template functions carry their result type in the mangling (Itanium C++ ABI, 5.1.5.3).
    """
    text = tidy(demangle(mangled))
    if text == mangled:
        return None
    return _function(text) or _class(text)


def _class(text: str) -> Signature | None:
    shape = class_instance(text)
    return Signature("", shape[0], shape[1], (), is_class=True) if shape else None


def _function(text: str) -> Signature | None:
    shape = function_instance(text)
    return Signature(*shape) if shape else None


def _spelled(kind: str) -> str:
    """``T const&`` as people write it: ``const T &``."""
    moved = _CONST.sub(r"const \1", kind)
    return re.sub(r"(?<=[\w>])([&*]+)$", r" \1", moved)


def _named(kind: str, name: str) -> str:
    """A parameter's declaration. The name of a function pointer or an array would go inside: none then."""
    return kind if not name or "(" in kind or "[" in kind else f"{kind} {name}"
