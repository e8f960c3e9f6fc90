"""A command with commands of its own, as people know them from other tools.

Without a word it is its help; ``help VERB`` is ``VERB --help``; what is nearly a command is told which;
``--json``, ``-q`` and ``-v`` may stand before the command as well as behind it.
"""

from __future__ import annotations

import difflib
from typing import Any

import click

from patcher.base.console import Invocation, talking_options

HELP = "help"


class Family(click.Group):
    """A group of commands: see the module."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.params += talking_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            _show_help(ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if not ctx.resilient_parsing and self.get_command(ctx, word) is None:
            if word == HELP:
                if len(args) == 1:
                    _show_help(ctx)
                return self.resolve_command(ctx, [*args[1:], "--help"])
            if not word.startswith("-"):
                ctx.fail(f"No such command '{word}'.{meant(word, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each with its first sentence, which isn't cut at the end of the line."""
        known = ((verb, self.get_command(ctx, verb)) for verb in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl([(verb, one.get_short_help_str(limit=1000)) for verb, one in known if one])

    def invoke(self, ctx: click.Context) -> Any:
        said = ctx.ensure_object(Invocation)
        said.json |= ctx.params.pop("as_json")
        said.quiet |= ctx.params.pop("quiet")
        said.verbose += ctx.params.pop("verbose")
        return super().invoke(ctx)


def meant(word: str, known: list[str]) -> str:
    """`` Did you mean 'apply'?`` where ``word`` is nearly one of ``known``; else nothing."""
    near = difflib.get_close_matches(word.lower(), known, n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _show_help(ctx: click.Context) -> None:
    click.echo(ctx.get_help(), color=ctx.color)
    ctx.exit()
