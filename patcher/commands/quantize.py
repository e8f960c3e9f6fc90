"""``q8a8-patch quantize``."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import click

from patcher.base.console import Output, common_options


@click.command("quantize", context_settings={"ignore_unknown_options": True})
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("type_name", metavar="TYPE")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--bin", "folder", type=click.Path(path_type=Path), help="The build's bin folder.")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=Path("q8a8-work"),
    show_default=True,
    help="What 'run' left.",
)
@click.option(
    "--stats",
    type=click.Path(path_type=Path),
    help="What 'calibrate' wrote for MODEL, or before it was smoothed: weights are rounded so that their"
    " errors cancel. Q8_A8 only.",
)
@click.option("--force", is_flag=True, help="Write over OUT.")
@click.option("--allow-requantize", is_flag=True, help="Take a model that is quantized already.")
@click.option("--threads", type=click.IntRange(min=1), help="How many at once. [default: by machine]")
@common_options
def command(
    model: Path,
    out: Path,
    type_name: str,
    arguments: tuple[str, ...],
    folder: Path | None,
    work: Path,
    stats: Path | None,
    force: bool,
    allow_requantize: bool,
    threads: int | None,
    output: Output,
) -> None:
    """Make OUT from MODEL in TYPE (Q8_A8, Q8_0, Q4_K_M, ...) with the llama-quantize that 'run' built.

    OUT appears only when it is complete, and its tensors' types and sizes are right. Options of
    llama-quantize itself go behind TYPE. Example: q8a8-patch quantize model-f16.gguf model-q8a8.gguf Q8_A8
    """
    from patcher.base.machine import processors
    from patcher.base.units import number
    from patcher.model.refine import material, refine, unrefined
    from patcher.programs.folder import Programs
    from patcher.programs.llama_quantize import quantize

    with unrefined(model, out, type_name, force=force) if stats is not None else nullcontext(out) as place:
        of = None if stats is None else material(model, stats, output.reporter)
        done = quantize(
            Programs(folder or work / "build" / "bin"),
            model,
            place,
            type_name,
            force=force,
            allow_requantize=allow_requantize,
            arguments=arguments,
            threads=threads or processors(),
            reporter=output.reporter,
        )
        refined = None if of is None else refine(place, of, output.reporter)
    done = replace(done, path=out)
    share = 100 * done.header.size / done.source_bytes
    document = done.document() | ({"rounded": refined.document()} if refined else {})
    how = f", square error {refined.error_ratio:.2f} of rounding to nearest's" if refined else ""
    seconds = done.seconds + (refined.seconds if refined else 0)
    for line in done.notes():
        output.reporter.note(line)
    output.emit(
        document,
        f"{out}: {done.type}, {number(done.header.size, 'bytes')} ({share:.1f} % of {model.name}), "
        f"{len(done.header.tensors)} tensors, made in {seconds:.1f} s{how}",
    )
