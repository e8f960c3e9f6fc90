"""A demangled template's instance, taken apart: result, name, arguments, parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from patcher.symbols.brackets import Brackets
from patcher.symbols.demangle import demangle
from patcher.symbols.instantiate import class_instance, function_instance, tidy

_CONST = re.compile(r"^([\w:<>, ]+?) const(?= ?[&*]|$)")


_COMPUTED = ("decltype", "{parm#", "::type", "_v<", "_t<")  # in a result: it is worked out from the arguments


@dataclass(frozen=True)
class Signature:
    """``result name<arguments>(parameters) suffix``."""

    result: str
    name: str  # qualified, without the arguments
    arguments: str  # with their angle brackets
    parameters: tuple[str, ...]
    suffix: str = ""  # const and the like
    is_class: bool = False  # a member of a class template: the class is what can be instantiated
    entity: str = "function"  # or constructor (conversion operators, too: what has no result), variable

    @property
    def base(self) -> str:
        """The unqualified name."""
        return self.name.rpartition("::")[2]

    @property
    def word(self) -> str:
        """The last identifier of the name, which the mangled name has in it: of an operator its class's."""
        parts = [one for one in bare(self.name).split("::") if one and not one.startswith("operator")]
        return parts[-1] if parts else self.base

    def lines(self, names: tuple[str, ...] = ()) -> list[str]:
        """Every way to write the instantiation, the likeliest first; only a compiler can tell them apart.

        What a result is computed from is in the mangled name and can't be written so; the compiler is asked.
        """
        if self.is_class:
            return [self.directive()]
        if self.entity == "variable":
            whole = f"{self.name}{self.arguments}"
            return [f"template decltype({whole}) {whole};"]
        given = ", ".join(f"std::declval<{_spelled(one)}>()" for one in self.parameters)
        scope, _, member = self.name.rpartition("::")
        called = [f"{self.name}{self.arguments}({given})"]
        if scope:
            const = "const " if self.suffix.startswith("const") else ""
            called.append(f"std::declval<{const}{scope}&>().{member}{self.arguments}({given})")
            called.append(f"std::declval<{const}{scope}&>().template {member}{self.arguments}({given})")
        if self.entity != "function":
            return [self.directive(names)]
        asked = [replace(self, result=f"decltype({one})").directive(names) for one in called]
        if any(sign in self.result for sign in _COMPUTED):
            return [*asked, self.directive(names)]
        return [self.directive(names), *asked]

    def directive(self, names: tuple[str, ...] = ()) -> str:
        """The explicit instantiation, with parameter names where they are known, one for each."""
        if self.is_class:
            return f"template class {self.name}{self.arguments};"
        types = [_spelled(one) for one in self.parameters]
        if len(names) == len(types):
            types = [_named(spelled, name) for spelled, name in zip(types, names, strict=True)]
        tail = f" {self.suffix}" if self.suffix else ""
        if self.entity == "constructor":
            return f"template {self.name}({', '.join(types)}){tail};"
        return f"template {_spelled(self.result)} {self.name}{self.arguments}({', '.join(types)}){tail};"


def signature(mangled: str) -> Signature | None:
    """The instance that a mangled name stands for; None for what is no template's.

    Only template functions carry their result type in the mangling (Itanium C++ ABI, 5.1.5.3).
    """
    text = tidy(demangle(mangled))
    if text == mangled:
        return None
    return _no_result(text) or _function(text) or _variable(text) or _class(text)


def _class(text: str) -> Signature | None:
    shape = class_instance(text)
    return Signature("", shape[0], shape[1], (), is_class=True) if shape else None


def bare(name: str) -> str:
    """A qualified name without any template arguments."""
    brackets = Brackets(name)
    return "".join(name[at] for at in brackets.outside() if at not in brackets.partner or name[at] != "<")


def _no_result(text: str) -> Signature | None:
    """``a::Box<int>::Box<double>(double)``, ``a::X::operator int<int>() const``: no result is named."""
    brackets = Brackets(text)
    start = next((at for at in brackets.outside() if text[at] == "(" and text[at - 1 : at] == ">"), None)
    if start is None or start not in brackets.partner or start - 1 not in brackets.partner:
        return None
    angle, end = brackets.partner[start - 1], brackets.partner[start]
    name = text[:angle]
    scope, _, last = name.rpartition("::")
    converts = last.startswith("operator ")
    spaced = any(scope[at] == " " for at in Brackets(scope).outside())  # a result stands before it
    if (
        not scope
        or spaced
        or scope.startswith("std::")
        or (not converts and bare(scope).rpartition("::")[2] != last)
    ):
        return None
    parameters = tuple(brackets.split(start + 1, end))
    suffix = text[end + 1 :].strip()
    return Signature("", name, text[angle:start], parameters, suffix, entity="constructor")


def _variable(text: str) -> Signature | None:
    """``a::Box<int>::cell<double>``: a variable template, which has no parameters."""
    brackets = Brackets(text)
    angle = brackets.partner.get(len(text) - 1)
    outside = "".join(text[at] for at in brackets.outside())
    if angle is None or text[-1:] != ">" or "(" in outside or " " in outside or text.startswith("std::"):
        return None
    return Signature("", text[:angle], text[angle:], (), entity="variable")


def _function(text: str) -> Signature | None:
    shape = function_instance(text)
    return Signature(*shape) if shape else None


def _spelled(written: str) -> str:
    """``T const&`` as people write it: ``const T &``."""
    moved = _CONST.sub(r"const \1", written)
    return re.sub(r"(?<=[\w>])([&*]+)$", r" \1", moved)


def _named(spelled: str, name: str) -> str:
    """A parameter's declaration. The name of a function pointer or an array would go inside: none then."""
    return spelled if not name or "(" in spelled or "[" in spelled else f"{spelled} {name}"
