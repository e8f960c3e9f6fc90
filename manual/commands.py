"""What click knows of each command, as values that pages are written from."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

import click

from patcher.cli import COMMANDS, cli

PROGRAM = "q8a8-patch"
_EXAMPLES = re.compile(r"\s*Examples?:\s*")


@dataclass(frozen=True)
class Option:
    """One option: how it is written, what stands behind it, what it does."""

    names: tuple[str, ...]
    value: str
    help: str
    default: str

    @property
    def spelled(self) -> str:
        """``-o, --output-file PATH``."""
        return ", ".join(self.names) + (f" {self.value}" if self.value else "")


@dataclass(frozen=True)
class Command:
    """One command. ``name`` is what stands behind the program: ``gguf retag``, or nothing for the program."""

    name: str
    summary: str
    text: tuple[str, ...]  # paragraphs
    examples: tuple[str, ...]
    arguments: tuple[str, ...]
    options: tuple[Option, ...]
    is_group: bool = False

    @property
    def usage(self) -> str:
        """The first line of ``--help``, without its label."""
        words = [PROGRAM, self.name, "[OPTIONS]" if self.options else "", *self.arguments]
        return " ".join(word for word in words if word)

    @property
    def slug(self) -> str:
        """A name for files and anchors."""
        return "-".join([PROGRAM, *self.name.split()])


def commands() -> Iterator[Command]:
    """Every command in the order of ``--help``, the commands of a group behind it."""
    context = _context()
    for verb, (_, summary) in COMMANDS.items():
        command = cli.get_command(context, verb)
        if command is None:
            raise LookupError(f"{verb}: patcher.cli lists it and doesn't have it")
        yield from _with_below(command, verb, summary)


def _context() -> click.Context:
    return click.Context(cli, info_name=PROGRAM, **cli.context_settings)


def program() -> Command:
    """The program itself."""
    return _described(cli, "", "carry the Q8_A8 quantization type on top of any llama.cpp")


def _with_below(command: click.Command, name: str, summary: str) -> Iterator[Command]:
    yield _described(command, name, summary)
    if isinstance(command, click.Group):
        for verb, below in command.commands.items():
            paragraphs = inspect.cleandoc(below.help or "").split("\n\n")
            yield from _with_below(below, f"{name} {verb}", paragraphs[0].replace("\n", " "))


def _described(command: click.Command, name: str, summary: str) -> Command:
    context = click.Context(command, parent=_context() if name else None, info_name=name or PROGRAM)
    context.help_option_names = ["-h", "--help"]
    text, examples = _prose(inspect.cleandoc((command.help or "").replace("\f", "")))
    parameters = command.get_params(context)
    arguments = [item.make_metavar(context) for item in parameters if isinstance(item, click.Argument)]
    if isinstance(command, click.Group):
        arguments.append("COMMAND [ARGUMENTS]...")
    options = [_option(item, context) for item in parameters if isinstance(item, click.Option)]
    return Command(
        name, summary, text, examples, tuple(arguments), tuple(options), isinstance(command, click.Group)
    )


def _prose(help_text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A help text's paragraphs, and the commands behind "Example:" or "Examples:"."""
    text: list[str] = []
    examples: list[str] = []
    for paragraph in help_text.replace("\b\n", "").split("\n\n"):
        prose, *shown = _EXAMPLES.split(paragraph, maxsplit=1)
        # behind "Examples:" each one is a paragraph that begins with the program
        if not shown and prose.lstrip().startswith(f"{PROGRAM} "):
            prose, shown = "", [prose]
        if prose.strip():
            text.append(" ".join(prose.split()))
        examples += [" ".join(line.split()) for line in shown if line.strip()]
    return tuple(text), tuple(examples)


def _option(option: click.Option, context: click.Context) -> Option:
    names = (*option.opts, *option.secondary_opts)
    value = "" if option.is_flag or option.count else option.make_metavar(context)
    record = option.get_help_record(context)
    said = " ".join((record[1] if record else option.help or "").split())
    found = re.search(r"\s*\[default: ([^\[\]]+?)(?:; [^\[\]]*)?\]", said)
    default = found[1] if found else ""
    said = re.sub(r"\s*\[(?:default: |x>|\d+<=)[^\[\]]*\]", "", said)
    return Option(names, value.replace("INTEGER RANGE", "N"), said, default)
