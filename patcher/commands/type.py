"""``q8a8-patch type``: what is done with the file of a quantization type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from patcher.base.console import Output, common_options
from patcher.commands.arguments import refuse_beside
from patcher.commands.family import HELP, Family, meant
from patcher.commands.type_lift import lift_command
from patcher.commands.type_prove import prove_command

_HELP = ("-h", "--help")
_SHOW = "show"


class _Type(Family):
    """``type FILE`` is ``type show FILE``, and ``type`` alone shows the type that ships."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flags = {name for item in self.get_params(ctx) for name in item.opts}
        first = next((word for word in args if word not in flags), None)
        known = [*self.commands, HELP]
        asked = first in known or (first is None and bool(set(args) & set(_HELP)))
        if not asked and not ctx.resilient_parsing:
            if first is not None and not Path(first).exists() and meant(first, known):
                return super().parse_args(ctx, args)  # which says what was meant
            args = [_SHOW, *args]
        return super().parse_args(ctx, args)


@click.group("type", cls=_Type)
def command() -> None:
    """Check the .toml file of your own quantization type; 'type FILE' is 'type show FILE'.

    Example: q8a8-patch type my_type.toml
    """


@command.command(_SHOW)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--schema", is_flag=True, help="Print the JSON schema of such a file, for editors.")
@common_options
def show_command(file: Path | None, schema: bool, output: Output) -> None:
    """Check the .toml FILE of your own quantization type and say what it adds; without FILE, show Q8_A8's.

    A mistake is reported in one line: its place, what was found, what is allowed.
    Example: q8a8-patch type show my_type.toml
    """
    from dataclasses import asdict

    from patcher.engine import type_schema
    from patcher.engine.patchset import load

    if schema:
        refuse_beside("--schema", "is the same for every type's file", "file")
        output.emit(type_schema.schema(), type_schema.text().rstrip("\n"))
        return
    patchset = load(file) if file is not None else load()
    quant_type = patchset.type
    document: dict[str, Any] = asdict(quant_type) | {
        "bits_per_weight": quant_type.bits_per_weight,
        "edits": [
            {
                "id": edit.id,
                "group": edit.group,
                "purpose": edit.purpose,
                "files": list(edit.files),
                "template": edit.template,
                "own": edit.own,
            }
            for edit in patchset.edits
        ],
    }

    def text() -> str:
        own = [edit for edit in patchset.edits if edit.own]
        edits, groups = len(patchset.edits), len(patchset.groups)
        lines = [
            f"{quant_type.upper}: {quant_type.description}, {quant_type.bits_per_weight:.2f} bits per weight",
            f"  block        {quant_type.block_size} weights in {quant_type.type_size} bytes,"
            f" {quant_type.qk}",
            f"  numbers      GGML_TYPE {quant_type.id}, LLAMA_FTYPE {quant_type.ftype},"
            f" GGML_FTYPE {quant_type.ggml_ftype}",
            f"  activations  {quant_type.activations.upper()}",
            f"  edits        {edits} in {groups} groups, {len(own)} with its own text",
        ]
        return "\n".join([*lines, *(f"    {edit.id:<24} {edit.template}" for edit in own)])

    output.emit(document, text)


command.add_command(lift_command)
command.add_command(prove_command)
