"""Anchors in Python files, through the standard library's ``ast``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from patcher.engine.anchors.conditions import twice
from patcher.engine.anchors.constants import evaluate
from patcher.engine.anchors.kind import AnchorKind, Language
from patcher.engine.anchors.python_module import Module, target_of
from patcher.engine.anchors.site import AnchorError, Existing, Located, Place, Site


def py_member(
    module: Module, *, name: str, ours: str, value: int, before: str | None = None, renumber: bool = False
) -> Located:
    """A member of the enum class ``name``: behind its last one, or the last one before ``before``.

    With ``renumber`` another value of ours gives way to ``value``.
    """
    source = module.source
    found = module.classes(name)
    if len(found) != 1:
        raise AnchorError(f"one class {name}", f"{len(found)}")
    members: dict[str, tuple[ast.Assign | ast.AnnAssign, int | None]] = {}
    there: list[int] = []
    for statement in found[0].body:
        target = target_of(statement)
        if target is not None and isinstance(statement, ast.Assign | ast.AnnAssign):
            written, said = target
            there += [module.start(statement)] if written == ours else []
            known = {member: number for member, (_, number) in members.items()}
            members[written] = (statement, evaluate(module.text(said), known))
    for member, (node, number) in members.items():
        if member == ours:
            continue
        if number == value:
            raise AnchorError(f"{value} free in class {name}", f"it taken by {member}")
        if number is None:
            raise AnchorError(f"numbers in class {name}", f"'{module.text(node)[:60]}'")
    if ours in members:
        node, number = members[ours]
        if node.value is None:  # target_of() takes none without
            raise AnchorError(f"a value of {ours} in class {name}", "none")
        if number != value and renumber:
            start, end = module.start(node.value), module.end(node.value)
            return Located((Site(name, start, end, Place.INLINE, text=str(value)),))
        contradiction = f"{name}.{ours} = {number!r}, not {value}" if number != value else None
        contradiction = contradiction or twice(source, f"{name}.{ours}", there, ())
        return Located(existing=(Existing(name, module.start(node), module.end(node), contradiction),))
    names = list(members)
    if before is not None and before not in names:
        raise AnchorError(f"{before} in class {name}", "none")
    position = names.index(before) if before is not None else len(names)
    if position == 0:
        raise AnchorError(f"members of class {name}", "none")
    last = members[names[position - 1]][0]
    at = _behind(module, module.end(last), f"{name}.{names[position - 1]}")
    start = module.start(last)
    if not source.starts_line(start):
        raise AnchorError(
            f"{name}.{names[position - 1]} on a line of its own", source.line(start).strip()[:60]
        )
    return Located((Site(name, at, at, Place.LINES, source.indent(start), source.line(start)),))


PY_MEMBER = AnchorKind(
    "py-member",
    py_member,
    Language.PYTHON,
    hangs_on=lambda at: rf"(?<=class ){at['name']}\b",
    words=lambda at: [f"class {at['name']}"],
    shows="name",
    enum="name",
    is_member=True,
    example='name = "GGMLQuantizationType", ours = "Q8_A8", value = 120',
)


_REST = re.compile(rb"[ \t]*(?:(,)[ \t]*)?(?:#[^\n]*)?\r?(?:\n|\Z)")


def _behind(module: Module, end: int, what: str, *, comma: bool = False) -> int:
    """Offset behind the line in which ``what`` ends at ``end``, with the comma that has to follow.

    Raises :class:`AnchorError` where something else goes on in that line.
    """
    data = module.source.data
    rest = _REST.match(data, end)
    if rest is None or bool(rest.group(1)) != comma:
        shown = module.source.text(end, module.source.line_end(end)).strip()[:60]
        wanted = "a comma and the end of the line" if comma else "the end of the line"
        raise AnchorError(f"{wanted} behind {what}", f"'{shown}'" if shown else "none")
    return rest.end()


def py_entry(module: Module, *, variable: str, key: str, ours: str) -> Located:
    """Behind the entry ``key`` of the dict ``variable``; keys are compared as they are written."""
    source = module.source
    found: list[ast.expr] = []
    there: list[tuple[int, int]] = []
    for display in module.dicts(variable):
        for written, value in zip(display.keys, display.values, strict=True):
            if written is None:
                continue
            if module.text(written) == ours:
                there.append((module.start(written), module.end(value)))
            if module.text(written) == key:
                found.append(value)
    if there:
        problem = twice(source, ours, [start for start, _ in there], ())
        return Located(existing=(Existing(variable, *there[0], problem),))
    if len(found) != 1:
        raise AnchorError(f"one entry {key} in {variable}", f"{len(found)}")
    at = _behind(module, module.end(found[0]), f"the entry {key} of {variable}", comma=True)
    line = module.start(found[0])
    return Located((Site(variable, at, at, Place.LINES, source.indent(line), source.line(line)),))


PY_ENTRY = AnchorKind(
    "py-entry",
    py_entry,
    Language.PYTHON,
    hangs_on=lambda at: re.escape(str(at["key"])) + "(?=:)",
    words=lambda at: [at["variable"]],
    shows="variable",
    is_whole=True,
    example='variable = "GGML_QUANT_SIZES", key = "GGMLQuantizationType.Q8_0", '
    'ours = "GGMLQuantizationType.Q8_A8"',
)


def py_definition(module: Module, *, name: str, ours: str) -> Located:
    """Behind the class or function ``name`` of the module."""
    definitions: dict[str, list[ast.stmt]] = {}
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            definitions.setdefault(node.name, []).append(node)
    if ours in definitions:
        last = definitions[ours][-1]  # the one that counts
        problem = twice(module.source, ours, [module.start(one) for one in definitions[ours]], ())
        return Located(existing=(Existing(ours, module.start(last), module.end(last), problem),))
    if name not in definitions:
        raise AnchorError(f"the definition of {name}", "none")
    at = _behind(module, module.end(definitions[name][-1]), f"the definition of {name}")
    return Located((Site(name, at, at, Place.LINES, blank_before=2),))


PY_DEFINITION = AnchorKind(
    "py-definition",
    py_definition,
    Language.PYTHON,
    hangs_on=lambda at: rf"\b{at['name']}\b",
    words=lambda at: [f"class {at['name']}", f"class {at['ours']}"],
    shows="name",
    is_whole=True,
    example='name = "Q8_0", ours = "Q8_A8"',
)


def py_branch(module: Module, *, test: str, ours: str, mentions: str) -> Located:
    """Behind the ``if``/``elif`` branch whose condition matches the pattern ``test``.

    ``mentions`` is a word of that condition.
    """
    source = module.source
    found: list[ast.If] = []
    there: list[ast.If] = []
    for node in module.statements:
        if isinstance(node, ast.If):
            condition = module.text(node.test)
            if re.search(ours, condition):
                there.append(node)
            elif mentions in condition and re.search(test, condition):
                found.append(node)
    if there:
        places = [module.start(node) for node in there]
        problem = twice(source, f"a branch that matches '{ours}'", places, ())
        return Located(existing=(Existing("", places[0], module.end(there[0].body[-1]), problem),))
    if len(found) != 1:
        raise AnchorError(f"one branch whose condition matches '{test}'", f"{len(found)}")
    at = _behind(module, module.end(found[0].body[-1]), f"the branch that matches '{test}'")
    return Located((Site("", at, at, Place.LINES, source.indent(module.start(found[0]))),))


PY_BRANCH = AnchorKind(
    "py-branch",
    py_branch,
    Language.PYTHON,
    hangs_on=lambda at: rf"(?<=== )(?:\w+\.)*{at['mentions']}\b",
    words=lambda at: [at["ours"], at["mentions"]],
    patterns=("ours", "test"),
    shows="mentions",
    is_whole=True,
    example='test = "== gguf.LlamaFileType.MOSTLY_Q8_0$", mentions = "MOSTLY_Q8_0", ours = "MOSTLY_Q8_A8"',
)


def py_string(module: Module, *, beside: str, ours: str, among: Iterable[str] = ()) -> Located:
    """Behind the string ``beside`` in the one list, tuple or set that also holds all of ``among``."""
    found: list[ast.Constant] = []
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.List | ast.Tuple | ast.Set):
            continue
        strings = {
            element.value: element
            for element in node.elts
            if isinstance(element, ast.Constant) and isinstance(element.value, str)
        }
        if beside not in strings or not set(among) <= set(strings):
            continue
        if ours in strings:
            there = strings[ours]
            return Located(existing=(Existing("", module.start(there), module.end(there)),))
        found.append(strings[beside])
    if len(found) != 1:
        raise AnchorError(
            f"one list that holds '{beside}' and {', '.join(among) or 'others'}", f"{len(found)}"
        )
    end = module.end(found[0])
    return Located((Site("", end, end, Place.INLINE),))


PY_STRING = AnchorKind(
    "py-string",
    py_string,
    Language.PYTHON,
    hangs_on=lambda at: f'(?<="){at["beside"]}(?=")',
    words=lambda at: [at["beside"]],
    shows="beside",
    example='beside = "q8_0", ours = "q8_a8", among = ["f16", "bf16"]',
)
