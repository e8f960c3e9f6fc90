"""What of a long run is done: lines of JSON behind each other, so that a kill leaves whole lines.

The first line says what the run is; a log of another run is begun anew. A last line that was cut is dropped.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from patcher.base import lock
from patcher.base.errors import UsageError
from patcher.base.os_errors import refused
from patcher.model.alpha import Choice
from patcher.model.gguf import GgufError
from patcher.model.tensor_data import Array


def log_path(paths: Sequence[Path]) -> Path:
    """Where a run that writes ``paths`` keeps what it has done."""
    return paths[0].with_name(paths[0].name + ".part.log")


class Worklog:
    """The log at ``path`` of the run that ``identity`` describes (model, statistics, options, version)."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        self.path = path
        self._lock_file = path.with_name(path.name + ".lock")
        self._lock = lock.hold(self._lock_file, seconds=0)
        try:
            self._lock.__enter__()
        except lock.LockTakenError as why:
            raise UsageError(f"{path}: another run writes the same output", hint="wait for it") from why
        self.choices: dict[str, Choice] = {}
        self.started: set[str] = set()
        self.done: set[str] = set()
        self.rounding: dict[str, float] = {}
        head = json.dumps(identity, sort_keys=True)
        try:
            kept = self._read(head)
            self._file = path.open("r+" if kept else "w", encoding="utf-8")
        except OSError as why:
            self._unlock()
            raise refused(path, why) from why
        except UsageError:
            self._unlock()
            raise
        if kept:
            self._file.truncate(kept)
            self._file.seek(0, os.SEEK_END)
        else:
            self._write_line(head)

    def __enter__(self) -> Worklog:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if isinstance(value, GgufError) and not isinstance(value.__cause__, OSError):
            # it will be refused again: there is nothing to go on with
            for draft in self.started:
                Path(draft).unlink(missing_ok=True)
            self.remove()
        self._unlock()

    @property
    def resumed(self) -> bool:
        """Whether anything was done by an earlier run."""
        return bool(self.choices or self.done)

    def choose(self, fold: str, choice: Choice) -> None:
        """Remember a fold's factors."""
        self.choices[fold] = choice
        self._entry(
            fold=fold,
            shape=choice.factors.shape,
            factors=base64.b64encode(choice.factors.astype("<f4").tobytes()).decode(),
            alpha=choice.alpha,
            magnitude=choice.magnitude,
            before=choice.before,
            after=choice.after,
        )

    def start(self, draft: str, *, fresh: bool) -> None:
        """Remember that the draft is laid out; ``fresh``: as an empty one."""
        if fresh:
            self.started.add(draft)
            self._entry(started=draft)

    def finish(self, tensors: Mapping[str, float | None]) -> None:
        """Remember tensors that are on the disk, with their rounding errors where they were scaled."""
        if tensors:
            self.done.update(tensors)
            self._entry(done=dict(tensors))

    def remove(self) -> None:
        """The run is at its end."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _unlock(self) -> None:
        # first the name, then the lock: the next run must not lock a file that is about to go
        self._lock_file.unlink(missing_ok=True)
        self._lock.__exit__(None, None, None)

    def _entry(self, **entry: Any) -> None:
        self._write_line(json.dumps(entry))

    def _write_line(self, line: str) -> None:
        try:
            self._file.write(line + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as why:
            raise refused(self.path, why) from why

    def _read(self, head: str) -> int:
        """Take up the entries of an earlier run; the bytes of them that are whole, 0 for another run's."""
        if not self.path.is_file():
            return 0
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.decode("utf-8", "replace").splitlines()
        if not lines or lines[0] != head:
            return 0
        try:
            for line in lines[1:]:
                self._take(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as why:
            raise UsageError(f"{self.path}: is damaged ({why})", hint="remove it and start again") from why
        return len(whole)

    def _take(self, entry: dict[str, Any]) -> None:
        if "fold" in entry:
            factors: Array = np.frombuffer(base64.b64decode(entry["factors"]), "<f4").reshape(entry["shape"])
            self.choices[entry["fold"]] = Choice(
                factors, entry["alpha"], entry["magnitude"], entry["before"], entry["after"]
            )
        if "started" in entry:
            self.started.add(entry["started"])
        for name, error in entry.get("done", {}).items():
            self.done.add(name)
            if error is not None:
                self.rounding[name] = float(error)
