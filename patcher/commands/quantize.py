"""``q8a8-patch quantize``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import UsageError
from patcher.commands import values


@click.command("quantize", context_settings={"ignore_unknown_options": True})
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("type_name", metavar="TYPE", shell_complete=values.file_types)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--bin",
    "folder",
    type=click.Path(path_type=Path),
    help="The folder of llama-quantize. [default: that of --work]",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=Path("q8a8-work"),
    show_default=True,
    help="The folder that 'run' worked in.",
)
@click.option(
    "--stats",
    type=click.Path(path_type=Path),
    help="Statistics that 'calibrate' wrote for MODEL, or for the model that MODEL was smoothed "
    "from: weights are then rounded so that their errors cancel. Only for Q8_A8.",
)
@click.option(
    "--judge",
    type=click.Path(path_type=Path),
    help="Statistics of MODEL on another text: where they say that --stats makes a product worse, weights"
    " stay rounded to nearest.",
)
@click.option("--force", is_flag=True, help="Replace OUT where it exists.")
@click.option(
    "--allow-requantize", is_flag=True, help="Accept a model that is quantized already, which costs accuracy."
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads to compute with. [default: one for each processor]"
)
@common_options
def command(
    model: Path,
    out: Path,
    type_name: str,
    arguments: tuple[str, ...],
    folder: Path | None,
    work: Path,
    stats: Path | None,
    judge: Path | None,
    force: bool,
    allow_requantize: bool,
    threads: int | None,
    output: Output,
) -> None:
    """Make OUT from MODEL in TYPE (Q8_A8, Q8_0, Q4_K_M, ...) with the llama-quantize that 'run' built.

    OUT appears only when it is complete and its data, compared with MODEL's, are right. For a model in
    several files, name the first. Options of llama-quantize itself, such as --keep-split, go behind TYPE.
    Example: q8a8-patch quantize model-f16.gguf model-q8a8.gguf Q8_A8
    """
    from patcher.base.machine import processors
    from patcher.base.units import number
    from patcher.model.material import material
    from patcher.model.model_file import open_model
    from patcher.model.refine import Refined, refine, require_type
    from patcher.programs.folder import Programs
    from patcher.programs.llama_quantize import KEEP_SPLIT, quantize, require_free

    refined: list[Refined] = []
    of = None
    if judge is not None and stats is None:
        raise UsageError(
            "--judge: looked for --stats, whose rounding it judges, found none",
            hint="name what 'calibrate' wrote with --stats",
        )
    if stats is not None:
        require_type(type_name)
        parts = [part.path for part in open_model(model).parts]
        read = [*parts, stats, *([judge] if judge is not None else [])]
        require_free(out, read, len(parts) if KEEP_SPLIT in arguments else 1, force=force)
        of = material(model, stats, output.reporter, judge=judge)

    def finish(place: Path) -> None:
        if of is not None:
            refined.append(refine(place, of, output.reporter))

    done = quantize(
        Programs(folder or work / "build" / "bin"),
        model,
        out,
        type_name,
        force=force,
        allow_requantize=allow_requantize,
        arguments=arguments,
        threads=threads or processors(),
        finish=finish,
        reporter=output.reporter,
    )
    share = 100 * done.header.size / done.source_bytes
    document, how, seconds = done.document(), "", done.seconds
    for line in done.notes():
        output.reporter.note(line)
    for one in refined:
        document |= {"rounded": one.document()}
        how = f", square error {one.error_ratio:.2f} of rounding to nearest's on {one.judged}"
        seconds += one.seconds
        for line in one.doubts():
            output.reporter.warn(line)
    output.emit(
        document,
        f"{', '.join(map(str, done.header.parts))}: {done.type}, {number(done.header.size, 'bytes')}"
        f" ({share:.1f} % of {model.name}), {len(done.header.tensors)} tensors, made in {seconds:.1f} s{how}",
    )
