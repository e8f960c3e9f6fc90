"""The speed of models, by ``llama-bench``: one call a model and round, each a cached stage.

Time to first token is that of the whole prompt in one go, on a loaded model: its last logits give the
first token. Load time is a process that starts, loads, makes its buffers and reads one token, less that
token's own time. Peak memory is the largest resident set of the measuring process.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from patcher.base.cache import cache_dir
from patcher.base.errors import UsageError
from patcher.base.machine import machine_id
from patcher.base.stages import StageCache
from patcher.evaluate.judge.noise import Series
from patcher.evaluate.measure.models import Model
from patcher.programs import llama_bench
from patcher.programs.exclusive import alone
from patcher.programs.folder import Programs
from patcher.programs.llama_bench import Row


@dataclass(frozen=True)
class Task:
    """What is timed. ``depths`` are tokens in the context before; the first thread count is the main one."""

    programs: Programs
    prompt: int = 512
    generate: int = 128
    depths: tuple[int, ...] = (0,)
    threads: tuple[int, ...] = (1,)

    def arguments(self) -> list[str]:
        """What ``llama-bench`` gets besides the model. Raises :class:`UsageError` where it can't."""
        found = ["-p", str(self.prompt), "-n", str(self.generate), "-t", ",".join(map(str, self.threads))]
        found += ["-r", "1", "-o", "json"]
        if self.depths != (0,):
            if not self.programs.knows("llama-bench", "-d"):
                raise UsageError(
                    "--depths: this release's llama-bench has no -d",
                    hint="leave --depths out, or take a newer one",
                )
            found += ["-d", ",".join(map(str, self.depths))]
        return found


def measure_round(task: Task, cache: StageCache, model: Model, number: int) -> dict[str, Any]:
    """One round of one model: ``rows`` of llama-bench, ``load_ms``, ``peak_rss`` in bytes."""
    return cache.run("speed", _inputs(task, model, number), lambda: _measure(task, model))


def is_known(task: Task, cache: StageCache, model: Model, number: int) -> bool:
    """Whether that round has been measured before."""
    return cache.get("speed", _inputs(task, model, number)) is not None


def _inputs(task: Task, model: Model, number: int) -> dict[str, Any]:
    return {
        "programs": task.programs.digest,
        "launcher": list(task.programs.launcher),
        "machine": machine_id(),
        "model": model.sha256,
        "arguments": task.arguments(),
        "round": number,
    }


def _measure(task: Task, model: Model) -> dict[str, Any]:
    with alone(cache_dir("evaluate") / f"speed-{machine_id()}.lock") as held:
        load = _load_ms(task, model, held)
        ran = task.programs.run("llama-bench", ["-m", model.path, *task.arguments()], pass_fds=held)
    rows = llama_bench.parse(ran.out, f"llama-bench {model.variant.label}")
    return {"rows": [asdict(row) for row in rows], "load_ms": load, "peak_rss": ran.peak_rss}


def _load_ms(task: Task, model: Model, held: tuple[int, ...]) -> float | None:
    """None where the release always warms up, which is no part of loading."""
    if not task.programs.knows("llama-bench", "--no-warmup"):
        return None
    arguments = ["-p", "1", "-n", "0", "-r", "1", "--no-warmup", "-t", str(task.threads[0]), "-o", "json"]
    ran = task.programs.run("llama-bench", ["-m", model.path, *arguments], pass_fds=held)
    rows = llama_bench.parse(ran.out, f"llama-bench {model.variant.label}")
    token = rows[0].samples_ns[0] / 1e6 if rows[0].samples_ns else 1e3 / rows[0].speed
    return max(0.0, ran.seconds * 1e3 - token)


def series(rounds: list[dict[str, Any]]) -> dict[str, Series]:
    """The series of one model's rounds: ``pp``, ``tg``, ``ttft``, ``load``, ``rss``, and ``pp@d1024`` and so
    on for other depths, ``tg@t1`` for other thread counts than the first."""
    found: dict[str, list[float]] = {}
    main: int | None = None
    for number in rounds:
        for item in number["rows"]:
            row = row_of(item)
            main = row.threads if main is None else main
            where = [f"d{row.depth}"] * bool(row.depth) + [f"t{row.threads}"] * (row.threads != main)
            key = row.phase + (f"@{','.join(where)}" if where else "")
            found.setdefault(key, []).append(row.speed)
            if key == "pp":
                found.setdefault("ttft", []).append(row.prompt / row.speed * 1e3)
        if number["load_ms"] is not None:
            found.setdefault("load", []).append(number["load_ms"])
        if number["peak_rss"]:
            found.setdefault("rss", []).append(float(number["peak_rss"]))
    return {key: Series(tuple(values)) for key, values in found.items()}


def row_of(item: dict[str, Any]) -> Row:
    """A row that was kept as JSON."""
    return Row(**{**item, "samples": tuple(item["samples"]), "samples_ns": tuple(item["samples_ns"])})
