"""A Python file as anchors see it: its statements, classes and dicts, with their places in bytes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import pairwise

from patcher.engine.anchors.constants import evaluate
from patcher.engine.anchors.site import AnchorError
from patcher.engine.anchors.source import Source, blank_run

_TOP = re.compile(rb"^(?:class|def|async def|@|if)\b|^@", re.MULTILINE)


def sections(data: bytes, words: Iterable[str]) -> bytes:
    """The file, same length, without the top-level definitions in which none of ``words`` stands.

    The converters have 12,000 lines, of which a handful concern us.
    """
    starts = [0, *(found.start() for found in _TOP.finditer(data)), len(data)]
    wanted = re.compile(b"|".join(re.escape(word.encode()) for word in words))
    parts = [data[start:end] for start, end in pairwise(starts)]
    return b"".join(part if wanted.search(part) else blank_run(part) for part in parts)


class Module:
    """A parsed Python file, of the sections that mention ``words`` alone where they are given.

    Raises :class:`AnchorError` where it isn't Python.
    """

    def __init__(self, source: Source, words: Iterable[str] | None = None) -> None:
        self.source = source
        try:
            self.tree = ast.parse(source.data if words is None else sections(source.data, words))
        except (SyntaxError, ValueError) as why:
            raise AnchorError("Python", str(why)) from why

    @cached_property
    def statements(self) -> list[ast.stmt]:
        """Every statement at any depth; expressions are a hundred times as many and rarely asked for."""
        found: list[ast.stmt] = []
        todo: list[ast.AST] = [self.tree]
        while todo:
            node = todo.pop()
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                inner = getattr(node, field, ())
                todo += inner if isinstance(inner, list) else ()
            if isinstance(node, ast.stmt):
                found.append(node)
        return found

    def start(self, node: ast.expr | ast.stmt) -> int:
        """Offset of the node's first byte (``ast`` counts columns in UTF-8 bytes)."""
        return self.source.starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt) -> int:
        """Offset just behind the node."""
        # both are None only for nodes that were made by hand
        return self.source.starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0)

    def text(self, node: ast.expr | ast.stmt) -> str:
        """The node as it is written."""
        return self.source.text(self.start(node), self.end(node))

    def classes(self, name: str) -> list[ast.ClassDef]:
        """The classes of the module called ``name``."""
        return [node for node in self.tree.body if isinstance(node, ast.ClassDef) and node.name == name]

    def dicts(self, variable: str) -> Iterator[ast.Dict]:
        """Every dict display that is assigned to ``variable``, at any depth."""
        for node in self.statements:
            if isinstance(node, ast.Assign):
                targets, value = node.targets, node.value
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                targets, value = [node.target], node.value
            else:
                continue
            if isinstance(value, ast.Dict) and any(
                isinstance(target, ast.Name) and target.id == variable for target in targets
            ):
                yield value


def target_of(node: ast.stmt) -> tuple[str, ast.expr] | None:
    """The name that a statement of a class body gives a value to, and the value."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id, node.value
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return node.target.id, node.value
    return None


def member_lines(module: Module, name: str) -> list[tuple[str, int, int]]:
    """(name, value, offset) of the members of the enum class ``name`` whose value can be told."""
    values = member_values(module, name)
    found = []
    for one in module.classes(name):
        for node in one.body:
            target = target_of(node)
            value = values.get(target[0]) if target is not None else None
            if target is not None and value is not None:
                found.append((target[0], value, module.start(node)))
    return found


def member_values(module: Module, name: str) -> dict[str, int | None]:
    """Name -> value of the members of the enum class ``name``; None where it can't be told."""
    values: dict[str, int | None] = {}
    for found in module.classes(name):
        for node in found.body:
            target = target_of(node)
            if target is not None:
                values[target[0]] = evaluate(module.text(target[1]), values)
    return values
