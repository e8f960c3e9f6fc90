"""``evaluate run --cross``: models made here, run under the emulator, reported like any other evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patcher.base.errors import BuildError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.base.stages import StageCache
from patcher.evaluate.judge.noise import Series
from patcher.evaluate.measure import cross, provenance
from patcher.evaluate.measure.models import Factory, Model, SkippedError
from patcher.evaluate.measure.variant import Variant
from patcher.evaluate.result import Report, TypeResult
from patcher.programs import llama_perplexity
from patcher.programs.folder import Programs


@dataclass(frozen=True)
class CrossRequest:
    """What to run for another processor. ``tree`` is the patched source, ``programs`` run here."""

    model: Path
    text: Path
    tree: Path
    build_dir: Path
    programs: Programs
    variants: tuple[Variant, ...]
    baseline: str
    home: Path
    context: int = 128
    jobs: int | None = None
    calibration: Path | None = None  # smoothing happens here, not under the emulator


def evaluate(request: CrossRequest, *, cache: StageCache, reporter: Reporter = SILENT) -> Report:
    """Build, check and measure. Raises :class:`UsageError` with what to install, and BuildError."""
    if not request.text.is_file():
        raise UsageError(f"{request.text}: looked for a text, found none", hint="name one with --text")
    request.programs.find("llama-quantize")  # models are made here
    emulated = cross.emulator()
    built = cross.cross_build(request.tree, request.build_dir, jobs=request.jobs, reporter=reporter)
    reporter.note(f"built     {', '.join(built.targets)} for aarch64 in {built.seconds:.0f} s")
    said = cross.correctness(Programs(built.bin_dir, emulated.launcher(None)))
    reporter.note(f"checked   test-quantize-fns under {emulated.program.name}: {said}")
    factory = Factory(
        request.model, request.programs, request.home, calibration=request.calibration, reporter=reporter
    )
    results: list[TypeResult] = []
    measured: list[cross.Emulated] = []
    skipped: dict[str, str] = {}
    ordered = sorted(request.variants, key=lambda item: item.label != request.baseline)
    with reporter.step("Emulating aarch64", total=len(ordered)) as step:
        for number, item in enumerate(ordered):
            step.update(done=number, detail=item.label)
            try:
                model = factory.make(item)
            except (SkippedError, BuildError) as why:
                if item.label == request.baseline:
                    raise
                skipped[item.label] = str(why)
                reporter.warn(f"{item.label}: left out, {why}")
                continue
            found = cross.measure(cache, emulated, built.bin_dir, model, request.text, request.context)
            measured.append(found)
            results.append(_result(found, measured[0], model, factory.name))
    machine = {
        **provenance.machine(),
        "emulated": "aarch64 (qemu-user -cpu max)",
        "programs": Programs(built.bin_dir, emulated.launcher(None)).facts(),
        "commit": provenance.source_commit(request.programs),
    }
    settings = {
        "model": str(request.model),
        "text": str(request.text),
        "types": [item.label for item in request.variants],
        "context": request.context,
        "chunks": results[0].chunks,
        "threads": [1],
        "correctness": said,
        "meaning": cross.LABEL,
    }
    return Report(
        machine, results, request.baseline, settings, skipped, f"{factory.name} on aarch64, emulated"
    )


def _result(found: cross.Emulated, base: cross.Emulated, model: Model, name: str) -> TypeResult:
    result = TypeResult(name, model.variant.label, str(model.path), model.header.size)
    result.tensor_bytes = model.header.tensor_bytes
    result.perplexity, result.perplexity_error, result.chunks = found.perplexity, found.error, found.chunks
    if found is not base:
        paired = llama_perplexity.paired_ratio_of(found.running, base.running)
        result.ppl_ratio, result.ppl_ratio_error = paired or (None, None)
    result.series["instructions"] = Series((found.instructions_per_token,))
    result.notes.append(f"{found.instructions_per_token:.4g} a token of the prompt: {cross.LABEL}")
    return result
