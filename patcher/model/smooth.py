"""SmoothQuant on GGUF, offline: statistics and a model in, the same function with even channels out."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from patcher import __version__
from patcher.base.errors import UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.base.units import how_many
from patcher.model import architecture, smooth_metadata
from patcher.model.alpha import Choice
from patcher.model.choose import Strength, choose
from patcher.model.fold import Fold, find_folds, scalings
from patcher.model.model_file import model_hash, open_model
from patcher.model.rewrite import output_paths, rewrite
from patcher.model.stats import check_belongs, open_stats
from patcher.model.worklog import Worklog, log_path


@dataclass(frozen=True)
class Smoothed:
    """What was done. ``choices`` by fold; ``rounding`` by tensor, relative to its largest value."""

    model: Path
    outputs: tuple[Path, ...]
    choices: Mapping[str, Choice]
    rounding: Mapping[str, float]
    seconds: float
    undone: bool = False
    adapter: bool = False  # not a model

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "model": str(self.model),
            "outputs": [str(path) for path in self.outputs],
            "undone": self.undone,
            "adapter": self.adapter,
            "alpha": self.alpha,
            "factors": sum(choice.factors.size for choice in self.choices.values()),
            "error_ratio": self.error_ratio,
            "folds": [
                {
                    "name": name,
                    "channels": int(choice.factors.size),
                    **{key: value for key, value in asdict(choice).items() if key != "factors"},
                    "least": float(choice.factors.min()),
                    "greatest": float(choice.factors.max()),
                }
                for name, choice in self.choices.items()
            ],
            "rounding": dict(self.rounding),
            "seconds": round(self.seconds, 3),
        }

    @property
    def alpha(self) -> float | None:
        """The folds' mean."""
        return (
            sum(choice.alpha for choice in self.choices.values()) / len(self.choices)
            if self.choices
            else None
        )

    @property
    def error_ratio(self) -> float | None:
        """The int8 products' square error after, as a part of that before: the folds' geometric mean."""
        logs = [
            math.log(choice.after / choice.before)
            for choice in self.choices.values()
            if choice.before and choice.after
        ]
        return math.exp(sum(logs) / len(logs)) if logs else None

    def text(self) -> str:
        """For people."""
        where = ", ".join(map(str, self.outputs))
        worst = max(self.rounding.values(), default=0.0)
        rounding = f"largest rounding error {worst:.1e} of a tensor's largest value"
        if self.adapter:
            return f"{where}: an adapter, {len(self.rounding)} of its tensors folded; {rounding}"
        if self.undone:
            return f"{where}: smoothing undone in {how_many(len(self.rounding), 'tensor')}, {rounding}"
        ratio = "" if self.error_ratio is None else f", int8 error {self.error_ratio:.3f} of what it was"
        return (
            f"{where}: {how_many(len(self.choices), 'fold')} in {how_many(len(self.rounding), 'tensor')},"
            f" mean alpha {self.alpha:.2f}{ratio}; {rounding}"
        )


def smooth(
    path: Path,
    stats_path: Path,
    out: Path,
    strength: Strength,
    *,
    force: bool = False,
    only: tuple[str, ...] = (),
    head: bool = False,
    reporter: Reporter = SILENT,
) -> Smoothed:
    """Smooth the model at ``path`` and write it to ``out``.

    ``only`` names rules (``attn``, ``value``, ...), none: all. ``head``: the output matrix too; it
    becomes a tensor of its own where it was the embeddings.

    Raises :class:`UsageError` for what can't be smoothed or must not be overwritten, before anything is
    written.
    """
    start = time.monotonic()
    model = open_model(path)
    if smooth_metadata.is_smoothed(model.head):
        raise UsageError(f"{path}: is smoothed already", hint="'q8a8-patch smooth --undo' takes it back")
    declared = architecture.find(model.architecture, path)
    folds = _selected(find_folds(model, declared, head=head), only, path)
    stats = open_stats(stats_path)
    paths = output_paths(model, out, force=force, beside=[stats_path])
    hashed = model_hash(model, reporter)
    check_belongs(stats, path, hashed)
    calibration = _hash(stats_path)
    identity = {
        "tool": __version__,
        "model": hashed,
        "stats": calibration,
        "alpha": strength.alpha,
        "magnitude": strength.magnitude,
        "by_layer": sorted(strength.by_layer.items()),
        "folds": [fold.name for fold in folds],
    }
    with Worklog(log_path(paths), identity) as worklog:
        if worklog.resumed:
            reporter.note(f"{worklog.path}: going on where an earlier run stopped")
        choices: dict[Fold, Choice] = {}
        with reporter.step("Choosing factors", total=len(folds)) as step:
            for number, fold in enumerate(folds):
                step.update(done=number, detail=fold.name)
                if fold.name not in worklog.choices:
                    worklog.choose(fold.name, choose(fold, stats, strength))
                choices[fold] = worklog.choices[fold.name]
        new = tuple(tensor for fold in folds for tensor in fold.consumers if tensor.name not in model.tensors)
        metadata = smooth_metadata.added(
            model.head,
            choices,
            model_hash=hashed,
            calibration_hash=calibration,
            new_tensors=tuple(tensor.name for tensor in new),
        )
        factors = {fold: choice.factors for fold, choice in choices.items()}
        rounding = rewrite(model, paths, scalings(factors), metadata, worklog, reporter, added=new)
        worklog.remove()
    by_name = {fold.name: choice for fold, choice in choices.items()}
    return Smoothed(path, paths, by_name, rounding, time.monotonic() - start)


def undo(path: Path, out: Path, *, force: bool = False, reporter: Reporter = SILENT) -> Smoothed:
    """Write the model at ``path`` as it was before it was smoothed, to its type's rounding.

    Raises :class:`UsageError` where it isn't smoothed or has been quantized since.
    """
    start = time.monotonic()
    model = open_model(path)
    if not smooth_metadata.is_smoothed(model.head):
        raise UsageError(
            f"{path}: looked for 'smoothquant.enabled', found a model that isn't smoothed",
            hint="there is nothing to undo: use the model as it is",
        )
    found = architecture.find(model.architecture, path)
    folds = find_folds(model, found, head=smooth_metadata.has_head(model.head))
    factors = smooth_metadata.factors_of(model.head, folds)
    dropped = smooth_metadata.new_tensors(model.head)
    paths = output_paths(model, out, force=force)
    identity = {"tool": __version__, "undo": model_hash(model, reporter)}
    with Worklog(log_path(paths), identity) as worklog:
        metadata = smooth_metadata.removed(model.head)
        scaled = scalings(factors, undo=True)
        rounding = rewrite(model, paths, scaled, metadata, worklog, reporter, dropped=dropped)
        worklog.remove()
    return Smoothed(path, paths, {}, rounding, time.monotonic() - start, undone=True)


def _selected(folds: tuple[Fold, ...], only: tuple[str, ...], path: Path) -> tuple[Fold, ...]:
    rules = {fold.rule for fold in folds}
    unknown = sorted(set(only) - rules)
    if unknown:
        raise UsageError(
            f"{path}: looked for the fold '{unknown[0]}', found none of that name",
            hint=f"name one of {', '.join(sorted(rules))} with --fold",
        )
    return tuple(fold for fold in folds if not only or fold.rule in only)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
