"""The accuracy of models: perplexity, and KL divergence from the baseline's output, each a cached stage."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from patcher.base import hashing, partial_files
from patcher.base.errors import BuildError, UsageError
from patcher.base.stages import StageCache, require_space
from patcher.evaluate.measure.models import Model
from patcher.programs import llama_perplexity
from patcher.programs.folder import Programs
from patcher.programs.llama_perplexity import Divergence, Perplexity

_CHUNK = re.compile(r"\[(\d+)\][\d.]+,|^[ \t]+(\d+)[ \t]+[\d.]+ ±", re.MULTILINE)
_OF = re.compile(r"over (\d+) chunks")
_BYTES_PER_TOKEN = 3  # of text; most tokenizers take more, so that this is on the safe side
LEAST_CONTEXT = 32  # of --ctx
LEAST_SCORED = 100  # tokens: llama-perplexity says nothing of fewer
_LOGITS_MAGIC = b"_logits_"

Follow = Callable[[float], None]  # a share of 1


@dataclass(frozen=True)
class Task:
    """How accuracy is measured: on ``chunks`` of ``context`` tokens of the text (None: on all of it)."""

    programs: Programs
    text: Path
    chunks: int | None = None
    context: int = 512
    threads: int = 1
    divergence: bool = True

    def tokens(self) -> int:
        """About how many tokens one model reads, for the progress bar."""
        whole = max(self.context, self.text.stat().st_size // (_BYTES_PER_TOKEN + 1))
        return whole if self.chunks is None else min(self.chunks * self.context, max(whole, 2 * self.context))

    def require_enough(self) -> None:
        """Raise :class:`UsageError` where the text can't be long enough, before anything is made.

        A token is a byte at least; llama-perplexity wants two contexts of them, and compares distributions of
        no fewer than 100 tokens, of which it scores the second half of each chunk.
        """
        size, least = self.text.stat().st_size, 2 * self.context
        if size + 1 < least:
            smaller = f", or --ctx {(size + 1) // 2}" if (size + 1) // 2 >= LEAST_CONTEXT else ""
            raise UsageError(
                f"{self.text}: has {size} bytes, {least} tokens are wanted for a context of {self.context}",
                hint=f"name a longer --text{smaller}",
            )
        scored = self.context - 1 - self.context // 2
        if self.divergence and self.chunks is not None and self.chunks * scored < LEAST_SCORED:
            raise UsageError(
                f"--chunks {self.chunks} of {self.context} tokens: score {self.chunks * scored}, the KL"
                f" divergence takes {LEAST_SCORED} or more",
                hint=f"--chunks {-(-LEAST_SCORED // scored)} or more, or --no-kld",
            )

    def arguments(self, model: Path) -> list[str | Path]:
        """What every run of ``llama-perplexity`` gets."""
        shared: list[str | Path] = [
            "-m",
            model,
            "-f",
            self.text,
            "-c",
            str(self.context),
            "-t",
            str(self.threads),
        ]
        return [*shared, *(["--chunks", str(self.chunks)] if self.chunks is not None else [])]

    def inputs(self, model: Model) -> dict[str, Any]:
        """Everything that the result depends on."""
        return {
            "programs": self.programs.digest,
            "launcher": list(self.programs.launcher),
            "model": model.sha256,
            "text": hashing.of_file(self.text),
            "chunks": self.chunks,
            "context": self.context,
            "threads": self.threads,
        }


class Accuracy:
    """Measures one model after another; the baseline's logits lie on disk only while they are needed."""

    def __init__(self, task: Task, cache: StageCache, baseline: Model, folder: Path) -> None:
        self.task, self._cache, self._baseline = task, cache, baseline
        key = hashing.of_values(task.inputs(baseline))[:16]
        # of this process alone: another one that compares with the same baseline removes its own
        self._logits = partial_files.beside(folder / f"baseline-{key}.logits")
        folder.mkdir(parents=True, exist_ok=True)

    def measure(self, model: Model, follow: Follow) -> Perplexity:
        """The perplexity of ``model``, with the divergence where it isn't the baseline itself.

        Raises :class:`patcher.programs.measured.ChildError` and :class:`UsageError`.
        """
        stage, inputs = self._stage(model)
        if stage == "divergence":
            return _load(self._cache.run(stage, inputs, lambda: self._paired(model, follow)))
        keep = self.task.divergence and model is self._baseline
        return _load(self._cache.run(stage, inputs, lambda: self._plain(model, follow, keep=keep)))

    def is_known(self, model: Model) -> bool:
        """Whether ``model`` has been measured before."""
        return self._cache.get(*self._stage(model)) is not None

    def _stage(self, model: Model) -> tuple[str, dict[str, Any]]:
        inputs = self.task.inputs(model)
        if model is self._baseline or not self.task.divergence:
            return "perplexity", inputs
        return "divergence", {**inputs, "baseline": self._baseline.sha256}

    def close(self) -> None:
        """Remove the baseline's logits: they are as large as many models."""
        self._logits.unlink(missing_ok=True)

    def _plain(self, model: Model, follow: Follow, *, keep: bool) -> dict[str, Any]:
        arguments = self.task.arguments(model.path)
        if not keep:
            ran = self.task.programs.run("llama-perplexity", arguments, on_text=_follower(follow))
            return asdict(llama_perplexity.parse(ran.text, f"llama-perplexity {model.variant.label}"))
        needed = self.logits_bytes()
        require_space(self._logits.parent, needed, "the baseline's output for the KL divergence")
        command = [*arguments, "--kl-divergence-base", self._logits]
        try:
            ran = self.task.programs.run("llama-perplexity", command, on_text=_follower(follow))
            found = llama_perplexity.parse(ran.text, f"llama-perplexity {model.variant.label}")
            _require_whole(self._logits)
        except BaseException:  # half of it must not be taken for the whole
            self._logits.unlink(missing_ok=True)
            raise
        return asdict(found)

    def _paired(self, model: Model, follow: Follow) -> dict[str, Any]:
        if not self._logits.is_file():
            self._plain(self._baseline, lambda share: follow(share / 2), keep=True)
        command = [*self.task.arguments(model.path), "--kl-divergence"]
        command += ["--kl-divergence-base", self._logits]
        ran = self.task.programs.run("llama-perplexity", command, on_text=_follower(follow))
        if "Mean PPL(Q)" not in ran.text:
            raise BuildError(
                f"llama-perplexity {model.variant.label}: looked for the KL divergence, found none: it says"
                f" nothing where fewer than {LEAST_SCORED} tokens are scored",
                hint="name a longer --text or more --chunks, or leave it out with --no-kld",
            )
        found = llama_perplexity.parse(ran.text, f"llama-perplexity {model.variant.label}")
        return asdict(found)

    def logits_bytes(self) -> int:
        """What the file of the baseline's output takes: 2 bytes a token of the vocabulary, for the second
        half of each chunk, and two floats of scale."""
        chunks = self.task.chunks
        if chunks is None:
            chunks = self.task.text.stat().st_size // _BYTES_PER_TOKEN // self.task.context + 1
        return chunks * (self.task.context // 2) * (self._baseline.header.vocabulary + 4) * 2


def _require_whole(logits: Path) -> None:
    """llama-perplexity doesn't look whether its writes succeed: a full disk leaves too short a file."""
    size = logits.stat().st_size
    with logits.open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or head[:8] != _LOGITS_MAGIC:
        raise BuildError(
            f"{logits}: looked for the baseline's output, found something else",
            hint="run the same command again; where that is no help, this build writes it in another"
            " form: name another with --bin",
        )
    context, vocabulary, chunks = struct.unpack("<iii", head[8:])
    row = (2 * ((vocabulary + 1) // 2) + 4) * 2
    wanted = 20 + 4 * chunks * context + chunks * (context - 1 - context // 2) * row
    if size < wanted:
        raise BuildError(
            f"{logits}: is cut off at {size} of {wanted} bytes, the disk is full",
            hint="what was measured is kept: free some, then run the same command again",
        )


def _follower(follow: Follow) -> Callable[[str], None]:
    total = 0

    def on_text(piece: str) -> None:
        nonlocal total
        announced = _OF.search(piece)
        total = int(announced[1]) if announced else total
        chunks = [int(first or second) for first, second in _CHUNK.findall(piece)]
        if chunks and total:
            follow(min(1.0, max(chunks) / total))

    return on_text


def _load(document: dict[str, Any]) -> Perplexity:
    inner = document.get("divergence")
    rest = {**document, "running": tuple(document["running"])}
    return Perplexity(**{**rest, "divergence": Divergence(**inner) if inner else None})
