"""Every message that an error of ours can have, read off the code: a page to search for what was printed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from patcher.base import errors
from patcher.base.errors import ExitCode, PatcherError

PACKAGE = Path(errors.__file__).parents[1]
# what to do where the message itself doesn't say, by the kind of the error
_ADVICE = {
    ExitCode.USAGE: "Correct what the message names; `--help` says what is allowed.",
    ExitCode.CONFLICT: "Nothing was written. `q8a8-patch status` shows every place; see"
    " [from a half-done fork](../how-to/half-done-fork.md).",
    ExitCode.SOURCE: "Check the name and the network (`q8a8-patch doctor`), then run the command again.",
    ExitCode.BUILD: "Read the log that the message names; `q8a8-patch doctor` looks for missing tools.",
    ExitCode.TREE_CHANGED: "Look at it with `git diff`; keep it or put it back, then run the command again.",
    ExitCode.INTERNAL: "A fault of this program: report it, with what was typed.",
}
_AREAS = {
    "source": "Getting llama.cpp",
    "git": "Git",
    "engine": "Trees, edits, types",
    "move": "Moving to another release",
    "build": "Building",
    "symbols": "Symbols",
    "audit": "Audit, drift and guard",
    "drift": "Audit, drift and guard",
    "lift": "Trees, edits, types",
    "merge_audit": "Audit, drift and guard",
    "guard": "Audit, drift and guard",
    "model": "Models",
    "programs": "llama.cpp's programs",
    "evaluate": "Evaluation",
    "commands": "The command line",
    "base": "The machine, files, the network",
    "doctor": "The machine, files, the network",
}


@dataclass(frozen=True, order=True)
class Message:
    """One message: what stands for a value is written {name}."""

    text: str
    advice: str
    code: ExitCode
    area: str


def messages() -> list[Message]:
    """Each once, in the order of areas and of their texts."""
    kinds = _kinds()
    found = set()
    for place in sorted(PACKAGE.rglob("*.py")):
        area = _AREAS.get(place.relative_to(PACKAGE).parts[0])
        if area is not None:
            tree = ast.parse(place.read_text(encoding="utf-8"))
            known = kinds | _chosen_by_callers(tree, kinds)
            hints = _kept_hints(tree)
            found |= {one for node in ast.walk(tree) for one in _message(node, known, area, hints)}
    order = list(dict.fromkeys(_AREAS.values()))
    return sorted(found, key=lambda one: (order.index(one.area), one.text.lower(), one))


def _kinds() -> dict[str, ExitCode]:
    """The name of each class of errors that the package has -> its exit code."""
    bases: dict[str, list[str]] = {}
    for place in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(place.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [base.id for base in node.bases if isinstance(base, ast.Name)]
    known = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, PatcherError)
    }
    while new := {
        name: known[base]
        for name, above in bases.items()
        if name not in known
        for base in above
        if base in known
    }:
        known |= new
    return known


def _chosen_by_callers(tree: ast.AST, kinds: dict[str, ExitCode]) -> dict[str, ExitCode]:
    """Names that stand for a class of errors: arguments ``failure: type[PatcherError] = UsageError``, and
    variables that are one class or another. The code is that of the class where nothing else is said."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            plain = [*node.posonlyargs, *node.args]
            defaults = [None] * (len(plain) - len(node.defaults)) + node.defaults + node.kw_defaults
            for argument, default in zip([*plain, *node.kwonlyargs], defaults, strict=True):
                annotation = argument.annotation
                if annotation is not None and ast.unparse(annotation) == "type[PatcherError]":
                    name = default.id if isinstance(default, ast.Name) else "UsageError"
                    found[argument.arg] = kinds[name]
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp):
            ways = (node.value.body, node.value.orelse)
            if all(isinstance(way, ast.Name) and way.id in kinds for way in ways):
                for target in node.targets:
                    found[ast.unparse(target)] = kinds[ast.unparse(node.value.orelse)]
    return found


def _kept_hints(tree: ast.AST) -> dict[ast.Call, ast.expr]:
    """What ``hint=NAME`` of a call stands for, where its function says it a line before."""
    found = {}
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        kept = {
            target.id: node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            for word in call.keywords:
                if word.arg == "hint" and isinstance(word.value, ast.Name) and word.value.id in kept:
                    found[call] = kept[word.value.id]
    return found


def _message(
    node: ast.AST, kinds: dict[str, ExitCode], area: str, hints: dict[ast.Call, ast.expr]
) -> Iterator[Message]:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
        return
    code = kinds.get(node.func.id)
    text = _said(node.args[0])
    if code is None or not any(letter.isalpha() for letter in _bare(text)):
        return
    hint = hints.get(node) or next((word.value for word in node.keywords if word.arg == "hint"), None)
    advice = _said(hint) if hint is not None else ""
    yield Message(text, advice if _bare(advice).strip() else _ADVICE[code], code, area)


def _said(node: ast.expr) -> str:
    """The text of an expression; {name} for what is known only when it is said."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_said(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _said(node.left) + _said(node.right)
    if isinstance(node, ast.IfExp):
        ways = [text for text in (_said(node.body), _said(node.orelse)) if text]
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


def _bare(text: str) -> str:
    """``text`` without what stands for values."""
    while "{" in text:
        before, _, rest = text.partition("{")
        text = before + rest.partition("}")[2]
    return text


def messages_page() -> str:
    """The page."""
    lines = [
        "# Messages",
        "",
        "Every error that the tool can print, and what to do. {name} stands for a value: a file, a number,",
        "what was found. Search this page for the words around the values of your message. With `--json`,",
        "`message` and `hint` of the [error document](documents.md#error) are the first and the last column.",
    ]
    area = ""
    for one in messages():
        if one.area != area:
            area = one.area
            lines += ["", f"## {area}", "", "| message | exit code | what to do |", "|---|---|---|"]
        lines.append(f"| {_cell(one.text)} | [{int(one.code)}](exit-codes.md) | {_advice(one.advice)} |")
    return "\n".join(lines) + "\n"


def _advice(text: str) -> str:
    return text if text in _ADVICE.values() else _cell(text)


def _cell(text: str) -> str:
    text = " ".join(text.split())
    for letter in "\\`*_|<>[]":
        text = text.replace(
            letter, f"\\{letter}" if letter not in "<>" else {"<": "&lt;", ">": "&gt;"}[letter]
        )
    return text.replace("{", "&#123;")
