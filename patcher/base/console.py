"""What the command line prints: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from patcher.base.printable import harmless, harmless_json, one_line
from patcher.base.progress import SILENT, Reporter, SilentStep, Step

P = ParamSpec("P")
R = TypeVar("R")

EVERY_SECONDS = 30.0  # CI services end a job that says nothing for ten minutes


class _RichStep:
    def __init__(self, progress: Any, task: Any) -> None:
        self._progress = progress
        self._task = task

    def update(self, *, done: int | None = None, total: int | None = None, detail: str | None = None) -> None:
        fields: dict[str, Any] = {}
        if done is not None:
            fields["completed"] = done
        if total is not None:
            fields["total"] = total
        if detail is not None:
            fields["detail"] = one_line(detail)
        self._progress.update(self._task, **fields)


class _PlainStep:
    """Says where the work is every half minute, whether it moves or not: a log that is silent looks dead."""

    def __init__(self, label: str, total: int | None) -> None:
        self._label, self._total, self._detail = label, total, ""
        self._done: int | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)

    def __enter__(self) -> Step:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def update(self, *, done: int | None = None, total: int | None = None, detail: str | None = None) -> None:
        self._done = self._done if done is None else done
        self._total = self._total if total is None else total
        self._detail = self._detail if detail is None else detail

    def _speak(self) -> None:
        start = time.monotonic()
        while not self._over.wait(EVERY_SECONDS):
            if self._done is None:
                where = f"{time.monotonic() - start:.0f} s so far"
            else:
                where = f"{self._done} of {self._total}" if self._total else f"{self._done} done"
            detail = f" ({self._detail})" if self._detail else ""
            click.echo(one_line(f"{self._label}: {where}{detail}"), err=True)


class ConsoleReporter:
    """Draws bars on stderr when it is a terminal, writes plain lines otherwise."""

    def __init__(self, *, quiet: bool, verbose: int) -> None:
        self._quiet = quiet
        self._verbose = verbose
        self._interactive = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not quiet

    def note(self, message: str) -> None:
        if not self._quiet:
            click.echo(one_line(message), err=True)

    def warn(self, message: str) -> None:
        text = click.style("warning: ", fg="yellow", bold=True) + one_line(message)
        click.echo(text, err=True, color=_color())

    @contextmanager
    def step(self, label: str, total: int | None = None) -> Iterator[Step]:
        if not self._interactive:
            if self._verbose:
                self.note(f"{label} ...")
            if self._quiet:
                yield SilentStep()
                return
            with _PlainStep(label, total) as step:
                yield step
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[detail]}", style="dim", markup=False),
        )
        console = Console(stderr=True, no_color="NO_COLOR" in os.environ, highlight=False)
        with Progress(*columns, console=console, transient=True) as progress:
            yield _RichStep(progress, progress.add_task(one_line(label), total=total, detail=""))


def shown(path: Path) -> str:
    """A path as a reader here would write it: relative where it lies below the current folder."""
    try:
        return f".{os.sep}{path.relative_to(Path.cwd())}"
    except (ValueError, OSError):
        return str(path)


def _color() -> bool | None:
    """False where NO_COLOR is set (no-color.org), else whatever the stream can do."""
    return False if os.environ.get("NO_COLOR") else None


@dataclass
class Output:
    """How one command invocation talks: see :func:`common_options`."""

    json: bool = False
    quiet: bool = False
    verbose: int = 0
    reporter: Reporter = field(default=SILENT)
    answered: bool = field(default=False, init=False)  # whether the one document has been printed

    def emit(
        self,
        document: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        text: str | Callable[[], str],
        *,
        commands: bool = False,
    ) -> None:
        """Print the result: ``document`` as the one JSON document, or ``text`` for people; ``commands`` where
        the text is commands of ours to a runner."""
        if self.json:
            made = document() if callable(document) else document
            self.answered = True
            click.echo(harmless_json(json.dumps(made, indent=2, sort_keys=False, ensure_ascii=False)))
        else:
            shown = text if isinstance(text, str) else text()
            if shown:
                click.echo(harmless(shown, commands=commands), color=_color())


@dataclass
class Invocation:
    """One call of the program: what was said before the command's name, and how the command talks."""

    json: bool = False
    quiet: bool = False
    verbose: int = 0
    output: Output | None = None


def talking_options() -> list[click.Parameter]:
    """``--json``, ``-q`` and ``-v``, new ones at each call: ``as_json``, ``quiet`` and ``verbose``."""
    return [
        click.Option(
            ["--json", "as_json"], is_flag=True, help="Print one JSON document on stdout, nothing else."
        ),
        click.Option(
            ["-q", "--quiet"], is_flag=True, help="Print no notes and no progress, only warnings and errors."
        ),
        click.Option(["-v", "--verbose"], count=True, help="Print more details on stderr."),
    ]


def common_options(function: Callable[P, R]) -> Callable[..., R]:
    """Give a command ``--json``, ``-q`` and ``-v``; it receives one ``output: Output`` instead."""

    @wraps(function)
    def wrapper(*args: Any, as_json: bool, quiet: bool, verbose: int, **kwargs: Any) -> R:
        said = click.get_current_context().ensure_object(Invocation)
        quiet, verbose = quiet or said.quiet, verbose + said.verbose
        reporter = ConsoleReporter(quiet=quiet, verbose=verbose)
        said.output = Output(as_json or said.json, quiet, verbose, reporter)
        return function(*args, output=said.output, **kwargs)  # type: ignore[arg-type]

    # as decorators leave them for click: the last comes first
    wrapper.__dict__.setdefault("__click_params__", []).extend(reversed(talking_options()))
    return wrapper
