"""One job of a grid, run by whoever got it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patcher.base.errors import BuildError
from patcher.evaluate import Request, evaluate, failures
from patcher.evaluate.measure import variant
from patcher.evaluate.report.outputs import document
from patcher.programs.folder import Programs


def run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Evaluate one model by ``settings``; the document of ``evaluate run --json``. Raises PatcherError."""
    report = evaluate(request(settings))
    failed = failures(report)
    if failed:  # what was measured is in the cache; the job counts as not done, so that it is tried again
        raise BuildError(
            "; ".join(failed),
            hint="what was measured is kept: run the same command again, and only that is tried again",
        )
    return document(report, [])


def request(settings: Mapping[str, Any]) -> Request:
    """The request of a job; what its settings don't name stays at the default."""
    chunks = settings.get("chunks", 60)
    plain = {
        key: settings[key]
        for key in ("baseline", "context", "prompt", "generate", "rounds")
        if key in settings
    }
    plain |= {key: tuple(settings[key]) for key in ("depths", "threads") if key in settings}
    return Request(
        model=Path(settings["model"]),
        text=Path(settings["text"]) if "text" in settings else None,
        programs=Programs(Path(settings.get("bin", "q8a8-work/build/bin"))),
        variants=variant.parse(settings.get("types", variant.DEFAULT)),
        chunks=chunks or None,
        divergence=settings.get("kld", True),
        **plain,
    )
