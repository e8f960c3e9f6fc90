"""A baseline and some types read one text side by side: what they say goes through pipes, not to the disk.

Each is a process of ``llama-perplexity`` that writes every token's log probabilities into a pipe. These are
read a few rows at a time, of all models the same, so that none gets ahead of the others by more than a chunk.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from patcher.base.errors import BuildError, PatcherError, UsageError
from patcher.evaluate.dossier import divergence
from patcher.evaluate.dossier.divergence import Tokens
from patcher.evaluate.measure.models import Model
from patcher.programs.folder import Programs
from patcher.programs.logits_stream import Floats, Head, LogitStream

Result = TypeVar("Result")
_SHORT = re.compile(r"tokenizes to only (\d+) tokens")
_SLAB = 1 << 22  # numbers that are compared at once
DESCRIPTORS = Path("/dev/fd")

Follow = Callable[[float], None]  # a share of 1


@dataclass(frozen=True)
class Reading:
    """What is read: ``chunks`` of ``context`` tokens of ``text``, by each model with ``threads``."""

    programs: Programs
    text: Path
    chunks: int | None
    context: int
    threads: int


def require_pipes() -> None:
    """Raise :class:`UsageError` on a system where a program can't be given a pipe for a file."""
    if not DESCRIPTORS.exists():
        raise UsageError(
            f"{DESCRIPTORS}: looked for the names of open pipes, found none",
            hint="a dossier is made on Linux or macOS",
        )


def bytes_needed(model: Model, context: int) -> int:
    """The memory that one model takes while it reads: weights, logits of half a chunk, and their 16 bits."""
    return model.header.size + context * model.header.vocabulary * 4


def compare(
    reading: Reading, baseline: Model, others: Sequence[Model], follow: Follow
) -> dict[str, Tokens | PatcherError]:
    """Every token's figures, by the label of the type; or why that type has none.

    Raises :class:`BuildError` where the baseline itself fails.
    """
    with ExitStack() as stack:
        runs = [_Run(reading, model) for model in (baseline, *others)]
        for run in runs:
            stack.callback(run.leave)
        for run in runs:
            run.begin()
        base, rest = runs[0], runs[1:]
        head = base.head()
        heads = {run: run.head_like(head) for run in rest}
        failed: dict[_Run, PatcherError] = {run: why for run, why in heads.items() if why is not None}
        found = _together(base, [run for run in rest if run not in failed], head, failed, follow)
        base.finish()
        for run in list(found):
            try:
                run.finish()
            except PatcherError as why:
                failed[run] = why
    return {run.label: failed[run] if run in failed else found[run] for run in rest}


def _together(
    base: _Run, others: list[_Run], head: Head, failed: dict[_Run, PatcherError], follow: Follow
) -> dict[_Run, Tokens]:
    shape = (head.chunks, head.scored)
    base_loss = np.zeros(shape, np.float32)
    found = {
        run: Tokens(
            base_loss, np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
        )
        for run in others
    }
    step = max(1, _SLAB // head.vocabulary)
    for chunk in range(head.chunks):
        for start in range(0, head.scored, step):
            end = min(head.scored, start + step)
            targets = head.targets[chunk, start:end]
            ours = divergence.baseline(base.rows(end - start), targets)
            base_loss[chunk, start:end] = ours.loss
            for run in list(found):
                try:
                    rows = run.rows(end - start)
                except PatcherError as why:
                    failed[run] = why
                    del found[run]
                    continue
                into = found[run]
                loss, kld, same = divergence.compared(ours, rows, targets)
                into.loss[chunk, start:end], into.divergence[chunk, start:end] = loss, kld
                into.same[chunk, start:end] = same
        follow((chunk + 1) / head.chunks)
    return found


class _Run:
    """One process, run by a thread of its own: whoever is interrupted ends it."""

    def __init__(self, reading: Reading, model: Model) -> None:
        self.label, self._reading, self._model = model.variant.label, reading, model
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._said = ""
        reader, self._writer = os.pipe()
        self._stream = LogitStream(reader, f"llama-perplexity {self.label}")
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def head(self) -> Head:
        return self._told(self._stream.head)

    def head_like(self, base: Head) -> PatcherError | None:
        """Why this one can't be compared; None where it can."""
        try:
            mine = self.head()
        except PatcherError as why:
            return why
        if mine.vocabulary != base.vocabulary or not np.array_equal(mine.tokens, base.tokens):
            return BuildError(
                f"{self.label}: reads other tokens than the baseline",
                hint="it has another vocabulary: leave it out",
            )
        return None

    def rows(self, count: int) -> Floats:
        return self._told(lambda: self._stream.rows(count))

    def finish(self) -> None:
        """Wait for its end. Raises what it failed with."""
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def leave(self) -> None:
        """End it, wherever it is."""
        self._stop.set()
        self._stream.close()
        if self._thread.is_alive():
            self._thread.join()
        elif self._writer >= 0:  # it never began
            os.close(self._writer)

    def _told(self, read: Callable[[], Result]) -> Result:
        """What ``read`` gives; where the pipe ends too early, what the process itself says of it."""
        try:
            return read()
        except BuildError as why:
            self._stream.close()
            self._thread.join()
            few = _SHORT.search(self._said)
            if few:
                text, context = self._reading.text, self._reading.context
                raise UsageError(
                    f"{text}: has {few[1]} tokens, {2 * context} are wanted for a context of {context}",
                    hint="take a longer text",
                ) from why
            raise self._failure or why from why

    def _run(self) -> None:
        reading = self._reading
        arguments: list[str | Path] = ["-m", self._model.path, "-f", reading.text, "-c", str(reading.context)]
        # one chunk at a time: four of them, the usual, take four times the memory
        arguments += ["-b", str(reading.context), "-t", str(reading.threads)]
        arguments += ["--chunks", str(reading.chunks)] if reading.chunks is not None else []
        arguments += ["--kl-divergence-base", DESCRIPTORS / str(self._writer)]
        try:
            ran = reading.programs.run(
                "llama-perplexity", arguments, pass_fds=(self._writer,), stop=self._stop
            )
            self._said = ran.text
        except Exception as why:  # noqa: BLE001 - it is raised in the thread that waits
            self._failure = why
        finally:
            os.close(self._writer)
            self._writer = -1
