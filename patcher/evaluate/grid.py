"""Many evaluations: a manifest of jobs, run here or by Dask's workers, results named by the job's hash.

A result is written whole, under a lock, by whoever runs the job, before anybody is told. So a worker may be
killed at any time: a job whose result is there is never run again, one that is not there is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from patcher.base import hashing, lock, toml
from patcher.base.errors import PatcherError, UsageError
from patcher.base.files import write_whole
from patcher.base.os_errors import reason, way_out
from patcher.base.progress import SILENT, Reporter
from patcher.base.stages import LOCK_SECONDS, disk_errors
from patcher.programs.folder import Programs

RUNNER = "patcher.evaluate.grid_job:run"
SETTINGS = {
    "text": str, "bin": str, "types": str, "baseline": str, "chunks": int, "context": int, "prompt": int,
    "generate": int, "rounds": int, "depths": list, "threads": list, "kld": bool,
}  # fmt: skip
_PATHS = ("model", "text", "bin")
_RETRIES = 3  # workers that may die under one job


@dataclass(frozen=True)
class Job:
    """One evaluation. ``settings`` are those of the manifest, its paths absolute; ``id`` is their hash, with
    the contents of model, text and programs."""

    name: str
    settings: Mapping[str, Any]
    id: str

    def document(self) -> dict[str, Any]:
        """The JSON form, as a matrix of CI takes it."""
        return {"job": self.id, "name": self.name}


def load(path: Path, reporter: Reporter = SILENT) -> list[Job]:
    """The jobs of a manifest: settings at its top are for all of its ``[[model]]`` tables.

    Raises :class:`UsageError` for a file that can't be read and for a setting that nobody knows.
    """
    document, models = _read(path)
    jobs = [_job(path, {**document, **item}, reporter) for item in models]
    ids = [job.id for job in jobs]
    for job in jobs:
        if ids.count(job.id) > 1:
            raise UsageError(
                f"{path}: {job.name} is there twice with the same settings",
                hint="take one of them out, or give them other settings",
            )
    return jobs


def names(path: Path) -> list[str]:
    """The jobs' names, each once; models and texts need not be there. Raises :class:`UsageError`."""
    document, models = _read(path)
    found = [_named(path, {**document, **item})[0] for item in models]
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise UsageError(f"{path}: {twice[0]} is the name of two jobs", hint="give each [[model]] a name")
    return found


def _read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What is for all models, and the models."""
    try:
        document = toml.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as why:
        raise UsageError(
            f"{path}: looked for a manifest, found none ({reason(why)})",
            hint=way_out(why, "mend the line that is named; docs/evaluate.md shows a manifest"),
        ) from why
    models = document.pop("model", None)
    if not isinstance(models, list) or not all(isinstance(item, dict) for item in models) or not models:
        raise UsageError(f"{path}: looked for [[model]] tables, found none", hint="see docs/evaluate.md")
    return document, models


def _named(path: Path, settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A job's name, and its settings with the model among them."""
    settings = dict(settings)
    model = settings.pop("path", None)
    name = settings.pop("name", None) or (Path(model).stem if isinstance(model, str) else "")
    if not isinstance(model, str):
        raise UsageError(
            f"{path}: looked for the path of a [[model]], found {model!r}",
            hint='write path = "MODEL.gguf" into each [[model]]',
        )
    for key, value in settings.items():
        expected = SETTINGS.get(key)
        if expected is None or not isinstance(value, expected):
            what = f"a {expected.__name__}" if expected else f"one of {', '.join(SETTINGS)}"
            raise UsageError(
                f"{path}: {name}: looked for {what}, found {key} = {value!r}",
                hint="correct or remove that line; docs/evaluate.md has every setting",
            )
    return str(name), {**settings, "model": model}


def _job(path: Path, found: dict[str, Any], reporter: Reporter) -> Job:
    name, settings = _named(path, found)
    for key in _PATHS:
        if key in settings:
            settings[key] = str((path.parent / Path(settings[key]).expanduser()).resolve())
    contents: dict[str, str] = {
        key: hashing.of_file(Path(settings[key]), reporter) for key in ("model", "text") if key in settings
    }
    folder = Path(settings["bin"]) if "bin" in settings else None
    if folder is not None and folder.is_dir():  # elsewhere it may be there on the workers alone
        contents["programs"] = Programs(folder).digest
    identity = {key: value for key, value in settings.items() if key not in _PATHS}
    return Job(name, settings, hashing.of_values([identity, contents])[:16])


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its result's file, or why it has none. ``found``: it had been run before."""

    job: Job
    file: Path
    failure: str = ""
    found: bool = False

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {**self.job.document(), "file": str(self.file), "failure": self.failure, "found": self.found}


def run(
    jobs: list[Job],
    results: Path,
    *,
    executor: str = "local",
    workers: int = 2,
    scheduler: str | None = None,
    runner: str = RUNNER,
    reporter: Reporter = SILENT,
) -> list[Outcome]:
    """Run the jobs whose results aren't in ``results`` yet; the outcomes in the order of ``jobs``.

    ``scheduler`` is the address of a Dask scheduler that is there (of dask-jobqueue on Slurm, say); without
    one, ``workers`` processes are started here. ``runner`` names the function that gets a job's settings.
    Raises :class:`UsageError` for a folder that can't be made, and where Dask isn't installed.
    """
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as why:
        raise UsageError(
            f"{results}: no folder for results ({reason(why)})", hint="name another with --results"
        ) from why
    with reporter.step("Evaluating the grid", total=len(jobs)) as step:
        done: dict[str, Outcome] = {}

        def finished(outcome: Outcome) -> None:
            done[outcome.job.id] = outcome
            if outcome.failure:
                reporter.warn(f"{outcome.job.name}: {outcome.failure}")
            step.update(done=len(done), detail=outcome.job.name)

        if executor == "dask":
            _dask(jobs, results, workers, scheduler, runner, finished)
        else:
            for job in jobs:
                finished(_outcome(job, results, execute(job.id, dict(job.settings), str(results), runner)))
    return [done[job.id] for job in jobs]


def execute(job_id: str, settings: dict[str, Any], results: str, runner: str) -> tuple[str, bool]:
    """Run one job unless its result is there: why it failed (or nothing), and whether it was there.

    This is what a worker calls, in a process of its own and perhaps twice: the lock and the file see to it
    that a job is measured once.
    """
    place = result_file(Path(results), job_id)
    with lock.hold(place.with_suffix(".lock"), seconds=LOCK_SECONDS):
        if _whole(place):
            return "", True
        module, _, name = runner.partition(":")
        work: Callable[[dict[str, Any]], dict[str, Any]] = getattr(import_module(module), name)
        try:
            document = work(settings)
            with disk_errors(place):
                write_whole(place, json.dumps(document, indent=1))
        except PatcherError as why:
            return str(why), False
    return "", False


def result_file(results: Path, job_id: str) -> Path:
    """Where a job's result lies."""
    return results / f"{job_id}.json"


def _whole(place: Path) -> bool:
    try:
        return isinstance(json.loads(place.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def _outcome(job: Job, results: Path, ended: tuple[str, bool]) -> Outcome:
    return Outcome(job, result_file(results, job.id), ended[0], ended[1])


def _dask(
    jobs: list[Job],
    results: Path,
    workers: int,
    scheduler: str | None,
    runner: str,
    finished: Callable[[Outcome], None],
) -> None:
    try:
        distributed: Any = import_module("distributed")
    except ImportError as why:
        raise UsageError(
            f"--executor dask: {why.name or 'distributed'} is not installed",
            hint="pip install 'q8a8-patch[grid]'",
        ) from why
    # any free port: nobody asked for the dashboard, and two grids must not fight for one
    cluster = scheduler or distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    )
    try:
        with distributed.Client(cluster) as client:
            futures = {
                client.submit(
                    execute, job.id, dict(job.settings), str(results.resolve()), runner,
                    key=f"q8a8-{job.id}", pure=False, retries=_RETRIES,
                ): job
                for job in jobs
            }  # fmt: skip
            for future in distributed.as_completed(list(futures)):
                job = futures[future]
                error = future.exception()
                ended = (f"{type(error).__name__}: {error}", False) if error is not None else future.result()
                finished(_outcome(job, results, ended))
    finally:
        if not isinstance(cluster, str):
            cluster.close()
