"""A report as Markdown, for a README or a pull request."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from patcher.base import units
from patcher.base.printable import markdown as inert
from patcher.base.printable import readable
from patcher.evaluate.judge import metric as metrics
from patcher.evaluate.judge import verdict_table
from patcher.evaluate.judge.compare import Difference
from patcher.evaluate.judge.thresholds import ABSOLUTE, Verdict
from patcher.evaluate.measure.provenance import BUSY
from patcher.evaluate.report import figures
from patcher.evaluate.result import Report

_BEST = (
    "amx_int8",
    "avx512_vnni",
    "avx_vnni",
    "avx2",
    "i8mm",
    "asimddp",
)  # of a processor, for 8-bit products


def markdown(report: Report, verdicts: list[Verdict]) -> str:
    """The whole report: the answer, figures, ratios, and how it was measured."""
    shown = metrics.measured(report)
    parts = [f"# {_cell(report.title or 'Evaluation')}", ""]
    if verdicts:
        parts += ["## The answer", "", *answer(report, verdicts), ""]
    header = ["type", *(metric.title for metric in shown), "KL divergence"]
    rows = [
        [model.type, *(figures.of_metric(metric, model) for metric in shown), figures.divergence(model)]
        for model in report.models
    ]
    parts += ["## Figures", "", *table(header, rows), ""]
    compared = metrics.compare(report)
    if compared:
        rows = [[item.type, item.metric.title, figures.ratio(item.ratio), item.verdict] for item in compared]
        parts += [f"## Relative to {_cell(report.baseline)}", ""]
        parts += [*table(["type", "figure", "ratio", "verdict"], rows), ""]
    parts += [f"- {_cell(label)}: left out, {_cell(why)}" for label, why in report.skipped.items()]
    for model in report.models:
        parts += [f"- {_cell(model.type)}: {_cell(line)}" for line in [*model.notes, *model.failures]]
    parts += ["", "## Measured on", "", *(f"- {name}: {_cell(value)}" for name, value in facts(report))]
    return "\n".join(parts).rstrip() + "\n"


def answer(report: Report, verdicts: Sequence[Verdict]) -> list[str]:
    """What was told, what was asked for, what was measured, yes or no; then how, in one sentence."""
    rows = []
    for line in verdict_table.lines(report, verdicts):
        cells = [
            "-" if item is None else _answer(item, value)
            for item, value in zip(line.answers, line.values, strict=True)
        ]
        rows.append([line.title, line.told or "-", line.asked, line.baseline, *cells])
    judged = verdict_table.types(verdicts)
    made = table(["", "promised", "required", report.baseline, *judged], rows)
    return [*made, "", closing(report)]


def closing(report: Report, more: Sequence[str] = ()) -> str:
    """How it was measured and by which command, in one sentence; ``more`` is said before the command."""
    command = readable(" ".join(str(report.settings.get("command") or "").replace("`", "").split()))
    words = [*map(_cell, [report.title, how(report), *more]), f"by `{command}`" if command else ""]
    return ", ".join(word for word in words if word) + "."


def _answer(verdict: Verdict, value: str) -> Marked:
    said = "yes" if verdict.kept else "no"
    if verdict.ratio is None:
        return Marked(f"not measured: **{said}**")
    ratio = f"{figures.short(verdict.ratio)} ({figures.percent(verdict.ratio)})"
    shown = _cell(value if verdict.requirement.metric in ABSOLUTE else f"{value}, {ratio}")
    return Marked(f"{shown}: **{said}**" + (f", {_cell(verdict.doubt)}" if verdict.doubt else ""))


def how(report: Report) -> str:
    """Text, lengths, rounds, processor, compiler and release in one phrase; what isn't known is left out."""
    machine, settings = report.machine, report.settings
    programs = machine.get("programs")
    compiler = programs.get("compiler") if isinstance(programs, dict) else ""
    threads = settings.get("threads")
    chunks = report.base.chunks
    text, rounds = settings.get("text"), settings.get("rounds")
    parts = [
        f"{chunks} chunks of {settings.get('context')} tokens of {Path(str(text)).name}"
        if text and chunks
        else "",
        f"a prompt of {settings.get('prompt')} and {settings.get('generate')} decoded tokens, {rounds} rounds"
        f" on {threads[0]} thread{'s' if threads[0] != 1 else ''}"
        if rounds and isinstance(threads, list) and threads
        else "",
        _processor(report),
        _busy(report),
        str(compiler or ""),
        f"llama.cpp {machine.get('release') or machine.get('build')}"
        if machine.get("release") or machine.get("build")
        else "",
    ]
    return ", ".join(part for part in parts if part) or "from existing outputs"


def _processor(report: Report) -> str:
    if report.emulated:  # the machine's own has nothing to do with it
        return report.emulated
    name, features = str(report.machine.get("processor") or ""), report.machine.get("features")
    best = next((item for item in _BEST if isinstance(features, list) and item in features), "")
    return f"{name} ({best})" if name and best else name


def _busy(report: Report) -> str:
    """A doubt that belongs beside every speed: others ran on the machine when it began."""
    share = report.machine.get("others_share")
    timed = any(model.median("pp") or model.median("tg") for model in report.models)
    if not (timed and isinstance(share, int | float) and share > BUSY):
        return ""
    return f"{share:.0%} of the processors busy with other work"


def differences(found: list[Difference], names: tuple[str, str], notes: list[str]) -> str:
    """Two reports side by side."""
    rows = [
        [
            item.type,
            item.metric.title,
            units.number(item.first, item.metric.unit),
            units.number(item.second, item.metric.unit),
            figures.ratio(item.ratio),
            item.verdict,
        ]
        for item in found
    ]
    lines = table(["type", "figure", names[0], names[1], "ratio", "verdict"], rows)
    return "\n".join([*lines, *([""] if notes else []), *(f"- {_cell(note)}" for note in notes)]) + "\n"


def facts(report: Report) -> list[tuple[str, str]]:
    """Machine, build and command, as name and value."""
    machine, settings = report.machine, report.settings
    programs = machine.get("programs")
    programs = programs if isinstance(programs, dict) else {}
    features = machine.get("features")
    flags = programs.get("settings")
    started, seconds = settings.get("started"), settings.get("seconds")
    memory, chunks = machine.get("memory_bytes"), report.base.chunks
    share = machine.get("others_share")
    wanted = {
        "processor": machine.get("processor"),
        "features": ", ".join(map(str, features)) if isinstance(features, list) else None,
        "processors": machine.get("processors"),
        "memory": units.number(float(memory), "bytes")
        if isinstance(memory, int | float) and memory
        else None,
        "system": machine.get("system"),
        "emulated": machine.get("emulated"),
        "busy with other work": f"{share:.0%} of the processors" if isinstance(share, int | float) else None,
        "compiler": programs.get("compiler"),
        "build settings": ", ".join(f"{key}={value}" for key, value in flags.items())
        if isinstance(flags, dict)
        else None,
        "llama.cpp": " ".join(
            filter(None, [str(machine.get("release") or ""), str(machine.get("build") or "")])
        ),
        "commit": machine.get("commit"),
        "tool": machine.get("tool"),
        "model": settings.get("model"),
        "text": settings.get("text"),
        "read": f"{chunks} chunks of {settings['context']} tokens"
        if chunks and "context" in settings
        else None,
        "prompt, decoded": f"{settings['prompt']}, {settings['generate']} tokens"
        if settings.get("rounds") and "prompt" in settings
        else None,
        "depths": _list(settings.get("depths")),
        "threads": _list(settings.get("threads")),
        "rounds": settings.get("rounds"),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(started))
        if isinstance(started, int | float)
        else None,
        "took": f"{seconds:.0f} s; stages that were there before: {settings.get('stages_found')}"
        if isinstance(seconds, int | float)
        else None,
        "command": settings.get("command"),
    }
    return [(name, str(value)) for name, value in wanted.items() if value not in (None, "", [], {})]


def _list(value: object) -> str | None:
    return ", ".join(map(str, value)) if isinstance(value, list) and value else None


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table. A cell says what it is, unless it is :class:`Marked`: names may be anybody's."""
    lines = [f"| {' | '.join(map(_cell, header))} |", f"|{'|'.join('---' for _ in header)}|"]
    return lines + [f"| {' | '.join(map(_cell, row))} |" for row in rows]


class Marked(str):
    """Text that is Markdown already, its names made inert."""

    __slots__ = ()


def _cell(text: str) -> Marked:
    return text if isinstance(text, Marked) else Marked(inert(" ".join(text.split())))
