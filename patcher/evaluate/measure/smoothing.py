"""Calibrated models for a comparison: smoothed, or rounded by what a text of their own says of the inputs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from patcher.base import hashing
from patcher.base.progress import SILENT, Reporter
from patcher.programs.folder import Programs

TOOL = "llama-q8a8-stats"
CHUNKS = 64  # of 512 tokens; the largest activations hardly grow beyond


def lacking(programs: Programs, calibration: Path | None) -> str:
    """Why no smoothed model can be made here; empty where one can."""
    if calibration is None:
        return "smoothing wants a text to be calibrated on: name one with --calibration (not that of --text)"
    if not calibration.is_file():
        return f"{calibration}: looked for a text to calibrate on, found none"
    if find_spec("numpy") is None:
        return "smoothing wants numpy: pip install numpy"
    if not (programs.folder / TOOL).is_file():
        return f"{programs.folder}: looked for {TOOL}, found none; 'q8a8-patch build TREE --target {TOOL}'"
    return ""


def identity(programs: Programs, calibration: Path) -> list[object]:
    """Everything besides the model that a smoothed model depends on, JSON-able."""
    from patcher import __version__

    tool = hashing.of_file(programs.folder / TOOL)
    return [__version__, tool, programs.digest, hashing.of_file(calibration), CHUNKS]


def calibrate(
    programs: Programs, source: Path, calibration: Path, stats: Path, reporter: Reporter = SILENT
) -> None:
    """Write the statistics of ``source`` on the text to ``stats``, or leave those that are there.

    A run that was stopped goes on. Raises what :func:`patcher.programs.q8a8_stats.calibrate` raises.
    """
    from patcher.programs import q8a8_stats

    tool = q8a8_stats.find_tool(programs.folder)
    q8a8_stats.calibrate(
        q8a8_stats.CalibrationRequest(tool, source, calibration, stats, chunks=CHUNKS), reporter
    )


def smooth(source: Path, stats: Path, destination: Path, reporter: Reporter = SILENT) -> Path:
    """Write the smoothed model of ``source`` to ``destination``, in as many parts; the first one's path.

    Raises what :func:`patcher.model.smooth.smooth` raises.
    """
    from patcher.model import smooth as smoothing
    from patcher.model.choose import Strength

    return smoothing.smooth(source, stats, destination, Strength(), force=True, reporter=reporter).outputs[0]
