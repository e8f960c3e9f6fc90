"""Is it smaller, faster, as accurate? Models of several types measured side by side on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patcher.base import hashing
from patcher.base.cache import cache_dir
from patcher.base.errors import BuildError, UsageError
from patcher.base.files import require_utf8
from patcher.base.machine import processors
from patcher.base.progress import SILENT, Reporter, Step
from patcher.base.stages import StageCache
from patcher.evaluate.measure import accuracy, estimate, provenance, speed, variant
from patcher.evaluate.measure.accuracy import Accuracy
from patcher.evaluate.measure.estimate import Budget
from patcher.evaluate.measure.models import Factory, Model, SkippedError
from patcher.evaluate.measure.variant import Variant
from patcher.evaluate.result import Report, TypeResult
from patcher.programs import llama_perplexity
from patcher.programs.folder import Programs
from patcher.programs.llama_perplexity import Perplexity

__all__ = ["Programs", "Report", "Request", "TypeResult", "evaluate"]

PROMISE_BASELINE = "F16"


@dataclass(frozen=True)
class Request:
    """What to measure, and how long. ``chunks`` None: the whole text; ``rounds`` 0: no speed at all."""

    model: Path
    text: Path | None
    programs: Programs
    variants: tuple[Variant, ...] = field(default_factory=lambda: variant.parse(variant.DEFAULT))
    baseline: str = PROMISE_BASELINE
    home: Path | None = None
    calibration: Path | None = None
    chunks: int | None = None
    context: int = 512
    prompt: int = 512
    generate: int = 128
    depths: tuple[int, ...] = (0,)
    threads: tuple[int, ...] = ()
    rounds: int = 5
    divergence: bool = True

    def settings(self) -> dict[str, Any]:
        """How it was measured, for the report."""
        return {
            "model": str(self.model),
            "text": str(self.text) if self.text else None,
            "text_sha256": hashing.of_file(self.text) if self.text else None,
            "types": [item.label for item in self.variants],
            "chunks": self.chunks,
            "context": self.context,
            "prompt": self.prompt,
            "generate": self.generate,
            "depths": list(self.depths),
            "threads": list(self.threads or (processors(),)),
            "rounds": self.rounds,
        }


def evaluate(request: Request, *, cache: StageCache | None = None, reporter: Reporter = SILENT) -> Report:
    """Make what is missing, measure everything, and say what was found.

    A type that fails is left out with its reason in ``failures``; what was measured stays in the cache,
    so the same request goes on where it stopped. Raises :class:`UsageError` for inputs that can't be read,
    and what failed where it is the baseline.
    """
    if request.text is not None and not request.text.is_file():
        raise UsageError(
            f"{request.text}: looked for a text, found none", hint="name a plain text file with --text"
        )
    if request.baseline not in [item.label for item in request.variants]:
        raise UsageError(f"--baseline {request.baseline}: is not among the types", hint="add it to --types")
    if request.text is not None:
        require_utf8(request.text)
        accuracy.Task(
            request.programs, request.text, request.chunks, request.context, 1, request.divergence
        ).require_enough()
    for program in ("llama-perplexity", "llama-bench", "llama-quantize"):
        request.programs.find(program)
    return _Evaluation(request, cache or StageCache(reporter=reporter), reporter).run()


class _Evaluation:
    def __init__(self, request: Request, cache: StageCache, reporter: Reporter) -> None:
        self._request, self._cache, self._reporter = request, cache, reporter
        self._home = request.home or cache_dir("evaluate", "models")
        self._threads = request.threads or (processors(),)
        self._results: dict[str, TypeResult] = {}
        self._skipped: dict[str, str] = {}
        self._done = 0.0  # seconds, as the budget has them
        self._build = ""

    def run(self) -> Report:
        start, machine = time.time(), provenance.machine()  # what others take, while we ourselves wait
        models = self._models()
        measuring = self._measuring(models)
        speed_task = speed.Task(
            self._request.programs,
            self._request.prompt,
            self._request.generate,
            self._request.depths,
            self._threads,
        )
        budget = self._budget(models, measuring, speed_task, machine["others_share"])
        with self._reporter.step("Evaluating, seconds", total=max(1, round(budget.seconds))) as step:
            if measuring:
                self._accuracy(measuring, models, budget, step)
            self._speed(speed_task, models, budget, step)
        request = self._request
        machine |= {
            "programs": request.programs.facts(),
            "build": self._build,
            "release": provenance.source_release(request.programs),
            "commit": provenance.source_commit(request.programs),
        }
        settings = {**request.settings(), "stages_found": self._cache.found, "stages_made": self._cache.made}
        settings |= {"started": start, "seconds": round(time.time() - start, 1)}
        results = sorted(self._results.values(), key=lambda item: item.type != request.baseline)
        return Report(machine, results, request.baseline, settings, self._skipped, results[0].name)

    def _models(self) -> list[Model]:
        request = self._request
        factory = Factory(
            request.model,
            request.programs,
            self._home,
            calibration=request.calibration,
            reporter=self._reporter,
        )
        found: list[Model] = []
        for item in sorted(request.variants, key=lambda item: item.label != request.baseline):
            try:
                model = factory.make(item)
            except SkippedError as why:
                self._skip(item, str(why))
                continue
            except BuildError as why:
                if item.label == request.baseline:
                    raise
                failed = TypeResult(factory.name, item.label, failures=[str(why)])
                self._results[item.label] = failed
                self._reporter.warn(f"{item.label}: {why}")
                continue
            found.append(model)
            result = TypeResult(factory.name, item.label, str(model.path), model.header.size)
            result.tensor_bytes = model.header.tensor_bytes
            if item.label == request.baseline and factory.note():
                result.notes.append(factory.note())
                self._reporter.warn(factory.note())
            self._results[item.label] = result
        return found

    def _skip(self, item: Variant, why: str) -> None:
        if item.label == self._request.baseline:
            raise UsageError(
                f"{item.label}: looked for the baseline, can't have it ({why})",
                hint="name another with --baseline, or its file in --types: LABEL=FILE.gguf",
            )
        self._skipped[item.label] = why
        self._reporter.warn(f"{item.label}: left out, {why}")

    def _measuring(self, models: list[Model]) -> Accuracy | None:
        request = self._request
        if request.text is None:
            return None
        task = accuracy.Task(
            request.programs,
            request.text,
            request.chunks,
            request.context,
            max(self._threads),
            request.divergence,
        )
        return Accuracy(task, self._cache, models[0], self._home)

    def _budget(
        self, models: list[Model], measuring: Accuracy | None, task: speed.Task, others: float | None
    ) -> Budget:
        """What is still to be done, told before it begins."""
        budget = Budget(models, measuring, task, self._request.rounds, self._cache)
        if budget.missing:
            for line in estimate.doubts(models, others):
                self._reporter.warn(line)
            budget.learn(estimate.taste(self._request.programs, models[0], self._threads[0]))
            self._reporter.note(f"takes     {budget.text()}")
        return budget

    def _accuracy(self, measuring: Accuracy, models: list[Model], budget: Budget, step: Step) -> None:
        base: Perplexity | None = None
        try:
            for model in models:
                label, result = model.variant.label, self._results[model.variant.label]
                seconds = budget.accuracy(label)
                step.update(detail=f"{label} perplexity")
                begun = time.monotonic()
                with self._kept(model, result):
                    found = measuring.measure(model, self._follower(self._done, seconds, step))
                    result.perplexity, result.perplexity_error = found.value, found.error
                    result.chunks = found.chunks
                    result.notes += [found.note] if found.note else []
                    if found.divergence is not None:
                        result.kld, result.kld_error = found.divergence.mean, found.divergence.mean_error
                        result.ppl_ratio = llama_perplexity.ratio_of_pair(found, base)
                        result.ppl_ratio_error = found.divergence.ratio_error
                        result.same_top_percent = found.divergence.same_top
                    elif base is not None:
                        paired = llama_perplexity.paired_ratio(found, base)
                        result.ppl_ratio, result.ppl_ratio_error = paired or (None, None)
                    base = base or found
                self._advance(seconds, step, budget, begun)
        finally:
            measuring.close()

    def _speed(self, task: speed.Task, models: list[Model], budget: Budget, step: Step) -> None:
        rounds: dict[str, list[dict[str, Any]]] = {model.variant.label: [] for model in models}
        before = {label: len(result.failures) for label, result in self._results.items()}
        for number in range(self._request.rounds):
            # each round starts with another type, so that none always runs on the machine as the last left it
            turn = number % len(models)
            for model in [*models[turn:], *models[:turn]]:
                label = model.variant.label
                begun = time.monotonic()
                if len(self._results[label].failures) > before[label]:
                    self._advance(budget.speed(label, number), step, budget, None)
                    continue
                step.update(detail=f"{label} speed, round {number + 1} of {self._request.rounds}")
                with self._kept(model, self._results[label]):
                    rounds[label].append(speed.measure_round(task, self._cache, model, number))
                self._advance(budget.speed(label, number), step, budget, begun)
        for label, found in rounds.items():
            if found:
                self._results[label].series |= speed.series(found)
                self._build = self._build or str(found[0]["rows"][0]["build"])

    def _follower(self, start: float, seconds: float, step: Step) -> accuracy.Follow:
        return lambda share: step.update(done=round(start + share * seconds))

    def _advance(self, seconds: float, step: Step, budget: Budget, begun: float | None) -> None:
        """A stage is over that ``seconds`` were planned for; ``begun`` is when, None where none ran."""
        self._done += seconds
        if begun is not None:
            budget.mend(seconds, time.monotonic() - begun)
        # the bar counts what was planned; what is left of it is told by the pace so far
        left = max(0.0, budget.seconds - self._done) * budget.pace
        step.update(done=round(self._done), detail=f"about {estimate.duration(left)} left")

    @contextmanager
    def _kept(self, model: Model, result: TypeResult) -> Iterator[None]:
        """A stage that may fail: the others go on, unless it is the baseline's, which all need."""
        try:
            yield
        except BuildError as why:
            if model.variant.label == self._request.baseline:
                raise
            result.failures.append(str(why))
            self._reporter.warn(f"{model.variant.label}: {why}")


def failures(report: Report) -> list[str]:
    """Everything that went wrong, one line each."""
    return [f"{model.type}: {why}" for model in report.models for why in model.failures]


def raise_where_nothing(report: Report) -> None:
    """Raise :class:`UsageError` where there is nothing to compare the baseline with."""
    if not report.others:
        reasons = "; ".join(f"{label}: {why}" for label, why in report.skipped.items())
        raise UsageError(
            f"looked for a type to compare {report.baseline} with, found none"
            + (f" ({reasons})" if reasons else ""),
            hint="name more --types, or do what keeps one of them from being measured",
        )
