"""The items of a Python file, through its own ``ast``."""

from __future__ import annotations

import ast
import warnings

from patcher.merge_audit.item import Item, Key, Reading, by_lines

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COLLECTIONS = (ast.Dict, ast.List, ast.Tuple, ast.Set)
_DEEPEST = 100  # blocks within blocks


class _Reader:
    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.reading = Reading()

    def add(
        self, owner: tuple[str, ...], construct: str, text: str, node: ast.AST, value: str | None = None
    ) -> None:
        line = getattr(node, "lineno", 1)
        self.reading.items.append(Item(Key(owner, construct, " ".join(text.split())), line, value))

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
            self.body(inner, node.body, numbers=numbers, depth=depth + 1)

    def head(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
        """A function's first line without its colon, whatever lines it is written in."""
        line = self.lines[node.lineno - 1].strip() if node.lineno <= len(self.lines) else ""
        if line.endswith(":") and "#" not in line and node.body[0].lineno > node.lineno:
            return line[:-1]
        result = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
        return f"def {node.name}({ast.unparse(node.args)}){result}"

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
        blocks = [getattr(node, name, None) or [] for name in ("body", "orelse", "finalbody")]
        handlers = [
            one for one in getattr(node, "handlers", None) or [] if isinstance(one, ast.ExceptHandler)
        ]
        cases = [one for one in getattr(node, "cases", None) or [] if isinstance(one, ast.match_case)]
        if not any(blocks) and not cases:
            return False
        if isinstance(node, ast.If | ast.While):
            self.add(owner, "condition", f"{type(node).__name__.lower()} {self.said(node.test)}", node)
        elif isinstance(node, ast.For | ast.AsyncFor):
            self.add(owner, "condition", f"for {self.said(node.target)} in {self.said(node.iter)}", node)
        elif isinstance(node, ast.With | ast.AsyncWith):
            held = ", ".join(ast.unparse(item) for item in node.items)
            self.add(owner, "condition", f"with {held}", node)
        elif isinstance(node, ast.Match):
            self.add(owner, "condition", f"match {ast.unparse(node.subject)}", node)
        for handler in handlers:
            caught = ast.unparse(handler.type) if handler.type is not None else ""
            self.add(owner, "condition", f"except {caught}", handler)
            blocks.append(handler.body)
        for case in cases:
            self.add(owner, "case", f"case {ast.unparse(case.pattern)}", case.pattern)
            blocks.append(case.body)
        if depth < _DEEPEST:
            for block in blocks:
                self.body(owner, block, numbers=numbers, depth=depth + 1)
        return True


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
