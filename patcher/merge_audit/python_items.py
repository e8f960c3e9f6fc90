"""The items of a Python file, through its own ``ast``."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator

from patcher.merge_audit.item import Item, Key, Reading, by_lines

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COLLECTIONS = (ast.Dict, ast.List, ast.Tuple, ast.Set)
_DEEPEST = 100  # blocks within blocks


class _Reader:
    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.reading = Reading()
        self.under = ""  # the condition, the loop or the branch that is read

    def add(
        self,
        owner: tuple[str, ...],
        construct: str,
        text: str,
        node: ast.AST,
        value: str | None = None,
        opens: str = "",
    ) -> None:
        line = getattr(node, "lineno", 1)
        self.reading.items.append(
            Item(Key(owner, construct, " ".join(text.split())), line, value, (self.under,), opens)
        )

    def said(self, node: ast.stmt | ast.expr) -> str:
        """The node's text; of one line as it stands there, of several as Python writes it."""
        if node.lineno == node.end_lineno and node.lineno <= len(self.lines):
            line = self.lines[node.lineno - 1].encode("utf-8")
            return line[node.col_offset : node.end_col_offset].decode("utf-8", "replace")
        return ast.unparse(node)

    def body(self, owner: tuple[str, ...], statements: list[ast.stmt], *, numbers: bool, depth: int) -> None:
        for statement in statements:
            self.statement(owner, statement, numbers=numbers, depth=depth)

    def statement(self, owner: tuple[str, ...], node: ast.stmt, *, numbers: bool, depth: int) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            source = "." * getattr(node, "level", 0) + (getattr(node, "module", None) or "")
            for alias in node.names:
                name = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
                self.add(owner, "include", f"{source}: {name}" if source else name, node)
        elif isinstance(node, _DEFINITIONS):
            self.definition(owner, node, depth)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            self.assignment(owner, node, numbers=numbers)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return  # a docstring, or ...
        elif not self.compound(owner, node, numbers, depth):
            self.add(owner, "statement", self.said(node), node)

    def definition(
        self, owner: tuple[str, ...], node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, depth: int
    ) -> None:
        inner = (*owner, node.name)
        for decorator in node.decorator_list:
            self.add(inner, "statement", f"@{self.said(decorator)}", decorator)
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base) for base in (*node.bases, *(one.value for one in node.keywords))]
            self.add(owner, "definition", f"class {node.name}({', '.join(bases)})", node)
            numbers = any("Enum" in base or "Flag" in base for base in bases)
        else:
            self.add(owner, "definition", self.head(node), node)
            numbers = False
        if depth < _DEEPEST:
            around, self.under = self.under, ""
            self.body(inner, node.body, numbers=numbers, depth=depth + 1)
            self.under = around

    def head(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
        """A function's first line without its colon, whatever lines it is written in."""
        line = self.lines[node.lineno - 1].strip() if node.lineno <= len(self.lines) else ""
        if line.endswith(":") and "#" not in line and node.body[0].lineno > node.lineno:
            return line[:-1]
        result = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
        word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
        return f"{word} {node.name}({ast.unparse(node.args)}){result}"

    def assignment(self, owner: tuple[str, ...], node: ast.Assign | ast.AnnAssign, *, numbers: bool) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        name, value = ", ".join(ast.unparse(target) for target in targets), node.value
        if numbers and value is not None:
            self.add(owner, "enumerator", name, node, self.said(value))
            self.add(owner, "value", f"{name} = {self.said(value)}", node)
        elif isinstance(value, _COLLECTIONS) and node.lineno != node.end_lineno:
            self.add(owner, "declaration", f"{name} = {type(value).__name__.lower()}", node)
            self.entries((*owner, name), value)
        else:
            self.add(owner, "statement", self.said(node), node)

    def entries(self, owner: tuple[str, ...], node: ast.expr) -> None:
        todo: list[tuple[tuple[str, ...], ast.expr]] = [(owner, node)]
        while todo:
            at, one = todo.pop()
            if isinstance(one, ast.Dict):
                for key, value in zip(one.keys, one.values, strict=True):
                    name = self.said(key) if key is not None else "**"
                    if isinstance(value, _COLLECTIONS) and value.lineno != value.end_lineno:
                        self.add(at, "entry", f"{name}:", value)
                        todo.append(((*at, name), value))
                    else:
                        self.add(at, "entry", f"{name}: {self.said(value)}", value)
            elif isinstance(one, ast.List | ast.Tuple | ast.Set):
                for element in one.elts:
                    if isinstance(element, _COLLECTIONS) and element.lineno != element.end_lineno:
                        todo.append((at, element))
                    else:
                        self.add(at, "entry", self.said(element), element)

    def compound(self, owner: tuple[str, ...], node: ast.stmt, numbers: bool, depth: int) -> bool:
        """Whether ``node`` holds blocks, which were read."""
        branches = [*self.branches(owner, node)]
        around = self.under
        for said, said_by, block in branches:
            self.under = around
            if said_by is not None:
                construct = "case" if said.startswith("case ") else "condition"
                self.add(owner, construct, said, said_by, opens=said)
            if depth < _DEEPEST:
                self.under = said
                self.body(owner, block, numbers=numbers, depth=depth + 1)
        self.under = around
        return bool(branches)

    def branches(
        self, owner: tuple[str, ...], node: ast.stmt
    ) -> Iterator[tuple[str, ast.AST | None, list[ast.stmt]]]:
        """Each block of ``node``: under what it stands, the node that says that (None: nothing), and it."""
        head = self.opening(node)
        if isinstance(node, ast.Match):
            self.add(owner, "condition", head, node)
            for case in node.cases:
                guard = f" if {ast.unparse(case.guard)}" if case.guard is not None else ""
                yield f"case {ast.unparse(case.pattern)}{guard}", case.pattern, case.body
        elif getattr(node, "body", None):
            yield head, node if head != "try" else None, node.body  # type: ignore[attr-defined]
        for handler in getattr(node, "handlers", None) or []:
            caught = ast.unparse(handler.type) if handler.type is not None else ""
            yield f"except {caught}", handler, handler.body
        otherwise = getattr(node, "orelse", None) or []
        if isinstance(node, ast.If) and len(otherwise) == 1 and isinstance(otherwise[0], ast.If):
            yield "", None, otherwise  # elif says what it is
        elif otherwise:
            self.add(owner, "condition", "else", otherwise[0], opens=f"else of {head}")
            yield f"else of {head}", None, otherwise
        last = getattr(node, "finalbody", None) or []
        if last:
            yield "finally", last[0], last

    def opening(self, node: ast.stmt) -> str:
        """The words before the colon of what holds blocks; empty for what holds none."""
        word = "async " if isinstance(node, ast.AsyncFor | ast.AsyncWith) else ""
        if isinstance(node, ast.If | ast.While):
            return f"{type(node).__name__.lower()} {self.said(node.test)}"
        if isinstance(node, ast.For | ast.AsyncFor):
            return f"{word}for {self.said(node.target)} in {self.said(node.iter)}"
        if isinstance(node, ast.With | ast.AsyncWith):
            return f"{word}with {', '.join(ast.unparse(item) for item in node.items)}"
        if isinstance(node, ast.Match):
            return f"match {ast.unparse(node.subject)}"
        return "try" if getattr(node, "handlers", None) or getattr(node, "finalbody", None) else ""


def read(text: str) -> Reading:
    """The items of a Python file; its lines where Python can't parse it."""
    reader = _Reader(text)
    try:
        with warnings.catch_warnings():  # of invalid escapes: not ours to say
            warnings.simplefilter("ignore")
            module = ast.parse(text)
        reader.body((), module.body, numbers=False, depth=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return by_lines(text)
    reader.reading.items.sort(key=lambda item: item.line)
    return reader.reading
