"""How long an evaluation will take, told before it begins: a taste of the baseline's speed, and arithmetic.

Every type is taken to be as slow as the baseline, so that the estimate errs on the long side. The taste is
taken twice, because another program may disturb one, and mended by what the stages really take.
"""

from __future__ import annotations

from dataclasses import dataclass

from patcher.base.errors import BuildError, UsageError
from patcher.base.machine import available_memory
from patcher.base.stages import StageCache
from patcher.evaluate.measure import provenance, speed
from patcher.evaluate.measure.accuracy import Accuracy
from patcher.evaluate.measure.models import Model
from patcher.programs import llama_bench
from patcher.programs.folder import Programs

_ALIKE = 1.25  # of two tastes: below, one figure will do
_PROMPT, _GENERATE = 64, 4  # tokens of the taste: seconds even for a large model


@dataclass(frozen=True)
class Taste:
    """The baseline's speeds in tokens/s, and the seconds that a process takes to load it.

    Of two runs the better of each; ``spread`` is how many times as long the worse one took, 1 or more.
    """

    prompt: float
    decode: float
    load: float
    spread: float = 1.0


def taste(programs: Programs, model: Model, threads: int) -> Taste | None:
    """Two short runs of ``model``, now: what was true of this machine yesterday is kept for nobody.

    None where they fail: the measurement will say why.
    """
    arguments = ["-p", str(_PROMPT), "-n", str(_GENERATE), "-r", "1", "-t", str(threads), "-o", "json"]

    def run() -> Taste:
        ran = programs.run("llama-bench", ["-m", model.path, *arguments])
        rates = {row.phase: row.speed for row in llama_bench.parse(ran.out, "llama-bench")}
        busy = 2 * _PROMPT / rates["pp"] + (_GENERATE + 1) / rates["tg"]  # each test is warmed up first
        return Taste(rates["pp"], rates["tg"], max(0.0, ran.seconds - busy))

    try:
        one, other = run(), run()
    except (BuildError, UsageError, KeyError):
        return None
    spread = max(_ratio(one.prompt, other.prompt), _ratio(one.decode, other.decode))
    return Taste(
        max(one.prompt, other.prompt), max(one.decode, other.decode), min(one.load, other.load), spread
    )


def _ratio(one: float, other: float) -> float:
    return max(one, other) / min(one, other)


class Budget:
    """The seconds that each stage is expected to take; none for what was measured before.

    ``unknown`` is what is still to be measured, by what the progress bar calls it.
    """

    def __init__(
        self,
        models: list[Model],
        accuracy: Accuracy | None,
        task: speed.Task,
        rounds: int,
        cache: StageCache,
    ) -> None:
        self._task = task
        self._tokens = accuracy.task.tokens() if accuracy else 0
        self._taste: Taste | None = None
        self._accuracy = {
            model.variant.label for model in models if accuracy and not accuracy.is_known(model)
        }
        self._rounds = {
            (model.variant.label, number)
            for model in models
            for number in range(rounds)
            if not speed.is_known(task, cache, model, number)
        }
        self._expected = self._took = 0.0
        self.stages = len(models) * (rounds + (1 if accuracy else 0))

    @property
    def missing(self) -> int:
        """How many stages are still to be measured."""
        return len(self._accuracy) + len(self._rounds)

    def learn(self, found: Taste | None) -> None:
        """Take the baseline's speeds into account."""
        self._taste = found

    def mend(self, expected: float, took: float) -> None:
        """A stage for which ``expected`` seconds were planned took ``took``; the rest is told by that."""
        if expected > 0:
            self._expected += expected
            self._took += took

    @property
    def pace(self) -> float:
        """How many times as long as planned the stages take, as far as that is known."""
        return self._took / self._expected if self._expected else 1.0

    def accuracy(self, label: str) -> float:
        """Seconds for the perplexity of one type."""
        if label not in self._accuracy:
            return 0.0
        return self._tokens / self._taste.prompt + self._taste.load if self._taste else 1.0

    def speed(self, label: str, number: int) -> float:
        """Seconds for one round of one type."""
        if (label, number) not in self._rounds:
            return 0.0
        if self._taste is None:
            return 1.0
        task, tasted = self._task, self._taste
        one = sum(
            2 * task.prompt / tasted.prompt + (task.generate + 1) / tasted.decode + 2 * depth / tasted.prompt
            for depth in task.depths
        )
        first = task.threads[0]
        return 2 * tasted.load + one * sum(max(1.0, first / threads) for threads in task.threads)

    @property
    def seconds(self) -> float:
        """All of it."""
        rounds = sum(self.speed(label, number) for label, number in self._rounds)
        return rounds + sum(self.accuracy(label) for label in self._accuracy)

    def text(self) -> str:
        """One line for a person who is about to wait."""
        there = self.stages - self.missing
        kept = f"; {there} of {self.stages} stages are there already" if there else ""
        if self._taste is None:
            return f"{self.missing} stages to measure{kept}"
        rates = f"{self._taste.prompt:.3g} t/s prompt, {self._taste.decode:.3g} t/s decode"
        longest = self.seconds * self._taste.spread
        span = duration(self.seconds)
        if self._taste.spread > _ALIKE:
            span += f" to {duration(longest)}"
        return f"about {span} to measure (the baseline: {rates}){kept}"


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def doubts(models: list[Model], others: float | None) -> list[str]:
    """What makes measurements on this machine worth less, as it is now: other programs, which take the part
    ``others`` of the processors' time, and its memory.
    """
    found, free = [], available_memory()
    if others is not None and others > provenance.BUSY:
        found.append(f"other programs take {others:.0%} of the processors: speeds will be noisy")
    for model in models:
        size = model.header.tensor_bytes
        if free is not None and size > free:
            found.append(
                f"{model.variant.label} takes {size / 1e9:.1f} GB, {free / 1e9:.1f} GB of memory are there:"
                " it will be read from the disk again and again, and be slow"
            )
    return found
