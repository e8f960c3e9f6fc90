"""What the hint of a raise can say, read off the code: through names, defaults, callers and functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manual.wording import said

# more than this many ways: a table of reasons, which has a section of its own
_MOST = 5
BY_REASON = "What helps depends on [the system's reason](#what-the-system-refuses)."


@dataclass
class Sources:
    """The package's modules, and what their names stand for. ``remedies`` are those of the classes of errors,
    ``refusals`` what is said where the system refuses, whatever was tried."""

    trees: Mapping[Path, ast.Module]
    remedies: Mapping[str, str] = field(default_factory=dict)
    above: Mapping[str, list[str]] = field(default_factory=dict)
    refusals: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.constants: dict[tuple[Path | None, str], ast.expr] = {}
        self.functions: dict[tuple[Path | None, str], ast.FunctionDef] = {}
        self.callers: dict[str, list[tuple[Path, ast.FunctionDef | None, ast.Call]]] = {}
        self.within: dict[ast.Call, ast.FunctionDef] = {}
        for place, tree in self.trees.items():
            for node in tree.body:
                if isinstance(node, ast.Assign):
                    for target in node.targets:
                        if isinstance(target, ast.Name):
                            self.constants[place, target.id] = node.value
                            if not target.id.startswith("_"):
                                self.constants[None, target.id] = node.value
            for function in (one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)):
                self.functions[place, function.name] = function
                if not function.name.startswith("_"):
                    self.functions.setdefault((None, function.name), function)
                for call in (one for one in ast.walk(function) if isinstance(one, ast.Call)):
                    self.within[call] = function  # an inner function comes later: the nearest stays
            for call in (one for one in ast.walk(tree) if isinstance(one, ast.Call)):
                name = called(call)
                self.callers.setdefault(name, []).append((place, self.within.get(call), call))

    def hint(self, call: ast.Call, place: Path) -> str:
        """What ``hint=`` of ``call`` can say, its ways between slashes; empty where it has none."""
        given = next((word.value for word in call.keywords if word.arg == "hint"), None)
        if given is None:
            return ""
        ways = list(dict.fromkeys(self._ways(given, place, self.within.get(call), 0)))
        own = [way for way in ways if way not in self.refusals]
        if len(own) > _MOST or (ways and not own):
            return BY_REASON
        return " / ".join(own)

    def _ways(
        self, node: ast.expr, place: Path, function: ast.FunctionDef | None, depth: int
    ) -> Iterator[str]:
        if depth > 6:
            return
        again = (place, function, depth + 1)
        match node:
            case ast.Constant(value=None):
                return
            case ast.Constant() | ast.JoinedStr() | ast.BinOp():
                text = said(node)
                if any(map(str.isalpha, text)):
                    yield text
            case ast.IfExp():
                yield from self._ways(node.body, *again)
                yield from self._ways(node.orelse, *again)
            case ast.BoolOp():
                for value in node.values:
                    yield from self._ways(value, *again)
            case ast.Name():
                yield from self._named(node.id, *again)
            case ast.Attribute(attr="hint", value=ast.Name(id=name)):
                yield from self._caught(name, function)
            case ast.Attribute():
                if (None, node.attr) in self.constants:
                    yield from self._ways(self.constants[None, node.attr], *again)
            case ast.Dict():
                for value in node.values:
                    yield from self._ways(value, *again)
            case ast.Subscript():
                yield from self._ways(node.value, *again)
            case ast.Call():
                yield from self._answered(node, *again)

    def _named(self, name: str, place: Path, function: ast.FunctionDef | None, depth: int) -> Iterator[str]:
        """What a name stands for: what its function or its callers say, or a module's constant."""
        kept = [
            one.value
            for one in (ast.walk(function) if function is not None else ())
            if isinstance(one, ast.Assign)
            for target in one.targets
            if isinstance(target, ast.Name) and target.id == name
        ]
        for value in kept:
            yield from self._ways(value, place, function, depth)
        if function is not None and not kept:
            arguments = function.args
            plain = [*arguments.posonlyargs, *arguments.args]
            if name in [one.arg for one in (*plain, *arguments.kwonlyargs)]:
                yield from self._given(name, function, depth)
                return
        constant = self.constants.get((place, name)) or self.constants.get((None, name))
        if constant is not None and not kept:
            yield from self._ways(constant, place, None, depth)

    def _given(self, name: str, function: ast.FunctionDef, depth: int) -> Iterator[str]:
        names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
        at = names.index(name) if name in names else None
        for place, caller, call in self.callers.get(function.name, ()):
            for word in call.keywords:
                if word.arg == name:
                    yield from self._ways(word.value, place, caller, depth)
            if at is not None and at < len(call.args):
                yield from self._ways(call.args[at], place, caller, depth)

    def _caught(self, name: str, function: ast.FunctionDef | None) -> Iterator[str]:
        """What the class of an error that is handed on says of it, or those below that class."""
        for handler in ast.walk(function) if function is not None else ():
            if isinstance(handler, ast.ExceptHandler) and handler.name == name and handler.type is not None:
                for one in ast.walk(handler.type):
                    if isinstance(one, ast.Name | ast.Attribute):
                        kind = one.id if isinstance(one, ast.Name) else one.attr
                        yield from (
                            remedy for below, remedy in self.remedies.items() if self._is_a(below, kind)
                        )

    def _is_a(self, name: str, kind: str) -> bool:
        return name == kind or any(self._is_a(one, kind) for one in self.above.get(name, ()))

    def _answered(
        self, node: ast.Call, place: Path, function: ast.FunctionDef | None, depth: int
    ) -> Iterator[str]:
        """What a function returns, what is looked up in a table, and what the call itself brings."""
        name = called(node)
        if name in ("get", "fromkeys") and isinstance(node.func, ast.Attribute):
            yield from self._ways(node.func.value, place, function, depth)
        elif (one := self.functions.get((place, name)) or self.functions.get((None, name))) is not None:
            home = next(where for (where, _), found in self.functions.items() if found is one and where)
            for answer in (part for part in ast.walk(one) if isinstance(part, ast.Return) and part.value):
                yield from self._ways(answer.value, home, one, depth)  # type: ignore[arg-type]
        for argument in node.args:
            if isinstance(argument, ast.Constant | ast.JoinedStr) and " " in said(argument):
                yield from self._ways(argument, place, function, depth)


def called(call: ast.Call) -> str:
    """The name of what is called."""
    if isinstance(call.func, ast.Name):
        return call.func.id
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""
