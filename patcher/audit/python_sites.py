"""The sites of a Python file, through its own ``ast``."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from patcher.engine.quant_type import QuantType


@dataclass(frozen=True)
class PythonSite:
    """One place in a Python file. ``line`` counts from 1."""

    line: int
    construct: str
    owner: str
    text: str
    handled: bool


def places(
    data: bytes, found: list[re.Match[bytes]], quant_type: QuantType, ours: Callable[[str, QuantType], str]
) -> Iterator[PythonSite]:
    """The matches that stand in code, judged. What Python can't parse has only the construct ``text``."""
    text = data.decode("utf-8", "replace")
    lines = text.splitlines()
    try:
        module: ast.Module | None = ast.parse(text)
    except (SyntaxError, ValueError):
        module = None
    for match in found:
        offset = match.start() + len(match.group()) - len(match.group().lstrip())
        line = data.count(b"\n", 0, offset) + 1
        column = offset - (data.rfind(b"\n", 0, offset) + 1)
        shown = lines[line - 1].strip() if line <= len(lines) else ""
        if module is None:
            yield PythonSite(line, "text", "", shown, False)
            continue
        chain = _chain(module, line, column)
        if len(chain) < 2 or _is_prose(chain) or _is_comment(chain[-1], line):
            continue
        owner = next((node.name for node in reversed(chain) if isinstance(node, _NAMED)), "")
        what, handled = _judge(chain, text, quant_type, ours)
        yield PythonSite(line, what, owner, shown, handled)


_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _chain(module: ast.Module, line: int, column: int) -> list[ast.AST]:
    """The nodes that hold the byte, outermost first."""
    chain: list[ast.AST] = [module]
    while True:
        inner = next((node for node in ast.iter_child_nodes(chain[-1]) if _holds(node, line, column)), None)
        if inner is None:
            return chain
        chain.append(inner)


def _holds(node: ast.AST, line: int, column: int) -> bool:
    if isinstance(node, ast.keyword | ast.arguments | ast.arg) and not hasattr(node, "lineno"):
        return any(_holds(child, line, column) for child in ast.iter_child_nodes(node))
    start = (getattr(node, "lineno", 0), getattr(node, "col_offset", 0))
    end = (getattr(node, "end_lineno", 0) or 0, getattr(node, "end_col_offset", 0) or 0)
    return start <= (line, column) < end


def _is_comment(innermost: ast.AST, line: int) -> bool:
    """Whether no expression holds the byte: a comment inside a block (a class is named in its own line)."""
    if isinstance(innermost, ast.ClassDef):
        return innermost.lineno != line
    return isinstance(innermost, ast.stmt)


def _is_prose(chain: list[ast.AST]) -> bool:
    return isinstance(chain[-1], ast.Constant) and isinstance(chain[-2], ast.Expr)


def _judge(
    chain: list[ast.AST], text: str, quant_type: QuantType, ours: Callable[[str, QuantType], str]
) -> tuple[str, bool]:
    for depth in range(len(chain) - 1, -1, -1):
        node = chain[depth]
        segment = ast.get_source_segment(text, node) or ""
        if isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.Set):
            named = quant_type.upper in segment or quant_type.name in segment
            return "element", named or _governed(chain[:depth], text, quant_type, ours)
        if isinstance(node, ast.Compare):
            return "comparison", _twin(segment, chain, text, quant_type, ours)
        if isinstance(node, ast.ClassDef):
            head = f"class {node.name}("
            return "definition", ours(head, quant_type) in _squeezed(text) or quant_type.upper in segment
        if isinstance(node, ast.Return | ast.Assign | ast.AnnAssign | ast.Call | ast.Expr):
            if isinstance(node, ast.Assign) and isinstance(chain[depth - 1], ast.ClassDef):
                body = ast.get_source_segment(text, chain[depth - 1]) or ""
                return "enumerator", re.search(rf"\b(?:MOSTLY_)?{quant_type.upper}\s*=", body) is not None
            name = type(node).__name__.lower()
            return name, _governed(chain[:depth], text, quant_type, ours)
    return "other", False


def _twin(
    segment: str,
    chain: list[ast.AST],
    text: str,
    quant_type: QuantType,
    ours: Callable[[str, QuantType], str],
) -> bool:
    scope = next((node for node in reversed(chain) if isinstance(node, _NAMED)), None)
    around = (ast.get_source_segment(text, scope) or "") if scope is not None else text
    return ours(segment, quant_type) in _squeezed(around)


def _governed(
    chain: list[ast.AST], text: str, quant_type: QuantType, ours: Callable[[str, QuantType], str]
) -> bool:
    """Whether a branch or class that is the sibling's own, and has a twin, holds the site."""
    for depth in range(len(chain) - 1, -1, -1):
        node = chain[depth]
        if isinstance(node, ast.If):
            test = ast.get_source_segment(text, node.test) or ""
            if quant_type.sibling.upper() in test.upper() and _twin(
                test, chain[:depth], text, quant_type, ours
            ):
                return True
        if isinstance(node, ast.ClassDef) and quant_type.sibling.upper() in node.name:
            return ours(f"class {node.name}(", quant_type) in _squeezed(text)
    return False


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)
