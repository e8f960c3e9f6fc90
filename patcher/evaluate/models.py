"""The models that are compared: found, or made from the one that was given, and kept by what made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from patcher.errors import PatcherError, UsageError
from patcher.evaluate import content_hash, gguf_header, smoothing
from patcher.evaluate.gguf_header import Header
from patcher.evaluate.programs import Programs
from patcher.evaluate.quantizing import FLOATS, quantize
from patcher.evaluate.variant import Variant
from patcher.progress import SILENT, Reporter


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
        self.given = gguf_header.read(model)
        self.sha256 = content_hash.of_file(model, reporter)
        self._programs, self._home, self._reporter = programs, home, reporter
        self._calibration = calibration
        held = [kind for kind in self.given.weights_by_type() if not kind.startswith("I")]
        self.type = held[0] if held else "?"
        self.quantized = [kind for kind in held if kind not in FLOATS]
        home.mkdir(parents=True, exist_ok=True)

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
        :func:`patcher.evaluate.quantizing.quantize` raises."""
        if variant.file is not None:
            return self._model(variant, variant.file)
        if variant.smooth:
            return self._smoothed(variant)
        if variant.type == self.type and not (set(self.quantized) - {self.type}):
            return self._model(variant, self.given.path)
        return self._quantized(variant, self._source(variant.type), self.sha256)

    def _source(self, wanted: str) -> Path:
        """What a type is made from: the model as it was given, or its F16 where it was given quantized."""
        if not self.quantized or wanted in FLOATS:
            return self.given.path
        return self.make(Variant("F16", "F16")).path

    def _quantized(self, variant: Variant, source: Path, origin: str) -> Model:
        key = content_hash.of_values([origin, variant.label, self._programs.digest])[:16]
        place = self._home / f"{self.given.path.stem}-{variant.label}-{key}.gguf"
        if place.exists():
            try:
                gguf_header.read(place)
                return self._model(variant, place)
            except UsageError as why:
                self._reporter.note(f"{why}; it is made again")
        quantize(
            self._programs,
            source,
            place,
            variant.type,
            force=True,
            allow_requantize=True,
            reporter=self._reporter,
        )
        return self._model(variant, place)

    def _smoothed(self, variant: Variant) -> Model:
        why = smoothing.lacking(self._programs, self._calibration)
        if why or self._calibration is None:
            raise SkippedError(why)
        source = self._source(variant.type)
        parts = [self.sha256, *smoothing.identity(self._programs, self._calibration)]
        key = content_hash.of_values(parts)[:16]
        place = self._home / f"{self.given.path.stem}-smooth-{key}.gguf"
        if not place.exists():
            try:
                smoothing.smooth(self._programs, source, self._calibration, place, self._reporter)
            except UsageError as why_not:  # an architecture that smoothing doesn't know, say
                raise SkippedError(str(why_not)) from why_not
        return self._quantized(variant, place, key)

    def _model(self, variant: Variant, path: Path) -> Model:
        return Model(variant, path, gguf_header.read(path), content_hash.of_file(path, self._reporter))
