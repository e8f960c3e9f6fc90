"""Finished stages, kept by the hash of everything that went into them: nothing is measured twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from patcher.base import hashing, lock
from patcher.base.cache import cache_dir
from patcher.base.errors import UsageError
from patcher.base.files import write_whole
from patcher.base.os_errors import DISK_FULL, reason
from patcher.base.progress import SILENT, Reporter

VERSION = 1  # part of every key: raise it when what a stage measures changes its meaning
LOCK_SECONDS = 24 * 3600.0

Inputs = Mapping[str, Any]


class StageCache:
    """A folder of JSON files, one a stage. Safe for several processes: each stage runs in one of them."""

    def __init__(self, root: Path | None = None, reporter: Reporter = SILENT, *, fresh: bool = False) -> None:
        self.root = root or cache_dir("evaluate", "stages")
        self.root.mkdir(parents=True, exist_ok=True)
        self.reporter = reporter
        self.fresh = fresh  # measure again what was kept before this object was made
        self._since = time.time()
        self.found = 0
        self.made = 0

    def key(self, stage: str, inputs: Inputs) -> str:
        """The entry's name: the stage and a hash. ``inputs`` must be JSON-able."""
        digest = hashing.of_values({"version": VERSION, "kind": stage, "inputs": dict(inputs)})
        return f"{stage}-{digest[:32]}"

    def get(self, stage: str, inputs: Inputs) -> dict[str, Any] | None:
        """What the stage gave, or None where it hasn't run; a damaged file counts as not run."""
        place = self.root / f"{self.key(stage, inputs)}.json"
        try:
            document = json.loads(place.read_text(encoding="utf-8"))
            result = document["result"]
            if not isinstance(result, dict):
                raise TypeError("its result is no object")
            if self.fresh and float(document["time"]) < self._since:
                return None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as why:
            self.reporter.note(f"{place}: can't be read ({reason(why)}), the stage runs again")
            return None
        return result

    def run(self, stage: str, inputs: Inputs, measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The stage's result: kept from before, or from ``measure`` now. Raises what that raises, and
        :class:`UsageError` where the disk is full."""
        key = self.key(stage, inputs)
        with lock.hold(self.root / f"{key}.lock", seconds=LOCK_SECONDS):
            there = self.get(stage, inputs)
            if there is not None:
                self.found += 1
                return there
            with disk_errors(self.root):
                result = dict(measure())
                document = {"kind": stage, "inputs": dict(inputs), "time": time.time(), "result": result}
                write_whole(self.root / f"{key}.json", json.dumps(document, indent=1))
            self.made += 1
        return result


class disk_errors:  # noqa: N801 - a context manager, used like a function
    """Turn a full disk into one clear line; what was measured before is kept."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, error_type: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise UsageError(
                f"{error.filename or self._place}: no space left on the disk",
                hint="what was measured is kept: free some, then run the same command again",
            ) from error


KEPT = "what was measured is kept: free some, or put the cache elsewhere with Q8A8_PATCH_CACHE"


def require_space(folder: Path, needed: int, what: str, *, hint: str = KEPT) -> None:
    """Raise :class:`UsageError` where ``folder``'s disk has less than ``needed`` bytes for ``what``."""
    import shutil

    from patcher.base.units import number

    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"{folder}: {what} takes {number(needed, 'bytes')}, {number(free, 'bytes')} are free",
            hint=hint,
        )
