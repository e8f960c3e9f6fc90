"""Integer constants as C and Python write them: what an enumerator's value comes to."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping

_NUMBER = re.compile(r"(?<![\w.])(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)[uUlL]*(?![\w.])")
_BINARY: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}
_LONGEST = 200  # characters of an expression that is looked at: the values are small numbers


def evaluate(text: str, known: Mapping[str, int | None]) -> int | None:
    """The value of a constant expression over ``known`` names; None where it can't be told for sure.

    Comparisons, and C's division, on which the languages differ, can't; nor can macros.
    """
    if len(text) > _LONGEST:
        return None
    try:
        tree = ast.parse(_NUMBER.sub(_plain, text).strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return _value(tree.body, known)


def _plain(found: re.Match[str]) -> str:
    digits = found.group(1)
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
    return str(int(digits, 8 if octal else 0)) if not octal or set(digits) <= set("01234567") else "?"


def _value(node: ast.expr, known: Mapping[str, int | None]) -> int | None:
    match node:
        case ast.Constant(value=bool()):
            return None
        case ast.Constant(value=int() as number):
            return number
        case ast.Name(id=name):
            return known.get(name)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Invert() as sign, operand=inner):
            value = _value(inner, known)
            if value is None:
                return None
            return -value if isinstance(sign, ast.USub) else ~value if isinstance(sign, ast.Invert) else value
        case ast.BinOp(left=left, op=sign, right=right):
            one, other = _value(left, known), _value(right, known)
            if one is None or other is None:
                return None
            if isinstance(sign, ast.LShift | ast.RShift):
                if not 0 <= other < 64:
                    return None
                return one << other if isinstance(sign, ast.LShift) else one >> other
            if isinstance(sign, ast.FloorDiv):
                return one // other if one >= 0 and other > 0 else None
            return _BINARY[type(sign)](one, other) if type(sign) in _BINARY else None
        case _:
            return None
