"""Every message that an error of ours can have, read off the code: a page to search for what was printed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from manual.hints import BY_REASON, Sources
from manual.wording import bare, said
from patcher.base import errors, os_errors
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
    "prove": "Trees, edits, types",
    "base": "The machine, files, the network",
    "doctor": "The machine, files, the network",
}


@dataclass(frozen=True, order=True)
class Message:
    """One message, with {name} for a value. ``is_general``: what to do is what its kind of error says."""

    text: str
    advice: str
    code: ExitCode
    area: str
    is_general: bool
    place: str = field(compare=False, default="")


def messages() -> list[Message]:
    """Each once, in the order of areas and of their texts."""
    order = list(dict.fromkeys(_AREAS.values()))
    found = {one for one in raised() if any(map(str.isalpha, bare(one.text)))}
    return sorted(found, key=lambda one: (order.index(one.area), one.text.lower(), one))


@cache
def raised() -> tuple[Message, ...]:
    """What each place that makes an error says, also where the whole text is a value."""
    trees = {place: ast.parse(place.read_text(encoding="utf-8")) for place in sorted(PACKAGE.rglob("*.py"))}
    kinds = _kinds(trees)
    sources = Sources(
        trees, kinds.remedies, kinds.above, frozenset((*os_errors.STEPS.values(), os_errors.ANY))
    )
    found = []
    for place, tree in trees.items():
        where = place.relative_to(PACKAGE)
        known = kinds.codes | _chosen_by_callers(tree, kinds.codes)
        for kind, node in _made(tree, kinds):
            if kind in known:
                advice = sources.hint(node, place) or kinds.remedies.get(kind, "")
                is_general = not advice and not any(word.arg == "hint" for word in node.keywords)
                found.append(
                    Message(
                        said(node.args[0]), advice or _ADVICE[known[kind]], known[kind],
                        _AREAS[where.parts[0]], is_general, f"{where}:{node.lineno}",
                    )
                )  # fmt: skip
    return tuple(found)


def _made(tree: ast.Module, kinds: _Kinds) -> Iterator[tuple[str, ast.Call]]:
    """The calls that give an error its text, with its class: where that has a text of its own, within it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name in kinds.own_texts:
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__":
                    yield node.name, call
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            name = node.func.id
            yield from [(name, node)] if name not in kinds.own_texts else []


@dataclass(frozen=True)
class _Kinds:
    """The package's classes of errors, by name: exit code, the next step of all of them, classes above."""

    codes: dict[str, ExitCode]
    remedies: dict[str, str]
    above: dict[str, list[str]]
    own_texts: frozenset[str]  # those whose callers give no text


def _kinds(trees: Mapping[Path, ast.Module]) -> _Kinds:
    above: dict[str, list[str]] = {}
    own: dict[str, str] = {}
    texts: set[str] = set()
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                above[node.name] = [base.id for base in node.bases if isinstance(base, ast.Name)]
                if any(isinstance(line, ast.FunctionDef) and line.name == "__init__" for line in node.body):
                    texts.add(node.name)
                for line in node.body:
                    if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "remedy":
                        own[node.name] = said(line.value)
    known = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, PatcherError)
    }
    while new := {
        name: known[base]
        for name, bases in above.items()
        if name not in known
        for base in bases
        if base in known
    }:
        known |= new
    remedies = {name: remedy for name in known if (remedy := _remedy(name, own, above))}
    return _Kinds(known, remedies, above, frozenset(texts & known.keys() - {PatcherError.__name__}))


def _remedy(name: str, own: Mapping[str, str], above: Mapping[str, list[str]]) -> str:
    if name in own:
        return own[name]
    return next(filter(None, (_remedy(base, own, above) for base in above.get(name, ()))), "")


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
    lines += ["", "## What the system refuses", "", "| the system's reason | what to do |", "|---|---|"]
    steps = {os_errors.reason(OSError(number, "")): step for number, step in os_errors.STEPS.items()}
    lines += [f"| {_cell(reason)} | {_cell(step)} |" for reason, step in sorted(steps.items())]
    return "\n".join(lines) + "\n"


def _advice(text: str) -> str:
    return text if text in (*_ADVICE.values(), BY_REASON) else _cell(text)


def _cell(text: str) -> str:
    text = " ".join(text.split())
    for letter in "\\`*_|<>[]":
        text = text.replace(
            letter, f"\\{letter}" if letter not in "<>" else {"<": "&lt;", ">": "&gt;"}[letter]
        )
    return text.replace("{", "&#123;")
