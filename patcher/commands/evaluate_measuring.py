"""What ``q8a8-patch evaluate run`` measures, here or under an emulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patcher.base.console import Output
from patcher.base.errors import UsageError

if TYPE_CHECKING:
    from patcher.evaluate.result import Report

_CHUNKS, _ROUNDS, _GENERATE = 60, 5, 128
_QUICK_CHUNKS, _QUICK_ROUNDS, _QUICK_GENERATE = 8, 3, 32
_CROSS_CONTEXT = 128  # an emulator takes minutes for more


@dataclass(frozen=True)
class Options:
    """What the command line says, in one value."""

    paths: tuple[Path, ...]
    text: Path | None
    types: str
    baseline: str
    folder: Path | None
    work: Path
    models: Path | None
    calibration: Path | None
    quick: bool
    chunks: int | None
    context: int
    prompt: int
    generate: int | None
    depths: tuple[int, ...]
    threads: tuple[int, ...]
    rounds: int | None
    kld: bool
    fresh: bool
    demo: bool
    cross: str | None


def require_inputs(options: Options, subject: tuple[str, ...]) -> None:
    """Raise :class:`UsageError` for a model too many, and a type or text that isn't there: before anything is
    built or measured."""
    from patcher.evaluate.measure import variant

    if options.demo and options.paths:
        raise UsageError("--demo: takes no MODEL, it gets its own", hint="leave out one of them")
    labels = [item.label for item in variant.parse(options.types)]
    if options.baseline not in labels:
        raise UsageError(f"--baseline {options.baseline}: is not among the types", hint="add it to --types")
    if len(labels) < 2:
        raise UsageError(
            f"--types {options.types}: there is nothing to compare the baseline with",
            hint="name more --types",
        )
    unknown = [name for name in subject if name not in labels]
    if unknown:
        raise UsageError(
            f"--subject {unknown[0]}: is not among the types {', '.join(labels)}", hint="add it to --types"
        )
    for name, place in (("--text", options.text), ("--calibration", options.calibration)):
        if place is not None and not place.is_file():
            raise UsageError(
                f"{place}: looked for a text, found none", hint=f"name a plain text file with {name}"
            )


def measure(options: Options, output: Output) -> Report:
    """Measure a model, or the demonstration's. Raises what :func:`patcher.evaluate.evaluate` raises."""
    from patcher.base.stages import StageCache
    from patcher.evaluate import Programs, Request, demo, evaluate, raise_where_nothing
    from patcher.evaluate.measure import variant

    reporter = output.reporter
    if options.demo:
        model = demo.model(reporter)
        text: Path | None = options.text or demo.text(reporter)
        calibration: Path | None = options.calibration or demo.text(reporter, demo.CALIBRATION_MEMBER)
        folder = options.folder or demo.programs(options.work, reporter)
    else:
        model, text, calibration = _model(options), options.text, options.calibration
        folder = options.folder or options.work / "build" / "bin"
        if text is None:
            reporter.warn("no --text: accuracy is not measured")
    quick = options.quick
    chunks = options.chunks if options.chunks is not None else (_QUICK_CHUNKS if quick else _CHUNKS)
    rounds = options.rounds if options.rounds is not None else (_QUICK_ROUNDS if quick else _ROUNDS)
    request = Request(
        model=model,
        text=text,
        programs=Programs(folder),
        variants=variant.parse(options.types),
        baseline=options.baseline,
        home=options.models,
        calibration=calibration,
        chunks=chunks or None,
        context=options.context,
        prompt=options.prompt,
        generate=options.generate or (_QUICK_GENERATE if quick else _GENERATE),
        depths=options.depths,
        threads=options.threads,
        rounds=rounds,
        divergence=options.kld,
    )
    cache = StageCache(reporter=reporter, fresh=options.fresh)
    try:
        report = evaluate(request, cache=cache, reporter=reporter)
    except KeyboardInterrupt:
        many = (
            "1 stage was measured and is kept"
            if cache.made == 1
            else f"{cache.made} stages were measured and are kept"
        )
        reporter.note(f"{many}: the same command goes on from here")
        raise
    raise_where_nothing(report)
    return report


def cross_evaluate(options: Options, output: Output) -> Report:
    """Cross-build, and measure under the emulator."""
    from patcher.base.cache import cache_dir
    from patcher.base.stages import StageCache
    from patcher.evaluate import Programs, demo
    from patcher.evaluate.measure import crossing, variant

    reporter = output.reporter
    model = demo.model(reporter) if options.demo else _model(options)
    text = options.text or (demo.text(reporter) if options.demo else None)
    if text is None:
        raise UsageError("--cross: looked for --text, found none", hint="name a plain text file")
    folder = options.folder or options.work / "build" / "bin"
    if options.demo and options.folder is None:
        folder = demo.programs(options.work, reporter)  # the tree to cross-build comes with them
    tree = options.work / "llama.cpp"
    if not (tree / "CMakeLists.txt").is_file():
        raise UsageError(
            f"{tree}: looked for the tree to cross-build, found none",
            hint="name what 'run' left with --work, or make it: q8a8-patch run --work DIR",
        )
    request = crossing.CrossRequest(
        model,
        text,
        tree,
        options.work / f"build-{options.cross}",
        Programs(folder),
        variant.parse(options.types),
        options.baseline,
        options.models or cache_dir("evaluate", "models"),
        min(options.context, _CROSS_CONTEXT),
        calibration=options.calibration
        or (demo.text(reporter, demo.CALIBRATION_MEMBER) if options.demo else None),
    )
    cache = StageCache(reporter=reporter, fresh=options.fresh)
    return crossing.evaluate(request, cache=cache, reporter=reporter)


def _model(options: Options) -> Path:
    if len(options.paths) != 1:
        raise UsageError(
            f"looked for one MODEL.gguf, found {len(options.paths)}",
            hint="name a model, or try 'q8a8-patch evaluate run --demo'",
        )
    model = options.paths[0]
    if not model.is_file():
        raise UsageError(
            f"{model}: looked for a GGUF model, found none",
            hint="name one, or try 'q8a8-patch evaluate run --demo'",
        )
    return model
