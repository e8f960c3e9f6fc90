"""What a dossier holds, as values and as its JSON document."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from patcher.evaluate.dossier.estimates import Estimate, Figures
from patcher.evaluate.dossier.texts import Text
from patcher.evaluate.judge.noise import Series

VERSION = 1  # of the document
ALL = "all"  # the name of all texts together
BASELINE = "F16"
GOAL = 0.5  # of the reference's divergence, for the smoothed type


@dataclass(frozen=True)
class File:
    """One type's file. ``holds``: the share of the weights that each type has in it."""

    type: str
    file: str
    sha256: str
    bytes: int
    tensor_bytes: int
    weights: int
    holds: dict[str, float]

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "type": self.type,
            "file": self.file,
            "sha256": self.sha256,
            "bytes": self.bytes,
            "tensor_bytes": self.tensor_bytes,
            "bits_per_weight": 8 * self.tensor_bytes / self.weights,
            "holds": self.holds,
        }


@dataclass
class ModelResult:
    """One model in all types. ``figures`` by text (its name, or :data:`ALL`) and type; ``series`` by type:
    pp, tg, ttft, load, rss where speed was measured. ``memory``: peak resident bytes."""

    name: str
    baseline: str
    notes: list[str] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    figures: dict[str, dict[str, Figures]] = field(default_factory=dict)
    base_perplexity: dict[str, Estimate] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    series: dict[str, dict[str, Series]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def compared(self) -> list[str]:
        """The types beside the baseline, in their order."""
        return [file.type for file in self.files if file.type != self.baseline]

    def file(self, label: str) -> File:
        """The file of a type that is there."""
        return next(file for file in self.files if file.type == label)

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.name,
            "baseline": self.baseline,
            "notes": self.notes,
            "files": [file.document() for file in self.files],
            "texts": [
                {
                    "text": text.domain.name,
                    "what": text.domain.what,
                    "source": text.domain.source,
                    "licence": text.domain.licence,
                    "sha256": text.sha256,
                    "context": text.domain.context,
                    "note": text.note,
                }
                for text in self.texts
            ],
            "accuracy": [
                _figures(text, label, found)
                for text, types in self.figures.items()
                for label, found in types.items()
            ],
            "baseline_perplexity": {text: found.document() for text, found in self.base_perplexity.items()},
            "peak_rss_bytes": self.memory,
            "speed": [
                {
                    "type": label,
                    **{
                        key: {
                            "median": one.median,
                            "low": one.low,
                            "high": one.high,
                            "samples": list(one.samples),
                        }
                        for key, one in series.items()
                    },
                }
                for label, series in self.series.items()
            ],
            "failures": self.failures,
        }


@dataclass
class Dossier:
    """All of it: where, how, and each model's result."""

    machine: dict[str, Any]
    settings: dict[str, Any]
    reference: str  # the type that divergences are put beside; empty for none
    models: list[ModelResult]

    @property
    def timed(self) -> bool:
        """Whether speed was measured."""
        return any(model.series for model in self.models)

    def document(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "version": VERSION,
            "machine": self.machine,
            "settings": self.settings,
            "reference": self.reference,
            "models": [model.document() for model in self.models],
        }


def _figures(text: str, label: str, found: Figures) -> dict[str, Any]:
    return {
        "text": text,
        "type": label,
        "tokens": found.tokens,
        "blocks": found.blocks,
        "kld": found.mean.document(),
        "kld_p99": found.p99.document(),
        "kld_p999": found.p999.document(),
        "flips_percent": found.flips.document(),
        "perplexity": found.perplexity.document(),
        "ppl_ratio": found.ratio.document(),
        "kld_beside_reference": found.beside.document() if found.beside is not None else None,
    }
