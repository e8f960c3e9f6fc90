"""Every regular expression of the package, and texts made so that a bad one takes for ever.

A repetition is pumped: what leads to it once, what it repeats very often, and then something that it can't
take. The same with all that leads to it repeated, which finds patterns that begin again at every place.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    from re import _constants as names  # type: ignore[attr-defined]
    from re import _parser as parser  # type: ignore[attr-defined]
else:
    import sre_constants as names
    import sre_parse as parser

import patcher

_CALLS = {"compile", "match", "search", "fullmatch", "sub", "subn", "findall", "finditer", "split"}
_ENDS = ("\x00", "!", "\n", "", "x")  # what a repetition may not be able to take


class Pattern(NamedTuple):
    """One pattern, and where it stands."""

    place: str
    text: str
    flags: int
    how: str = "search"  # or match: from one place on, not from each


def all_patterns() -> list[Pattern]:
    """Those in calls of :mod:`re`, facts of f-strings replaced by a word; and those that modules hold compiled."""
    found: dict[tuple[str, int], Pattern] = {}
    top = Path(patcher.__file__).parent
    for path in sorted(top.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # re.compile(...).match(...): who compiles is asked by whom
        asking = {
            id(node.value): node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call)
        }
        for call in ast.walk(tree):
            text = _pattern(call)
            if text is not None:
                place = f"{path.relative_to(top.parent)}:{getattr(call, 'lineno', 0)}"
                flags = re.M if "re.M" in ast.unparse(call) or "MULTILINE" in ast.unparse(call) else 0
                asked = asking.get(id(call)) or call.func.attr  # type: ignore[attr-defined]
                if asked == "compile":  # a constant: it is looked at below, with its name
                    continue
                how = "match" if asked in ("match", "fullmatch") else "search"
                found.setdefault((text, flags), Pattern(place, text, flags, how))
    for info in pkgutil.walk_packages([str(top)], "patcher."):
        if info.name.endswith(("__main__", "_program")):
            continue
        module = importlib.import_module(info.name)
        held, source = vars(module).items(), inspect.getsource(module)
        for name, value in held:
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, re.Pattern):
                    text = one.pattern.decode("latin-1") if isinstance(one.pattern, bytes) else one.pattern
                    uses = set(re.findall(rf"\b{re.escape(name)}\.(\w+)\(", source))
                    how = "match" if uses and uses <= {"match", "fullmatch"} else "search"
                    found.setdefault((text, one.flags), Pattern(f"{info.name}.{name}", text, one.flags, how))
    return list(found.values())


def _pattern(call: ast.AST) -> str | None:
    """The pattern of a call ``re.something(pattern, ...)``, as far as it stands there."""
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or not call.args:
        return None
    if not (
        isinstance(call.func.value, ast.Name) and call.func.value.id == "re" and call.func.attr in _CALLS
    ):
        return None
    return _text(call.args[0])


def _text(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value.decode("latin-1") if isinstance(node.value, bytes) else str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "" for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "word"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (_text(node.left) or "word") + (_text(node.right) or "word")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "encode":
        return _text(node.func.value)
    return None


def attacks(text: str, flags: int, length: int) -> Iterator[str]:
    """Texts of about ``length`` characters for each repetition of the pattern."""
    parsed: Any = parser.parse(text, flags & ~re.DEBUG)
    for before, inner, behind in _repetitions([*parsed], ""):
        for body in dict.fromkeys(inner):
            if not body:
                continue
            pumped = body * (length // len(body))
            for end in _ENDS:
                yield before + pumped + end
            if behind:
                yield before + (body + behind) * (length // len(body + behind))
            if before:
                yield (before + body) * (length // len(before + body)) + "\x00"
                yield before * (length // len(before))


def _repetitions(items: list[Any], before: str) -> Iterator[tuple[str, list[str], str]]:
    """Of each repetition: a text that leads to it, texts that it takes once, and one that comes behind."""
    for number, (code, value) in enumerate(items):
        rest = "".join(_sample(item) for item in items[number + 1 :])[:20]
        if code in (names.MAX_REPEAT, names.MIN_REPEAT):
            _, most, inner = value
            if most > 100:
                bodies = [_sequence(inner), *(_sequence([item]) for item in inner), *_choices(inner)]
                yield before, bodies, rest
            yield from _repetitions(list(inner), before)
        elif code is names.SUBPATTERN:
            yield from _repetitions(list(value[-1]), before)
        elif code is names.BRANCH:
            for one in value[1]:
                yield from _repetitions(list(one), before)
        before += _sample((code, value))


def _choices(items: Any) -> list[str]:
    """A text for each alternative inside, and for each kind of character of a set."""
    found: list[str] = []
    for code, value in items:
        if code is names.BRANCH:
            found += [_sequence(one) for one in value[1]]
            found += [text for one in value[1] for text in _choices(one)]
        elif code is names.SUBPATTERN:
            found += _choices(value[-1])
        elif code in (names.MAX_REPEAT, names.MIN_REPEAT):
            found += [_sequence(value[2]), *_choices(value[2])]
        elif code is names.IN:
            found += [
                text for text in ("a", "0", " ", "\\", "<", ":", "/", "\n", "\t") if _takes(value, text)
            ]
        elif code in (names.ANY, names.NOT_LITERAL):
            found += ["a", " ", "0", "\\"]
    return found


def _takes(members: Any, char: str) -> bool:
    compiled: Any = parser.SubPattern(parser.State(), [(names.IN, members)])
    return _matches(compiled, char)


def _matches(parsed: Any, char: str) -> bool:
    for code, value in parsed[0][1]:
        inside = (
            (code is names.LITERAL and ord(char) == value)
            or (code is names.RANGE and value[0] <= ord(char) <= value[1])
            or (code is names.CATEGORY and re.fullmatch(_CATEGORIES[value], char) is not None)
        )
        if inside:
            return parsed[0][1][0][0] is not names.NEGATE
    return bool(parsed[0][1][0][0] is names.NEGATE)


_CATEGORIES = {
    names.CATEGORY_DIGIT: r"\d", names.CATEGORY_NOT_DIGIT: r"\D", names.CATEGORY_SPACE: r"\s",
    names.CATEGORY_NOT_SPACE: r"\S", names.CATEGORY_WORD: r"\w", names.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip


def _sequence(items: Any) -> str:
    return "".join(_sample(item) for item in items)


def _sample(item: Any) -> str:
    """A text that one element takes; empty for what takes none."""
    code, value = item
    if code is names.LITERAL:
        return chr(value)
    if code is names.NOT_LITERAL:
        return "a" if value != ord("a") else "b"
    if code is names.ANY:
        return "a"
    if code is names.IN:
        return next((one for one in "a0 :<\\/\n\t!~" if _takes(value, one)), "")
    if code in (names.MAX_REPEAT, names.MIN_REPEAT):
        return _sequence(value[2]) * max(int(value[0]), 1 if value[1] else 0)
    if code is names.SUBPATTERN:
        return _sequence(value[-1])
    if code is names.BRANCH:
        return _sequence(value[1][0])
    return ""
