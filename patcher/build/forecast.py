"""What a build will need, said before anything is downloaded: a compiler, room on the disk, minutes."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from patcher.base.units import how_many, number
from patcher.build import default_jobs
from patcher.build.configure import MARKER
from patcher.build.toolchain import require_compiler

# of release v0.5.0 and the default targets, with GCC 12: see "Measured" in docs/measured.md
_BYTES = 500_000_000  # the package, the checkout with its history of one commit, the build
_SECONDS = 550.0  # of one processor, without a compiler cache


@dataclass(frozen=True)
class Forecast:
    """Bytes of the disk that are taken, and that are free; seconds with ``jobs`` compilers at once."""

    compiler: str | None
    folder: Path
    bytes: int
    free: int
    seconds: float
    jobs: int

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "folder": str(self.folder)}

    def text(self) -> str:
        """One line for people."""
        compiler = f"the compiler {self.compiler}, " if self.compiler else ""
        minutes = max(1, round(self.seconds / 60))
        taken, free = number(self.bytes, "bytes"), number(self.free, "bytes")
        return (
            f"{compiler}about {taken} in {self.folder} ({free} are free) and about"
            f" {how_many(minutes, 'minute')} with {how_many(self.jobs, 'compiler')} at once,"
            " less with ccache"
        )

    @property
    def fits(self) -> bool:
        """Whether there is room on the disk."""
        return self.free >= self.bytes


def forecast(work: Path, jobs: int | None, *, cross: bool) -> Forecast | None:
    """What ``run`` will need in ``work``; None where it has been built there before.

    Raises :class:`BuildError` for a machine without a compiler, unless another is named (``cross``).
    """
    compiler = None if cross else require_compiler("CXX")
    if (work / "build" / MARKER).is_file():
        return None
    there = next(place for place in (work.absolute(), *work.absolute().parents) if place.is_dir())
    count = jobs or default_jobs()
    return Forecast(compiler, work, _BYTES, shutil.disk_usage(there).free, _SECONDS / count, count)
