"""The models that are compared: found, or made from the one that was given, and kept by what made them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from patcher.base import hashing, lock, partial_files
from patcher.base.errors import PatcherError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.base.stages import disk_errors, require_space
from patcher.evaluate.measure import smoothing
from patcher.evaluate.measure.variant import Variant
from patcher.model import gguf_header
from patcher.model.gguf_header import Header
from patcher.programs.folder import Programs
from patcher.programs.llama_quantize import quantize
from patcher.programs.quantized_types import FLOATS, is_quantized


@dataclass(frozen=True)
class Model:
    """One model that is ready to be measured."""

    variant: Variant
    path: Path
    header: Header
    sha256: str


class SkippedError(PatcherError):
    """A variant that can't be had here, for a reason that is no failure."""


class Factory:
    """Makes variants of one model below ``home``."""

    def __init__(
        self,
        model: Path,
        programs: Programs,
        home: Path,
        *,
        calibration: Path | None,
        reporter: Reporter = SILENT,
    ) -> None:
        self.given = gguf_header.runnable(model)
        self.sha256 = _hash(self.given, reporter)
        self._programs, self._home, self._reporter = programs, home, reporter
        self._calibration = calibration
        held = [name for name in self.given.weights_by_type() if name in FLOATS or is_quantized(name)]
        self.type = held[0] if held else "?"
        self.quantized = [name for name in held if is_quantized(name)]
        home.mkdir(parents=True, exist_ok=True)
        for place in partial_files.sweep(home):
            reporter.note(f"{place}: was left by a run that was killed, removed")

    @property
    def name(self) -> str:
        return self.given.name

    def note(self) -> str:
        """What a reader must know of the baseline; nothing for a model in floats."""
        if not self.quantized:
            return ""
        return f"the model was given in {self.quantized[0]}: the baseline is that, widened, not the original"

    def make(self, variant: Variant) -> Model:
        """The model of ``variant``. Raises :class:`SkippedError` where it can't be had here, and what
        :func:`patcher.programs.llama_quantize.quantize` raises."""
        if variant.file is not None:
            return self._model(variant, variant.file)
        calibrated = variant.smooth or variant.round
        if not calibrated and variant.type == self.type and not (set(self.quantized) - {self.type}):
            return self._model(variant, self.given.path)
        with lock.hold(self._home / "making.lock"):  # workers that want the same model make it once
            if calibrated:
                return self._calibrated(variant)
            return self._quantized(variant, self._source(variant.type), self.sha256)

    def _source(self, wanted: str) -> Path:
        """What a type is made from: the model as it was given, or its F16 where it was given quantized."""
        if not self.quantized or wanted in FLOATS:
            return self.given.path
        # the lock is held: it isn't taken twice
        return self._quantized(Variant("F16", "F16"), self.given.path, self.sha256).path

    def _quantized(
        self, variant: Variant, source: Path, origin: str, finish: Callable[[Path], None] | None = None
    ) -> Model:
        place = self._place(variant, origin)
        there = self._found(variant, place)
        if there is not None:
            return there
        quantize(
            self._programs,
            source,
            place,
            variant.type,
            force=True,
            allow_requantize=True,
            finish=finish,
            reporter=self._reporter,
        )
        return self._model(variant, place)

    def _calibrated(self, variant: Variant) -> Model:
        why = smoothing.lacking(self._programs, self._calibration)
        if why or self._calibration is None:
            raise SkippedError(why)
        parts = [self.sha256, *smoothing.identity(self._programs, self._calibration)]
        key = hashing.of_values(parts)[:16]
        there = self._found(variant, self._place(variant, key))
        if there is not None:
            return there
        source = self._source(variant.type)
        place = self._home / f"{self.given.path.stem}-smooth-{key}.gguf"
        stats = place.with_suffix(".stats")
        require_space(self._home, gguf_header.read(source).size, "the smoothed model")
        try:
            made = self._prepared(variant, source, stats, place)
            return self._quantized(variant, made, key, self._rounding(made, stats) if variant.round else None)
        finally:
            for part in self._home.glob(f"{place.stem}*.gguf"):  # a model in parts is smoothed in as many
                part.unlink(
                    missing_ok=True
                )  # as large as the model: made again from its statistics in no time

    def _prepared(self, variant: Variant, source: Path, stats: Path, place: Path) -> Path:
        """What a calibrated variant is quantized from; its statistics lie at ``stats`` then."""
        assert self._calibration is not None  # noqa: S101 - asked before
        try:
            with disk_errors(place):
                smoothing.calibrate(self._programs, source, self._calibration, stats, self._reporter)
                return smoothing.smooth(source, stats, place, self._reporter) if variant.smooth else source
        except UsageError as why:  # an architecture that smoothing doesn't know, say
            if isinstance(why.__cause__, OSError):  # a full disk is no reason to go on
                raise
            raise SkippedError(str(why)) from why

    def _rounding(self, source: Path, stats: Path) -> Callable[[Path], None]:
        from patcher.model.material import material
        from patcher.model.refine import refine

        try:
            known = material(source, stats, self._reporter)
        except UsageError as why:  # a text of too few tokens, say
            raise SkippedError(str(why)) from why

        def finish(place: Path) -> None:
            refine(place, known, self._reporter)

        return finish

    def _place(self, variant: Variant, origin: str) -> Path:
        key = hashing.of_values([origin, variant.label, self._programs.digest])[:16]
        return self._home / f"{self.given.path.stem}-{variant.label}-{key}.gguf"

    def _found(self, variant: Variant, place: Path) -> Model | None:
        """The model that an earlier run made; None where there is none, or it is damaged."""
        if not place.exists():
            return None
        try:
            return self._model(variant, place)
        except UsageError as why:
            self._reporter.note(f"{why}; it is made again")
            return None

    def _model(self, variant: Variant, path: Path) -> Model:
        header = gguf_header.runnable(path)
        return Model(variant, path, header, _hash(header, self._reporter))


def _hash(header: Header, reporter: Reporter) -> str:
    """Over the bytes of all parts; a whole file's own SHA-256."""
    found = [hashing.of_file(part, reporter) for part in header.parts]
    return found[0] if len(found) == 1 else hashing.of_values(found)
