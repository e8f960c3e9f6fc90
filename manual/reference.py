"""The reference pages: commands, exit codes, rules, edits, documents. All of it is read off the code."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from manual.architectures import architectures_page
from manual.commands import Command, Option, commands, program
from manual.exit_codes import EXIT_CODES
from manual.floors import floors_page
from manual.messages import messages_page
from patcher.engine.anchors import ANCHORS
from patcher.engine.patchset import Edit, load
from patcher.symbols.rules import RULES

SCHEMAS = Path(__file__).parents[1] / "docs" / "reference" / "schemas"
_NOTE = "<!-- made by 'python -m manual' from {source}: change that, not this -->\n\n"
_COMMON = ("--json", "-q", "-v", "-h")


def reference_pages() -> dict[str, str]:
    """Every page by its path below ``docs/reference``."""
    return {
        "commands.md": _NOTE.format(source="the commands themselves") + _commands(),
        "exit-codes.md": _NOTE.format(source="patcher/base/errors.py and manual/exit_codes.py")
        + _exit_codes(),
        "rules.md": _NOTE.format(source="patcher/symbols/rules.py") + _rules(),
        "edits.md": _NOTE.format(source="patches/q8_a8.toml") + _edits(),
        "anchors.md": _NOTE.format(source="patcher/engine/anchors") + _anchors(),
        "architectures.md": _NOTE.format(source="patches/architectures.toml and the tests")
        + architectures_page(),
        "floors.md": _NOTE.format(source="patcher/ and pyproject.toml") + floors_page(),
        "messages.md": _NOTE.format(source="patcher") + messages_page(),
        "documents.md": _NOTE.format(source="docs/reference/schemas") + _documents(),
    }


def _commands() -> str:
    top = program()
    every = list(commands())
    common = [item for item in every[0].options if item.names[0] in _COMMON]
    lines = [
        "# Commands",
        "",
        "\n\n".join(_escaped(text) for text in top.text),
        "",
        "Results go to stdout; notes, progress and errors to stderr. All commands have these options:",
        "",
        *_option_table(common),
        "",
        "They may stand before the command as well. The program alone has `-V, --version`; `help COMMAND` is",
        "`COMMAND --help`. [Exit codes](exit-codes.md), [JSON documents](documents.md) and",
        "[messages](messages.md) have pages of their own.",
        "",
        "| command | does | example |",
        "|---|---|---|",
    ]
    groups = {command.name for command in every if command.is_group}
    for command in every:
        if command.name in groups:
            continue
        example = f"`{_cell(command.examples[0])}`" if command.examples else ""
        link = f"[{command.name}](#{command.name.replace(' ', '-')})"
        lines.append(f"| {link} | {_escaped(command.summary)} | {example} |")
    for command in every:
        lines += ["", *_command(command)]
    return "\n".join(lines) + "\n"


def _command(command: Command) -> list[str]:
    own = [item for item in command.options if item.names[0] not in _COMMON]
    lines = [f"## {command.name}", "", "```text", command.usage, "```", ""]
    lines += ["\n\n".join(_escaped(text) for text in command.text), ""]
    if own:
        lines += [*_option_table(own), ""]
    if command.examples:
        lines += ["```sh", *command.examples, "```"]
    return lines


def _option_table(options: Iterable[Option]) -> list[str]:
    """With a column for defaults where an option has one."""
    listed = list(options)
    any_default = any(item.default for item in listed)
    rows = (
        ["| option | does | default |", "|---|---|---|"]
        if any_default
        else ["| option | does |", "|---|---|"]
    )
    for item in listed:
        row = f"| `{_cell(item.spelled)}` | {_cell(_escaped(item.help))} |"
        default = f"`{_cell(item.default)}`" if item.default else ""
        rows.append(f"{row} {default} |" if any_default else row)
    return rows


def _exit_codes() -> str:
    lines = [
        "# Exit codes",
        "",
        "Part of the contract: a number never changes its meaning.",
        "",
        "| code | meaning | what is left |",
        "|---|---|---|",
    ]
    lines += [f"| {code.number} | {code.meaning} | {code.left} |" for code in EXIT_CODES]
    lines += [
        "",
        "An error is one line on stderr that begins with `error:` (for several conflicts, one line each) and",
        "names the file, what was looked for, what was found and what to do. A traceback is a bug.",
    ]
    return "\n".join(lines) + "\n"


def _rules() -> str:
    lines = [
        "# Rules of verify-symbols",
        "",
        "Ids and severities are stable. `q8a8-patch verify-symbols --explain RULE` prints the same text;",
        "`--fail-on` chooses the severity from which the exit code is 1.",
    ]
    for rule in RULES.values():
        lines += ["", f"## {rule.id}", "", f"*{rule.severity}.* {rule.summary}", ""]
        lines += [_escaped(" ".join(rule.explanation.split()))]
    return "\n".join(lines) + "\n"


def _edits() -> str:
    patchset = load()
    lines = [
        "# Edits",
        "",
        f"{len(patchset.edits)} edits make {patchset.type.upper}. Each names a place by structure, and a"
        " reason;",
        "`q8a8-patch status` says how each stands in a tree. A group is one commit of `q8a8-patch export`.",
    ]
    for group in patchset.groups:
        lines += ["", f"## {group.id}", "", f"`{group.subject}`", "", " ".join(group.body.split()), ""]
        lines += ["| edit | file | where | why | without it |", "|---|---|---|---|---|"]
        lines += [_edit(edit) for edit in patchset.edits if edit.group == group.id]
    lines += [
        "",
        "## Edits that there were",
        "",
        "A tree to which an earlier release of this tool was applied keeps these until"
        " `q8a8-patch apply --update`",
        "takes them out; `status` and `guard` say where one stands.",
        "",
        "| edit | file | why there is none any more |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{one.id}` | {'<br>'.join(f'`{name}`' for name in one.files)} | {_cell(_escaped(one.because))} |"
        for one in patchset.retired
    ]
    return "\n".join(lines) + "\n"


def _edit(edit: Edit) -> str:
    files = "<br>".join(f"`{name}`" for name in edit.files)
    why = _escaped(edit.purpose)
    without = (
        f"*required*: {_escaped(edit.required)}"
        if edit.required
        else f"*optional*: {_escaped(edit.optional or '')}"
    )
    if edit.unless_missing:
        why += f" *The file may be missing: {_escaped(edit.unless_missing.rstrip('.'))}.*"
    if edit.when:
        why += " *Only where the file has what it is about.*"
    return f"| `{edit.id}` | {files} | {_cell(_where(edit))} | {_cell(why)} | {_cell(without)} |"


def _where(edit: Edit) -> str:
    return ANCHORS[edit.kind].where(edit.anchor) if edit.kind in ANCHORS else edit.kind


def _anchors() -> str:
    used: dict[str, list[str]] = {}
    for edit in load().edits:
        used.setdefault(edit.kind, []).append(edit.id)
    lines = [
        "# Anchors",
        "",
        "An edit says where it belongs by an anchor: a table with the anchor's `kind` and the parameters",
        "below. Each kind is one object, beside the function that finds it.",
        "[Why anchors](../explanation/anchors.md).",
    ]
    for kind in ANCHORS.values():
        lines += ["", f"## {kind.name}", "", f"*{kind.language.value}.* {_plain(kind.explains)}", ""]
        lines += ["```toml", f'anchor = {{ kind = "{kind.name}", {kind.example} }}', "```", ""]
        lines += ["| parameter | is | |", "|---|---|---|"]
        parameters = list(inspect.signature(kind.locate).parameters.values())[1:]
        for parameter in parameters:
            type_ = _CALLED[str(parameter.annotation)]
            if parameter.name in kind.patterns:
                type_ = "a regular expression"
            needed = "" if parameter.default is inspect.Parameter.empty else "may be left out"
            lines.append(f"| `{parameter.name}` | {type_} | {needed} |")
        ids = used.get(kind.name, [])
        if ids:
            more = f" and {len(ids) - 4} more" if len(ids) > 4 else ""
            lines += ["", f"Used by {', '.join(f'`{name}`' for name in ids[:4])}{more}."]
    return "\n".join(lines) + "\n"


# a parameter's annotation -> what a type's file gives
_CALLED = {
    "str": "a string",
    "str | None": "a string",
    "int": "a number",
    "bool": "true or false",
    "Iterable[str]": "a list of strings",
    "list[str]": "a list of strings",
    "str | Iterable[str]": "a string, or a list of strings",
}


def _plain(docstring: str) -> str:
    """A docstring as Markdown: its double quotes of code are single ones there."""
    return docstring.replace("``", "`")


def _documents() -> str:
    lines = [
        "# JSON documents",
        "",
        "With `--json` a command prints one document on stdout and nothing else. Each has a schema (JSON",
        "Schema 2020-12), which the tests check real documents against. Members may be added; none goes, and",
        "none changes its meaning.",
    ]
    for path in sorted(SCHEMAS.glob("*.schema.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        lines += [
            "",
            f"## {schema['title']}",
            "",
            f"{schema['description']} [Schema](schemas/{path.name})",
            "",
        ]
        lines += ["| member | type | |", "|---|---|---|"]
        for name, member in schema.get("properties", {}).items():
            optional = "" if name in schema.get("required", ()) else " *Not always there.*"
            lines.append(
                f"| `{name}` | {_type(member)} | {_cell(_escaped(member.get('description', '')))}{optional} |"
            )
    return "\n".join(lines) + "\n"


def _type(member: dict[str, Any]) -> str:
    if "$ref" in member:
        name = member["$ref"]
        name = name.rsplit("/", 1)[-1].removesuffix(".schema.json")
        return f"[{name}](#{name})" if member["$ref"].endswith(".schema.json") else name
    if "enum" in member:
        return ", ".join(f"`{value}`" for value in member["enum"])
    if "anyOf" in member:
        return " or ".join(_type(choice) for choice in member["anyOf"])
    kind = member.get("type", "any")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    if "array" in kind and "items" in member:
        return f"{kind} of {_type(member['items'])}"
    return str(kind)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _escaped(text: str) -> str:
    """Prose of help texts in Markdown: names with stars and angle brackets stay as they are."""
    return text.replace("<", "&lt;").replace("*", r"\*").replace("_", r"\_")
