"""``--require``: bounds on a type's figures relative to the baseline's, and whether each is kept."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from patcher.errors import UsageError
from patcher.evaluate.metric import METRICS, of
from patcher.evaluate.noise import Ratio
from patcher.evaluate.result import Report, TypeResult

# what users were told of Llama-7B: size -47 %, perplexity +0.7 %, speed +41 % on x86, first token -46 %
PROMISE = "size<=0.54,ppl<=1.007,pp>=1.41,tg>=1.41,ttft<=0.54"
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

    @property
    def text(self) -> str:
        """``yes``, ``no``, and what makes it doubtful."""
        if self.value is None:
            return "no (not measured)"
        answer = "yes" if self.kept else "no"
        if self.close is None:
            return f"{answer} (noise unknown)"
        return f"{answer} (within noise)" if self.close else answer

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "type": self.type,
            "require": str(self.requirement),
            "metric": self.requirement.metric,
            "value": self.value,
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
                f"--require {part.strip()!r}: no metric is called {metric}", hint=f"one of {', '.join(known)}"
            )
        found.append(Requirement(metric, relation, bound))
    return found


def judge(report: Report, requirements: list[Requirement], types: list[str]) -> list[Verdict]:
    """One verdict for each requirement and each of ``types``. Raises :class:`UsageError` for a type that
    was not measured."""
    models = {model.type: model for model in report.models}
    verdicts = []
    for name in types:
        if name not in models:
            why = report.skipped.get(name, f"the types are {', '.join(models)}")
            raise UsageError(f"--subject {name}: was not measured", hint=why)
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
    return Verdict(
        model.type, requirement, ratio.value, requirement.holds(ratio.value), ratio.covers(requirement.bound)
    )


def subjects(report: Report, wanted: tuple[str, ...]) -> list[str]:
    """The types that are judged: those asked for, else every variant of Q8_A8, else all but the baseline."""
    if wanted:
        return list(wanted)
    ours = [model.type for model in report.others if model.type.upper().startswith("Q8_A8")]
    return ours or [model.type for model in report.others]
