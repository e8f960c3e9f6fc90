"""The text of an expression that makes one: what is known only when it is said stands as {name}."""

from __future__ import annotations

import ast


def said(node: ast.expr) -> str:
    """The text of an expression; {name} for what is known only when it is said."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(said(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return said(node.left) + said(node.right)
    if isinstance(node, ast.IfExp):
        ways = [text for text in (said(node.body), said(node.orelse)) if text]
        return " / ".join(ways)
    return f"{{{_name(node).strip('_').lower() or '...'}}}"


def _name(node: ast.AST) -> str:
    """What the code calls the value of an expression: what is joined or shortened in it, not by what."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute(attr="__name__"):
            return "type"
        case ast.Attribute():
            return node.attr
        case ast.FormattedValue() | ast.Subscript() | ast.Starred():
            return _name(node.value)
        case ast.BinOp():
            return _name(node.left) or _name(node.right)
        case ast.BoolOp():
            return _name(node.values[0])
        case ast.GeneratorExp() | ast.ListComp() | ast.SetComp():
            return _name(node.generators[0].iter)
        case ast.Call(func=ast.Name(id="len")):
            return "number"
        case ast.Call():
            said = next((name for name in map(_name, node.args) if name), "")
            if said or isinstance(node.func, ast.Name):
                return said or _name(node.func)
            return _name(node.func.value) if isinstance(node.func, ast.Attribute) else ""
    return ""


def bare(text: str) -> str:
    """``text`` without what stands for values."""
    while "{" in text:
        before, _, rest = text.partition("{")
        text = before + rest.partition("}")[2]
    return text
