"""``--require``: bounds on a type's figures relative to the baseline's, and whether each is kept."""

from __future__ import annotations

import math
import platform
import re
from dataclasses import dataclass
from typing import Any

from patcher.base.errors import UsageError
from patcher.evaluate.judge.metric import METRICS, measured, of
from patcher.evaluate.judge.noise import Ratio
from patcher.evaluate.result import Report, TypeResult

# what users were told of Llama-7B: size -47 %, perplexity +0.7 %, speed +41 % on x86, first token -46 %;
# and what follows from half the size, where weights are most of what a process holds
PROMISE = "size<=0.54,ppl<=1.007,pp>=1.41,tg>=1.41,ttft<=0.54,rss<=0.56"
PROMISE_ARM = PROMISE.replace("1.41", "1.9")  # and +90 % on ARM
_ONE = re.compile(r"\s*([a-z]+(?:@[\w,]+)?)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*")
ABSOLUTE = {"kld": "mean KL divergence"}  # has no ratio: the baseline's own is 0


@dataclass(frozen=True)
class Requirement:
    """``metric relation bound``, relative to the baseline."""

    metric: str
    relation: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric}{self.relation}{self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether ``value`` keeps the bound."""
        if self.relation == "<=":
            return value <= self.bound
        if self.relation == ">=":
            return value >= self.bound
        return value < self.bound if self.relation == "<" else value > self.bound


@dataclass(frozen=True)
class Verdict:
    """One line of the answer. ``value`` is None where the figure was not measured: never kept then."""

    type: str
    requirement: Requirement
    value: float | None
    kept: bool
    close: bool | None  # the bound lies within the noise; None: the noise is unknown
    ratio: Ratio | None = None

    @property
    def doubt(self) -> str:
        """``within noise``, ``noise unknown``, or nothing where the answer is sure."""
        if self.value is None or self.close is False:
            return ""
        return "within noise" if self.close else "noise unknown"

    @property
    def text(self) -> str:
        """``yes``, ``no``, and what makes it doubtful."""
        if self.value is None:
            return "no (not measured)"
        answer = "yes" if self.kept else "no"
        return f"{answer} ({self.doubt})" if self.doubt else answer

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "type": self.type,
            "require": str(self.requirement),
            "metric": self.requirement.metric,
            "value": self.value,
            "low": self.ratio.low if self.ratio else None,
            "high": self.ratio.high if self.ratio else None,
            "kept": self.kept,
            "verdict": self.text,
        }


def parse(text: str) -> list[Requirement]:
    """Read ``size<=0.54,tg>=1.41``; ``none`` requires nothing. Raises :class:`UsageError`."""
    if text.strip().lower() in ("none", ""):
        return []
    found = []
    for part in re.split(r",(?=\s*[a-z])", text):
        match = _ONE.fullmatch(part)
        known = [*METRICS, *ABSOLUTE]
        if match is None:
            raise UsageError(
                f"--require {part.strip()!r}: looked for METRIC<=NUMBER or METRIC>=NUMBER",
                hint=f"the metrics are {', '.join(known)}; numbers are relative to the baseline",
            )
        metric, relation, bound = match[1], match[2], float(match[3])
        if metric.partition("@")[0] not in known:
            raise UsageError(
                f"--require {part.strip()!r}: no metric is called {metric}",
                hint=f"name one of {', '.join(known)}",
            )
        found.append(Requirement(metric, relation, bound))
    return found


def promise(architecture: str) -> str:
    """What users of that architecture (as ``platform.machine`` names it) were told."""
    return PROMISE_ARM if is_arm(architecture) else PROMISE


def is_arm(architecture: str) -> bool:
    """Whether that is the name of a 64-bit ARM processor, on any system."""
    return architecture.lower() in ("aarch64", "arm64")


def asked(report: Report, require: list[Requirement] | None) -> list[Requirement]:
    """What ``report`` is judged by: ``require``, or where nobody said (None) what its users were told. Of an
    emulated processor, which has no speed, nothing; of outputs that were there, what they hold."""
    if require is not None:
        return require
    if report.emulated:
        return []
    promised = parse(promise(report.architecture or platform.machine()))
    if report.architecture:
        return promised
    known = {item.key for item in measured(report)}
    return [item for item in promised if item.metric in known]


def judge(report: Report, requirements: list[Requirement], types: list[str]) -> list[Verdict]:
    """One verdict for each requirement and each of ``types``. Raises :class:`UsageError` for a type that
    was not measured."""
    models = {model.type: model for model in report.models}
    verdicts = []
    for name in types:
        if name not in models:
            why = report.skipped.get(name, f"the types are {', '.join(models)}")
            raise UsageError(
                f"--subject {name}: was not measured",
                hint=f"{why}: name one that was measured, or leave --subject out",
            )
        verdicts += [_verdict(models[name], report.base, requirement) for requirement in requirements]
    return verdicts


def _verdict(model: TypeResult, base: TypeResult, requirement: Requirement) -> Verdict:
    ratio: Ratio | None
    if requirement.metric == "kld":
        error = model.kld_error or 0.0
        ratio = (
            Ratio(model.kld, model.kld - 2 * error, model.kld + 2 * error) if model.kld is not None else None
        )
    else:
        ratio = of(requirement.metric).ratio(model, base)
    if ratio is None or not math.isfinite(ratio.value):
        return Verdict(model.type, requirement, None, False, None)
    kept = requirement.holds(ratio.value)
    return Verdict(model.type, requirement, ratio.value, kept, ratio.covers(requirement.bound), ratio)


def subjects(report: Report, wanted: tuple[str, ...]) -> list[str]:
    """The types that are judged: those asked for, else every variant of Q8_A8, else all but the baseline."""
    if wanted:
        return list(wanted)
    ours = [model.type for model in report.others if model.type.upper().startswith("Q8_A8")]
    return ours or [model.type for model in report.others]
