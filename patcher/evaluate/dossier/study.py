"""One resumable run: models, texts, divergences, memory and speed, each a stage that is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.base.cache import cache_dir
from patcher.base.errors import BuildError, PatcherError, UsageError
from patcher.base.machine import available_memory, processors
from patcher.base.progress import SILENT, Reporter, Step
from patcher.base.stages import StageCache
from patcher.evaluate.dossier import estimates, lockstep, texts
from patcher.evaluate.dossier.divergence import Tokens
from patcher.evaluate.dossier.result import ALL, BASELINE, Dossier, File, ModelResult
from patcher.evaluate.dossier.texts import Text
from patcher.evaluate.measure import provenance, speed, variant
from patcher.evaluate.measure.models import Factory, Model, SkippedError
from patcher.evaluate.measure.variant import Variant
from patcher.model.model_file import open_model
from patcher.programs.folder import Programs

TYPES = "F16,Q8_0,Q8_A8,Q8_A8+smooth,Q6_K,Q5_K_M,Q4_K_M"
REFERENCE = "Q8_0"
_MEMORY = ("-p", "64", "-n", "4", "-r", "1", "-o", "json")  # enough to have read all weights


@dataclass(frozen=True)
class Study:
    """What to put into a dossier. ``chunks`` None: all of each text; ``rounds`` 0: no speed."""

    models: tuple[Path, ...]
    programs: Programs
    calibration: Path
    variants: tuple[Variant, ...] = variant.parse(TYPES)
    chunks: int | None = 60
    rounds: int = 5
    home: Path | None = None

    def settings(self) -> dict[str, Any]:
        """How it was measured, for the report."""
        return {
            "types": [item.label for item in self.variants],
            "chunks": self.chunks,
            "rounds": self.rounds,
            "threads": processors(),
            "prompt": speed.Task.prompt,
            "generate": speed.Task.generate,
        }


def study(request: Study, *, cache: StageCache | None = None, reporter: Reporter = SILENT) -> Dossier:
    """Measure what is missing and say what was found.

    A type that fails is left out with its reason. Raises :class:`UsageError` for inputs that can't be read,
    :class:`patcher.base.errors.SourceError` where a text can't be had, and what failed where that is the
    baseline.
    """
    lockstep.require_pipes()
    if BASELINE not in [item.label for item in request.variants]:
        raise UsageError(
            f"--types: looked for {BASELINE}, which the others are compared with, found none",
            hint=f"add {BASELINE} to --types",
        )
    if len(request.variants) < 2:
        raise UsageError(f"--types {BASELINE}: there is nothing to compare it with", hint="name more types")
    for program in ("llama-perplexity", "llama-bench", "llama-quantize"):
        request.programs.find(program)
    start, machine = time.time(), provenance.machine()
    others = machine["others_share"]
    if request.rounds and others is not None and others > provenance.BUSY:
        reporter.warn(
            f"other programs take {others:.0%} of the processors: speeds will be noisy;"
            " --rounds 0 leaves them out, accuracy is the same"
        )
    kept = cache or StageCache(reporter=reporter)
    results = [_ModelStudy(request, path, kept, reporter).run() for path in request.models]
    machine |= {
        "programs": request.programs.facts(),
        "release": provenance.source_release(request.programs),
        "commit": provenance.source_commit(request.programs),
    }
    settings = {**request.settings(), "started": start, "seconds": round(time.time() - start, 1)}
    settings |= {"stages_found": kept.found, "stages_made": kept.made}
    labels = [item.label for item in request.variants]
    return Dossier(machine, settings, REFERENCE if REFERENCE in labels else "", results)


class _ModelStudy:
    def __init__(self, request: Study, path: Path, cache: StageCache, reporter: Reporter) -> None:
        self._request, self._cache, self._reporter = request, cache, reporter
        self._home = request.home or cache_dir("evaluate", "models")
        self._factory = Factory(
            path, request.programs, self._home, calibration=request.calibration, reporter=reporter
        )
        template = open_model(path).head.get("tokenizer.chat_template")
        self._template = template if isinstance(template, str) and template.strip() else None
        self._result = ModelResult(self._factory.name, BASELINE)

    def run(self) -> ModelResult:
        if self._factory.note():
            easier = "; types whose steps are like those that it was given in have it easier beside that"
            self._result.notes.append(self._factory.note() + easier)
        self._result.texts = [
            texts.obtain(domain, self._template, self._reporter) for domain in texts.DOMAINS
        ]
        models = self._models()
        base, others = models[0], models[1:]
        if not others:
            raise UsageError(
                f"{self._result.name}: looked for a type to compare {BASELINE} with, could make none",
                hint="the warnings above say why each was left out; name other --types, or another build"
                " with --bin",
            )
        found: dict[str, dict[str, Tokens]] = {}
        for text in self._result.texts:
            found[text.domain.name] = self._compare(text, base, others)
        self._conclude(found, [model.variant.label for model in others])
        for model in models:
            self._memory(model)
        self._speed(models)
        return self._result

    def _models(self) -> list[Model]:
        made: list[Model] = []
        for item in sorted(self._request.variants, key=lambda item: item.label != BASELINE):
            try:
                model = self._factory.make(item)
            except (SkippedError, BuildError) as why:
                if item.label == BASELINE:
                    raise
                self._fail(item.label, why)
                continue
            made.append(model)
            header = model.header
            shares = header.weights_by_type()
            weights = sum(shares.values())
            holds = {name: count / weights for name, count in shares.items() if count / weights >= 0.001}
            self._result.files.append(
                File(
                    item.label,
                    model.path.name,
                    model.sha256,
                    header.size,
                    header.tensor_bytes,
                    weights,
                    holds,
                )
            )
        return made

    def _compare(self, text: Text, base: Model, others: list[Model]) -> dict[str, Tokens]:
        """Every token of one text, by type; those that are known from before aren't read again."""
        known = {model.variant.label: self._kept(text, base, model) for model in others}
        missing = [
            model
            for model in others
            if known[model.variant.label] is None and model.variant.label not in self._result.failures
        ]
        for group in self._groups(text, base, missing):
            labels = [model.variant.label for model in group]
            with self._reporter.step(
                f"{self._result.name}, {text.domain.name}: {', '.join(labels)}", total=100
            ) as step:
                reading = lockstep.Reading(
                    self._request.programs,
                    text.path,
                    self._request.chunks,
                    text.domain.context,
                    max(1, processors() // (len(group) + 1)),
                )

                def follow(share: float, step: Step = step) -> None:
                    step.update(done=round(100 * share))

                found = lockstep.compare(reading, base, group, follow)
            for model in group:
                tokens = found[model.variant.label]
                if isinstance(tokens, PatcherError):
                    self._fail(model.variant.label, tokens)
                    continue
                stage = self._inputs(text, base, model)
                known[model.variant.label] = self._cache.run("tokens", stage, tokens.document)
        return {label: Tokens.from_document(there) for label, there in known.items() if there is not None}

    def _groups(self, text: Text, base: Model, missing: list[Model]) -> list[list[Model]]:
        """Types that are read side by side: as many as there are, or as the memory holds."""
        free = available_memory()
        groups: list[list[Model]] = []
        taken = 0
        for model in missing:
            needed = lockstep.bytes_needed(model, text.domain.context)
            fits = free is None or taken + needed < 0.7 * free
            if groups and fits:
                groups[-1].append(model)
            else:
                groups.append([model])
                taken = lockstep.bytes_needed(base, text.domain.context)
            taken += needed
        return groups

    def _inputs(self, text: Text, base: Model, model: Model) -> dict[str, Any]:
        return {
            "programs": self._request.programs.digest,
            "launcher": list(self._request.programs.launcher),
            "baseline": base.sha256,
            "model": model.sha256,
            "text": text.sha256,
            "chunks": self._request.chunks,
            "context": text.domain.context,
        }

    def _kept(self, text: Text, base: Model, model: Model) -> Mapping[str, Any] | None:
        stage = self._inputs(text, base, model)
        if self._cache.get("tokens", stage) is None:
            return None
        return self._cache.run("tokens", stage, dict)  # counted as found

    def _conclude(self, found: dict[str, dict[str, Tokens]], labels: list[str]) -> None:
        result = self._result
        everything = {
            label: [types[label] for types in found.values() if label in types]
            for label in labels
            if label not in result.failures
        }
        for text, types in [
            *((text, {k: [v] for k, v in types.items()}) for text, types in found.items()),
            (ALL, everything),
        ]:
            reference = types.get(REFERENCE)
            result.figures[text] = {
                label: estimates.figures(
                    types[label], reference if reference and len(reference) == len(types[label]) else None
                )
                for label in labels
                if types.get(label)
            }
            first = next((types[label] for label in labels if types.get(label)), None)
            if first is not None:
                result.base_perplexity[text] = estimates.baseline_perplexity(first)

    def _memory(self, model: Model) -> None:
        label = model.variant.label
        inputs = {
            "programs": self._request.programs.digest,
            "launcher": list(self._request.programs.launcher),
            "model": model.sha256,
            "arguments": [*_MEMORY, "-t", str(processors())],
        }

        def measure() -> dict[str, Any]:
            ran = self._request.programs.run("llama-bench", ["-m", model.path, *inputs["arguments"]])
            return {"peak_rss": ran.peak_rss}

        try:
            peak = self._cache.run("memory", inputs, measure)["peak_rss"]
        except BuildError as why:
            self._fail(label, why)
            return
        if peak:
            self._result.memory[label] = int(peak)

    def _speed(self, models: list[Model]) -> None:
        task = speed.Task(self._request.programs, threads=(processors(),))
        rounds: dict[str, list[dict[str, Any]]] = {model.variant.label: [] for model in models}
        if not self._request.rounds:
            return
        total = self._request.rounds * len(models)
        with self._reporter.step(f"{self._result.name}: speed", total=total) as step:
            for number in range(self._request.rounds):
                turn = number % len(models)  # each round begins with another type
                for at, model in enumerate([*models[turn:], *models[:turn]]):
                    label = model.variant.label
                    step.update(done=number * len(models) + at, detail=label)
                    if label in self._result.failures:
                        continue
                    try:
                        rounds[label].append(speed.measure_round(task, self._cache, model, number))
                    except BuildError as why:
                        self._fail(label, why)
        self._result.series = {label: speed.series(found) for label, found in rounds.items() if found}

    def _fail(self, label: str, why: PatcherError) -> None:
        self._result.failures[label] = str(why)
        self._reporter.warn(f"{self._result.name}, {label}: {why}")
