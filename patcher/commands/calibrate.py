"""``q8a8-patch calibrate``."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import UsageError
from patcher.base.units import how_many
from patcher.commands.arguments import refuse_beside


@click.command("calibrate")
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option(
    "-f",
    "--text",
    type=click.Path(path_type=Path),
    help="The text that the model reads, in UTF-8; in the languages that it will be used with.",
)
@click.option(
    "-o",
    "--output",
    "stats_path",
    type=click.Path(path_type=Path),
    required=True,
    help="The statistics file to write.",
)
@click.option("--tool", type=click.Path(path_type=Path), help="llama-q8a8-stats, or the folder it is in.")
@click.option(
    "--rows",
    default=256,
    show_default=True,
    type=click.IntRange(min=0),
    help="Rows of activations to keep for each weight matrix, as a sample of its inputs.",
)
@click.option(
    "--chunk-size",
    default=512,
    show_default=True,
    type=click.IntRange(min=2),
    help="Tokens in a chunk of the text.",
)
@click.option(
    "--chunks", type=click.IntRange(min=1), help="The most chunks to read. [default: the whole text]"
)
@click.option(
    "-t",
    "--threads",
    type=click.IntRange(min=1),
    help="Threads to compute with. [default: the tool's choice]",
)
@click.option(
    "--gpu-layers",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Layers to compute on the GPU.",
)
@click.option(
    "--merge",
    "merged",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Join these statistics of one model instead of reading a text; may be repeated.",
)
@click.option("--force", is_flag=True, help="With --merge: replace the output file where it exists.")
@common_options
def command(
    model: Path | None,
    text: Path | None,
    stats_path: Path,
    tool: Path | None,
    rows: int,
    chunk_size: int,
    chunks: int | None,
    threads: int | None,
    gpu_layers: int,
    merged: tuple[Path, ...],
    force: bool,
    output: Output,
) -> None:
    """Gather what smoothing has to know: how large each channel's activations are while MODEL reads a text.

    Start a stopped run again to go on where its statistics end, or with more --chunks to add to them.
    Example: q8a8-patch calibrate model-f16.gguf -f valid.txt -o model.stats --tool build/bin
    """
    from patcher.base.files import require_place
    from patcher.programs import q8a8_stats

    require_place(stats_path)
    if merged:
        why = "joins statistics that are there, and reads no text with a model"
        refuse_beside(
            "--merge", why, "model", "text", "tool", "rows", "chunk_size", "chunks", "threads", "gpu_layers"
        )
        stats = q8a8_stats.merge(merged, stats_path, force=force)
    else:
        if model is None or text is None:
            lacking = " and no ".join(
                name for name, given in (("MODEL", model), ("--text", text)) if given is None
            )
            raise UsageError(
                f"looked for MODEL and --text, or --merge, found no {lacking}",
                hint="write it like: q8a8-patch calibrate MODEL.gguf --text TEXT -o MODEL.stats",
            )
        request = q8a8_stats.CalibrationRequest(
            q8a8_stats.find_tool(tool), model, text, stats_path, rows, chunk_size, chunks, threads, gpu_layers
        )
        stats = q8a8_stats.calibrate(request, output.reporter)
    document = {
        "stats": str(stats.path),
        "model_hash": stats.model_hash,
        "texts": stats.texts,
        "chunks": stats.chunks,
        "products": len(stats.weights),
    }
    output.emit(
        document,
        f"{stats.path}: {how_many(len(stats.weights), 'matrix product')},"
        f" {how_many(sum(stats.chunks), 'chunk')} of {how_many(len(stats.texts), 'text')}",
    )
