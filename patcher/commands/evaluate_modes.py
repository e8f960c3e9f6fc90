"""What ``q8a8-patch evaluate`` does in each of its modes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from patcher.console import Output
from patcher.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from patcher.evaluate.reporting import Files
    from patcher.evaluate.result import Report

_DEMO_CHUNKS, _DEMO_ROUNDS, _DEMO_GENERATE = 8, 3, 32
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
    manifest: Path | None
    results: Path
    executor: str
    workers: int
    scheduler: str | None
    only: tuple[str, ...]
    list_jobs: bool


def measure(options: Options, output: Output) -> Report:
    """Measure a model, or the demonstration's. Raises what :func:`patcher.evaluate.evaluate` raises."""
    from patcher.evaluate import Programs, Request, demo, evaluate, raise_where_nothing, variant
    from patcher.evaluate.stages import StageCache

    reporter = output.reporter
    if options.demo:
        if options.paths:
            raise UsageError("--demo: takes no MODEL, it gets its own")
        model = demo.model(reporter)
        text: Path | None = options.text or demo.text(reporter)
        calibration: Path | None = options.calibration or demo.text(reporter, demo.CALIBRATION_MEMBER)
        folder = options.folder or demo.programs(options.work, reporter)
    else:
        model, text, calibration = _model(options), options.text, options.calibration
        folder = options.folder or options.work / "build" / "bin"
        if text is None:
            reporter.warn("no --text: accuracy is not measured")
    chunks = options.chunks if options.chunks is not None else (_DEMO_CHUNKS if options.demo else 60)
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
        generate=options.generate or (_DEMO_GENERATE if options.demo else 128),
        depths=options.depths,
        threads=options.threads,
        rounds=options.rounds if options.rounds is not None else (_DEMO_ROUNDS if options.demo else 5),
        divergence=options.kld,
    )
    report = evaluate(request, cache=StageCache(reporter=reporter, fresh=options.fresh), reporter=reporter)
    raise_where_nothing(report)
    return report


def compare_reports(options: Options, files: Files, output: Output) -> int:
    """Two JSON documents side by side."""
    from patcher.evaluate import compare, reporting, result

    if files.html is not None:
        raise UsageError("--compare: has no --html", hint="use --markdown or -o")
    if len(options.paths) != 2:
        raise UsageError(f"--compare: looked for two JSON documents, found {len(options.paths)}")
    first, second = (result.load(path) for path in options.paths)
    found, notes = compare.compare(first, second)
    names = (options.paths[0].stem, options.paths[1].stem)

    def text() -> str:
        from patcher.evaluate.report_terminal import differences

        return differences(found, names, notes)

    document = {
        "first": str(options.paths[0]),
        "second": str(options.paths[1]),
        "machines": [first.machine, second.machine],
        "differences": [item.document() for item in found],
        "notes": notes,
    }
    if files.markdown is not None:
        from patcher.evaluate.report_markdown import differences as as_markdown

        reporting.write_text(files.markdown, as_markdown(found, names, notes))
    if files.json is not None:
        reporting.write_text(files.json, json.dumps(document, indent=1, ensure_ascii=False))
    output.emit(document, text)
    return ExitCode.OK


def run_grid(options: Options, manifest: Path, output: Output) -> int:
    """The jobs of a manifest, or a list of them."""
    from patcher.evaluate import grid

    jobs = grid.load(manifest, output.reporter)
    unknown = sorted(set(options.only) - {job.id for job in jobs} - {job.name for job in jobs})
    if unknown:
        raise UsageError(f"--only {unknown[0]}: no such job", hint="see --list")
    if options.only:
        jobs = [job for job in jobs if job.id in options.only or job.name in options.only]
    if options.list_jobs:
        listed = {"include": [job.document() for job in jobs]}
        output.emit(listed, "\n".join(f"{job.id}  {job.name}" for job in jobs))
        return ExitCode.OK
    outcomes = grid.run(
        jobs,
        options.results,
        executor=options.executor,
        workers=options.workers,
        scheduler=options.scheduler,
        reporter=output.reporter,
    )

    def text() -> str:
        states = {True: "there already", False: "measured"}
        return "\n".join(
            f"{item.job.name}: {item.failure or f'{states[item.found]}, {item.file}'}" for item in outcomes
        )

    output.emit({"jobs": [item.document() for item in outcomes]}, text)
    return ExitCode.BUILD if any(item.failure for item in outcomes) else ExitCode.OK


def cross_evaluate(options: Options, output: Output) -> Report:
    """Cross-build, and measure under the emulator."""
    from patcher.cache import cache_dir
    from patcher.evaluate import Programs, crossing, demo, variant
    from patcher.evaluate.stages import StageCache

    reporter = output.reporter
    model = demo.model(reporter) if options.demo else _model(options)
    text = options.text or (demo.text(reporter) if options.demo else None)
    if text is None:
        raise UsageError("--cross: looked for --text, found none", hint="name a plain text file")
    request = crossing.CrossRequest(
        model,
        text,
        options.work / "llama.cpp",
        options.work / f"build-{options.cross}",
        Programs(options.folder or options.work / "build" / "bin"),
        variant.parse(options.types),
        options.baseline,
        options.models or cache_dir("evaluate", "models"),
        min(options.context, _CROSS_CONTEXT),
    )
    cache = StageCache(reporter=reporter, fresh=options.fresh)
    return crossing.evaluate(request, cache=cache, reporter=reporter)


def _model(options: Options) -> Path:
    if len(options.paths) != 1:
        raise UsageError(
            f"looked for one MODEL.gguf, found {len(options.paths)}",
            hint="name a model, or try 'q8a8-patch evaluate --demo'",
        )
    model = options.paths[0]
    if not model.is_file():
        raise UsageError(
            f"{model}: looked for a GGUF model, found none",
            hint="name one, or try 'q8a8-patch evaluate --demo'",
        )
    return model
