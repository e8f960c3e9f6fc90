"""What was measured, as values and as the JSON document of ``evaluate``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patcher.base.errors import UsageError
from patcher.base.os_errors import reason, way_out
from patcher.evaluate.judge.noise import Series

VERSION = 1  # of the document
WROTE = "name a file that 'q8a8-patch evaluate run MODEL.gguf -o RESULT.json' wrote"


@dataclass
class TypeResult:
    """One type of one model. A value that is None was not measured; ``failures`` say why."""

    name: str  # the model's
    type: str
    file: str = ""
    bytes: int | None = None  # of the file
    tensor_bytes: int | None = None
    perplexity: float | None = None
    perplexity_error: float | None = None  # one standard error
    chunks: int | None = None
    kld: float | None = None  # mean KL divergence from the baseline, nats a token
    kld_error: float | None = None
    ppl_ratio: float | None = None  # to the baseline, paired token by token
    ppl_ratio_error: float | None = None
    same_top_percent: float | None = None  # how often the most likely token is the baseline's
    series: dict[str, Series] = field(default_factory=dict)  # pp, tg, pp@d1024, ttft, load, rss, instructions
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def median(self, key: str) -> float | None:
        """The median of a series; None where it was not measured."""
        return self.series[key].median if key in self.series else None

    def document(self) -> dict[str, Any]:
        """The JSON form; times are ms, memory bytes, speeds tokens/s."""
        return {
            "name": self.name,
            "type": self.type,
            "file": self.file,
            "bytes": self.bytes,
            "tensor_bytes": self.tensor_bytes,
            "perplexity": self.perplexity,
            "perplexity_error": self.perplexity_error,
            "chunks": self.chunks,
            "kld": self.kld,
            "kld_error": self.kld_error,
            "ppl_ratio": self.ppl_ratio,
            "ppl_ratio_error": self.ppl_ratio_error,
            "same_top_percent": self.same_top_percent,
            "pp_tokens_per_s": self.median("pp"),
            "tg_tokens_per_s": self.median("tg"),
            "ttft_ms": self.median("ttft"),
            "load_ms": self.median("load"),
            "peak_rss_bytes": self.median("rss"),
            "series": {
                key: {
                    "median": series.median,
                    "low": series.low,
                    "high": series.high,
                    "samples": list(series.samples),
                    "deviation": series.deviation,
                }
                for key, series in self.series.items()
            },
            "notes": self.notes,
            "failures": self.failures,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> TypeResult:
        """The inverse of :meth:`document`. ``KeyError``, ``TypeError``, ``ValueError`` for anything else."""
        plain = {
            key: document.get(key)
            for key in (
                "bytes", "tensor_bytes", "perplexity", "perplexity_error", "chunks", "kld", "kld_error",
                "ppl_ratio", "ppl_ratio_error", "same_top_percent",
            )
        }  # fmt: skip
        for key, value in plain.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise TypeError(f"{key} is {value!r}, not a number")
        series = {
            str(key): Series(tuple(float(value) for value in item["samples"]), item.get("deviation"))
            for key, item in dict(document.get("series") or {}).items()
        }
        return cls(
            name=str(document["name"]),
            type=str(document["type"]),
            file=str(document.get("file") or ""),
            series=series,
            notes=[str(note) for note in document.get("notes") or ()],
            failures=[str(failure) for failure in document.get("failures") or ()],
            **plain,
        )


@dataclass
class Report:
    """One evaluation: where, how, and each type's result; the first of ``models`` is the baseline's."""

    machine: dict[str, Any]
    models: list[TypeResult]
    baseline: str
    settings: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)  # type -> why it was not measured
    title: str = ""

    @property
    def base(self) -> TypeResult:
        return next(model for model in self.models if model.type == self.baseline)

    @property
    def others(self) -> list[TypeResult]:
        return [model for model in self.models if model.type != self.baseline]

    @property
    def emulated(self) -> str:
        """How the processor was emulated, its name first; empty for a real one."""
        return str(self.machine.get("emulated") or "")

    @property
    def architecture(self) -> str:
        """What it is of, emulated or real, as ``platform.machine`` names it; empty where nobody knows."""
        return self.emulated.split()[0] if self.emulated else str(self.machine.get("architecture") or "")

    def document(self) -> dict[str, Any]:
        """The measured part of the JSON contract; the command adds ``comparison`` and ``verdicts``."""
        return {
            "version": VERSION,
            "title": self.title,
            "machine": self.machine,
            "settings": self.settings,
            "models": [model.document() for model in self.models],
            "baseline": self.baseline,
            "skipped": self.skipped,
        }

    @classmethod
    def from_document(cls, document: Any, source: str) -> Report:
        """Read what ``evaluate run --json`` wrote. Raises :class:`UsageError` for anything else."""
        try:
            models = [TypeResult.from_document(item) for item in document["models"]]
            report = cls(
                machine=dict(document["machine"]),
                models=models,
                baseline=str(document["baseline"]),
                settings=dict(document.get("settings") or {}),
                skipped={str(key): str(why) for key, why in dict(document.get("skipped") or {}).items()},
                title=str(document.get("title") or ""),
            )
            version = document.get("version")
        except (KeyError, TypeError, ValueError, AttributeError) as why:
            found = f"nothing named {why}" if isinstance(why, KeyError) else f"one of another form ({why})"
            raise UsageError(
                f"{source}: looked for a document of 'evaluate run --json', found {found}", hint=WROTE
            ) from why
        if version != VERSION:
            raise UsageError(
                f"{source}: looked for version {VERSION} of the document, found {version!r}",
                hint="measure again with this q8a8-patch, or show it with the one that wrote it",
            )
        if report.baseline not in [model.type for model in models]:
            raise UsageError(
                f"{source}: looked for its baseline {report.baseline} among its models, found none",
                hint=WROTE,
            )
        return report


def load(path: Path) -> Report:
    """Read a report's JSON file. Raises :class:`UsageError`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as why:
        raise UsageError(
            f"{path}: looked for a document of 'evaluate run --json', found none ({reason(why)})",
            hint=way_out(why, WROTE),
        ) from why
    return Report.from_document(document, str(path))
