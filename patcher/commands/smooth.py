"""``q8a8-patch smooth``."""

from __future__ import annotations

import re
from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import UsageError
from patcher.commands.arguments import refuse_beside


def _alpha(ctx: click.Context, param: click.Parameter, value: str) -> float | None:
    """A number from 0 to 1, or None for ``auto``."""
    if value == "auto":
        return None
    if not re.fullmatch(r"0?\.\d+|[01](\.0*)?", value):
        raise click.BadParameter(f"looked for 'auto' or a number from 0 to 1, found '{value}'", ctx, param)
    return float(value)


@click.command("smooth")
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--stats", type=click.Path(path_type=Path), help="What 'calibrate' wrote for this model.")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), required=True, help="The new model.")
@click.option(
    "--alpha",
    callback=_alpha,
    metavar="auto|0..1",
    default="auto",
    show_default=True,
    help="SmoothQuant migration strength: 0 keeps outliers in activations, 1 moves them into weights.",
)
@click.option(
    "--layer-alpha",
    multiple=True,
    metavar="N[-M]=ALPHA",
    help="The migration strength of some layers, counted from 0; may be repeated.",
)
@click.option(
    "--magnitude",
    type=click.Choice(["auto", "max", "rms", "mean"]),
    default="auto",
    show_default=True,
    help="How a channel's activations become one number. auto: searched together with alpha; max where alpha"
    " is fixed.",
)
@click.option(
    "--fold",
    "only",
    multiple=True,
    metavar="ID",
    help="Smooth only this kind of layer: attn, value, ffn, down, ...; may be repeated.",
)
@click.option(
    "--head",
    is_flag=True,
    help="Smooth the output matrix too; one that is tied to the embeddings becomes a copy of its own.",
)
@click.option("--undo", is_flag=True, help="Take the smoothing of MODEL out again.")
@click.option(
    "--lora",
    type=click.Path(path_type=Path),
    help="Fold the factors of --like into this LoRA adapter, instead of smoothing a MODEL.",
)
@click.option("--like", type=click.Path(path_type=Path), help="The smoothed model that --lora is for.")
@click.option("--force", is_flag=True, help="Replace the output file where it exists.")
@common_options
def command(
    model: Path | None,
    stats: Path | None,
    out: Path,
    alpha: float | None,
    layer_alpha: tuple[str, ...],
    magnitude: str,
    only: tuple[str, ...],
    head: bool,
    undo: bool,
    lora: Path | None,
    like: Path | None,
    force: bool,
    output: Output,
) -> None:
    """Move outliers of activations into the weights of MODEL before it is quantized (SmoothQuant).

    The smoothed model computes the same function.

    Start a stopped run again to go on where it was. For a model in several files, name the first. A LoRA
    adapter of the model fits the smoothed one only after the same factors were folded into it: see --lora.
    Example: q8a8-patch smooth model-f16.gguf --stats model.stats -o smooth-f16.gguf
    """
    from patcher.model import smooth as smoothing
    from patcher.model.choose import Strength

    if lora is not None or like is not None:
        if lora is None or like is None or model is not None or stats is not None or undo:
            raise UsageError(
                "looked for --lora with --like and nothing else to smooth, found one of them alone, or MODEL,"
                " --stats or --undo beside them",
                hint="write it like: q8a8-patch smooth --lora IN.gguf --like SMOOTHED.gguf -o OUT.gguf",
            )
        why = "takes the factors of --like as they are"
        refuse_beside("--lora", why, "alpha", "layer_alpha", "magnitude", "only", "head")
        from patcher.model.lora import smooth_adapter

        done = smooth_adapter(lora, like, out, force=force, reporter=output.reporter)
    elif model is None:
        raise UsageError("looked for a MODEL, found none", hint="name a GGUF file, or use --lora and --like")
    elif undo:
        why = "takes out what the model says was done to it"
        refuse_beside("--undo", why, "stats", "alpha", "layer_alpha", "magnitude", "only", "head")
        done = smoothing.undo(model, out, force=force, reporter=output.reporter)
    else:
        if stats is None:
            raise UsageError("--stats is needed", hint="'q8a8-patch calibrate' makes them")
        strength = Strength(alpha, None if magnitude == "auto" else magnitude, _by_layer(layer_alpha))
        done = smoothing.smooth(
            model, stats, out, strength, force=force, only=only, head=head, reporter=output.reporter
        )
    output.emit(done.document, done.text)


def _by_layer(given: tuple[str, ...]) -> dict[int, float]:
    found: dict[int, float] = {}
    for text in given:
        parts = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?=(\d(?:\.\d+)?|\.\d+)", text)
        if parts is None or float(parts[3]) > 1:
            raise UsageError(
                f"--layer-alpha: looked for N=ALPHA or N-M=ALPHA, found '{text}'",
                hint="write it like 0=0.5 or 1-12=0.7: layers from 0 on, a strength from 0 to 1",
            )
        first = int(parts[1])
        for layer in range(first, int(parts[2] or first) + 1):
            found[layer] = float(parts[3])
    return found
