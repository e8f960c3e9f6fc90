"""``q8a8-patch evaluate dossier``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import ExitCode, UsageError
from patcher.base.os_errors import refused
from patcher.commands import evaluate_report as reporting


@click.command("dossier")
@click.argument("folder", type=reporting.PATH, metavar="DIR")
@click.option(
    "--model",
    "models",
    type=reporting.PATH,
    multiple=True,
    help="A GGUF model in F16; may be repeated. [default: the two of the demonstration]",
)
@click.option(
    "--types",
    default="F16,Q8_0,Q8_A8,Q8_A8+smooth,Q6_K,Q5_K_M,Q4_K_M",
    show_default=True,
    metavar="TYPE,...",
    help="The types to compare with F16. TYPE+smooth is smoothed first, Q8_A8+round is rounded by the"
    " calibration; LABEL=FILE.gguf is a model that exists.",
)
@click.option(
    "--bin", "programs", type=reporting.PATH, help="The build's bin folder. [default: that of --work]"
)
@click.option(
    "--work",
    type=reporting.PATH,
    default=Path("q8a8-work"),
    show_default=True,
    help="The folder that 'run' worked in.",
)
@click.option(
    "--chunks",
    type=click.IntRange(min=0),
    default=60,
    show_default=True,
    help="Chunks of each text that are read; 0 for all.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="How often speed is measured; 0 leaves it out, on a busy machine.",
)
@common_options
def dossier_command(
    folder: Path,
    models: tuple[Path, ...],
    types: str,
    programs: Path | None,
    work: Path,
    chunks: int,
    rounds: int,
    output: Output,
) -> int:
    """Make what a reviewer of a new type asks for: files, perplexity, KL divergence, flips, memory, speed.

    Types of similar size are measured too, on prose, code, a long document, dialogue and Korean from PyPI
    packages. Run it again to go on where it stopped. DIR gets dossier.md, dossier.json and the page.

    Example: q8a8-patch evaluate dossier dossier --model model-f16.gguf
    """
    from patcher.base.files import write_wanted
    from patcher.base.stages import StageCache
    from patcher.evaluate import Programs, demo
    from patcher.evaluate.dossier import texts
    from patcher.evaluate.dossier.study import Study, study
    from patcher.evaluate.measure import variant
    from patcher.evaluate.report.dossier_markdown import summary
    from patcher.evaluate.report.dossier_outputs import documents

    reporter = output.reporter
    _require_ours(folder)
    variants = variant.parse(types)
    for model in models:
        if not model.is_file():
            raise UsageError(
                f"{model}: looked for a GGUF model, found none",
                hint="name a .gguf file that is there; without a MODEL two small ones are downloaded",
            )
    if models or programs is not None:
        place = programs or work / "build" / "bin"
    else:
        place = demo.programs(work, reporter)
    request = Study(
        models=models or demo.models(reporter),
        programs=Programs(place),
        calibration=texts.calibration(demo.text(reporter, demo.CALIBRATION_MEMBER), reporter),
        variants=variants,
        chunks=chunks or None,
        rounds=rounds,
    )
    cache = StageCache(reporter=reporter)
    try:
        found = study(request, cache=cache, reporter=reporter)
    except KeyboardInterrupt:
        reporter.note(f"{cache.made} stages were measured and are kept: the same command goes on from here")
        raise
    found.settings["command"] = shlex.join(["q8a8-patch", *sys.argv[1:]])
    for name, text in documents(found).items():
        reporter.note(f"written   {write_wanted(folder / name, text)}")
    output.emit(found.document(), lambda: summary(found))
    return ExitCode.BUILD if any(model.failures for model in found.models) else ExitCode.OK


def _require_ours(folder: Path) -> None:
    """Make ``folder`` where it isn't there. Raises :class:`UsageError` where it can't be made, and where
    a file of somebody else's stands in a dossier's way: a dossier has its JSON beside it."""
    from patcher.evaluate.report.dossier_outputs import JSON, NAMES

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as why:
        raise UsageError(f"{folder}: looked for a folder, found a file", hint="name another folder") from why
    except OSError as why:
        raise refused(folder, why, what="made") from why
    foreign = [name for name in NAMES if (folder / name).exists()]
    if foreign and not (folder / JSON).exists():
        raise UsageError(
            f"{folder / foreign[0]}: is there already, and no {JSON} beside it", hint="name another folder"
        )
