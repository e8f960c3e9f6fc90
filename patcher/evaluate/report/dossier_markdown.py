"""A dossier as the Markdown that one pastes into a pull request or a model card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from patcher.base import units
from patcher.base.printable import markdown as inert
from patcher.base.printable import readable
from patcher.evaluate.dossier.estimates import FEW, Estimate, Figures
from patcher.evaluate.dossier.result import ALL, BASELINE, GOAL, Dossier, ModelResult
from patcher.evaluate.judge.noise import Series
from patcher.evaluate.measure.variant import SMOOTH
from patcher.evaluate.report.markdown import table

_RULES = (
    "**Files**: one of each type, below, by SHA-256, made by `llama-quantize` from the one model.",
    "**Perplexity**, beside F16 and types of similar size, on every text.",
    "**KL divergence** from F16 and top-token flips, token by token, on every text.",
    "**Speed and memory** of the CPU backend, by `llama-bench`.",
)


def markdown(dossier: Dossier, pictures: Sequence[Sequence[tuple[str, str]]]) -> str:
    """All of it. ``pictures``: of each model, titles and files beside."""
    parts = ["# Dossier", "", closing(dossier), "", *(f"- {rule}" for rule in _RULES), ""]
    parts += [reading(), ""]
    for model, shown in zip(dossier.models, pictures, strict=True):
        parts += [f"## {inert(model.name)}", "", *_model(dossier, model, shown)]
    parts += [
        "## Texts",
        "",
        *table(*texts(dossier)),
        "",
        "## Measured on",
        "",
        *(f"- {k}: {inert(v)}" for k, v in facts(dossier)),
    ]
    return "\n".join(parts).rstrip() + "\n"


def reading() -> str:
    """How figures are to be read, in a paragraph."""
    return (
        "Every interval, in parentheses or behind a ±, is of 95 %: blocks of about 64 tokens are drawn again"
        " from the text. KL divergence (KLD) is in thousandths of a nat a token. A flip is a token whose most"
        f" likely successor is another than {BASELINE}'s. A percentile with fewer than {FEW} tokens beyond it"
        " has a question mark: it is a guess."
    )


def _model(dossier: Dossier, model: ModelResult, pictures: Sequence[tuple[str, str]]) -> list[str]:
    lines = [f"- {inert(note)}" for note in [*answers(dossier, model), *model.notes, *failures(model)]]
    lines += [""] if lines else []
    lines += ["### Files", "", *table(*files(model)), ""]
    lines += [line for title, file in pictures for line in (f"![{inert(title)}]({file})", "")]
    lines += ["### KL divergence and flips", ""]
    for text in model.figures:
        lines += [f"**{text_title(model, text)}**", "", *table(*accuracy(dossier, model, text)), ""]
    goals = goal(dossier, model)
    if goals:
        lines += [f"### Half of {dossier.reference}'s divergence?", "", *table(*goals), ""]
    lines += ["### Memory and speed", "", *table(*speed(model)), ""]
    if not model.series:
        lines += ["Speed was left out (`--rounds 0`).", ""]
    return lines


def failures(model: ModelResult) -> list[str]:
    """Types that are left out, one line each."""
    return [f"{label}: left out, {why}" for label, why in model.failures.items()]


def text_title(model: ModelResult, text: str) -> str:
    """``prose: Alice's Adventures in Wonderland, 765 tokens``."""
    some = next(iter(model.figures[text].values()))
    if text == ALL:
        return f"all texts together, {some.tokens:,} tokens"
    domain = next(one.domain for one in model.texts if one.domain.name == text)
    return f"{domain.name}: {domain.what}, {some.tokens:,} tokens"


def files(model: ModelResult) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the files' table."""
    rows = []
    for file in model.files:
        holds = ", ".join(
            f"{label} {100 * share:.0f} %" for label, share in file.holds.items() if share >= 0.005
        )
        bits = 8 * file.tensor_bytes / file.weights
        rows.append([file.type, f"{file.bytes:,}", f"{bits:.2f}", holds, f"{file.sha256[:16]}..."])
    return ["type", "bytes", "bits a weight", "weights held as", "SHA-256"], rows


def accuracy(dossier: Dossier, model: ModelResult, text: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of one text's table."""
    header = ["type", "bytes", "mean KLD", "99 %", "99.9 %", "flips", f"PPL / {model.baseline}'s", "PPL"]
    header += [f"KLD / {dossier.reference}'s"] if dossier.reference else []
    base = model.base_perplexity.get(text)
    rows = [
        [model.baseline, units.number(model.file(model.baseline).bytes, "bytes"), "0", "0", "0", "0", "1"]
    ]
    rows[0] += [plus_minus(base, 2) if base else "-"] + (["-"] if dossier.reference else [])
    for label, found in model.figures[text].items():
        row = [label, units.number(model.file(label).bytes, "bytes"), *divergences(found)]
        row += [
            f"{plus_minus(found.flips, 2)} %",
            plus_minus(found.ratio, 4),
            plus_minus(found.perplexity, 2),
        ]
        if dossier.reference:
            row.append(
                "1" if label == dossier.reference else spanned(found.beside, 3) if found.beside else "-"
            )
        rows.append(row)
    return header, rows


def divergences(found: Figures) -> list[str]:
    """Mean, 99 % and 99.9 % in thousandths of a nat."""
    shown = [plus_minus(found.mean.scaled(1e3), 2)]
    for share, one in ((0.01, found.p99), (0.001, found.p999)):
        text = spanned(one.scaled(1e3), 1)
        shown.append(text if share * found.tokens >= FEW else f"{text} ?")
    return shown


def goal(dossier: Dossier, model: ModelResult) -> tuple[list[str], list[list[str]]] | None:
    """Whether each smoothed type has at most half of the reference's divergence, text by text."""
    smooth = [label for label in model.compared if SMOOTH in label]
    if not dossier.reference or not smooth:
        return None
    rows = []
    for text, types in model.figures.items():
        cells = [text]
        for label in smooth:
            found = types[label].beside if label in types else None
            cells.append("-" if found is None else f"{spanned(found, 3)}: {verdict(found)}")
        rows.append(cells)
    return ["text", *smooth], rows


def answers(dossier: Dossier, model: ModelResult) -> list[str]:
    """One sentence a smoothed type: on how many texts it has at most half of the reference's divergence."""
    found = []
    for label in (one for one in model.compared if SMOOTH in one):
        beside = {
            text: types[label].beside
            for text, types in model.figures.items()
            if text != ALL and label in types and types[label].beside is not None
        }
        if not beside:
            continue
        kept = [text for text, one in beside.items() if one is not None and one.value <= GOAL]
        said = f"{label}: at most half of {dossier.reference}'s KL divergence"
        said += f" on {len(kept)} of {len(beside)} texts"
        broken = [f"{text}, {spanned(one, 2)}" for text, one in beside.items() if one and text not in kept]
        found.append(said + (f"; not on {'; '.join(broken)}" if broken else ""))
    return found


def verdict(found: Estimate) -> str:
    """``yes``, ``no``, and whether the goal lies in the interval."""
    said = "yes" if found.value <= GOAL else "no"
    return f"{said}, within the error" if found.low <= GOAL <= found.high else said


def speed(model: ModelResult) -> tuple[list[str], list[list[str]]]:
    """Header and rows of memory, and of speed where it was measured."""
    header = ["type", "peak memory"]
    keys = [
        ("pp", "prompt", "tokens/s"),
        ("tg", "decode", "tokens/s"),
        ("ttft", "first token", "ms"),
        ("load", "load", "ms"),
    ]
    keys = [key for key in keys if any(key[0] in series for series in model.series.values())]
    base = model.memory.get(model.baseline)
    rows = []
    for file in model.files:
        peak = model.memory.get(file.type)
        cells = [
            file.type,
            "-" if peak is None else units.number(peak, "bytes") + (f", {peak / base:.2f}x" if base else ""),
        ]
        series = model.series.get(file.type, {})
        for key, _, unit in keys:
            found = series.get(key)
            cells.append("-" if found is None else _timed(found, unit))
        rows.append(cells)
    return [*header, *(title for _, title, _ in keys)], rows


def texts(dossier: Dossier) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what was read, with sources and licences."""
    rows, seen = [], set()
    for model in dossier.models:
        for text in model.texts:
            row = [
                text.domain.name,
                text.domain.what,
                text.domain.source,
                text.domain.licence,
                str(text.domain.context),
            ]
            row.append(f"{text.sha256[:16]}..." + (f" ({model.name}: {text.note})" if text.note else ""))
            if tuple(row) not in seen:
                rows.append(row)
            seen.add(tuple(row))
    return ["text", "what", "PyPI package", "licence", "tokens at once", "SHA-256 of the text"], rows


def closing(dossier: Dossier) -> str:
    """How it was measured and by which command, in one sentence."""
    settings = dossier.settings
    chunks = settings.get("chunks")
    command = readable(str(settings.get("command") or "").replace("`", ""))
    said = f"{chunks} chunks of each text" if chunks else "All of each text"
    rounds = settings.get("rounds")
    said += f", speed in {rounds} round{'s' * (rounds != 1)}" if rounds else ", without speed"
    return f"{said}, on {inert(str(dossier.machine.get('processor')))}, by `{command}`."


def facts(dossier: Dossier) -> list[tuple[str, str]]:
    """Machine, build and release, as name and value."""
    machine = dossier.machine
    programs: dict[str, Any] = machine.get("programs") or {}
    share = machine.get("others_share")
    wanted = {
        "processor": machine.get("processor"),
        "features": ", ".join(machine.get("features") or []),
        "processors": machine.get("processors"),
        "system": machine.get("system"),
        "busy with other work": f"{share:.0%} of the processors" if isinstance(share, int | float) else None,
        "compiler": programs.get("compiler"),
        "llama.cpp": machine.get("release"),
        "commit": machine.get("commit"),
        "tool": machine.get("tool"),
    }
    return [(name, str(value)) for name, value in wanted.items() if value]


def summary(dossier: Dossier) -> str:
    """For the terminal: each model's types on all texts together."""
    lines = []
    for model in dossier.models:
        found = model.figures[ALL]
        some = next(iter(found.values()), None)
        lines.append(
            f"{model.name}: {some.tokens:,} tokens of {len(model.texts)} texts" if some else model.name
        )
        for label, one in found.items():
            beside = f", {spanned(one.beside, 3)} of {dossier.reference}'s" if one.beside else ""
            size = units.number(model.file(label).bytes, "bytes")
            lines.append(
                f"  {label:<14} {size:>9}   KLD {plus_minus(one.mean.scaled(1e3), 2)} mnat, flips"
                f" {plus_minus(one.flips, 2)} %{beside}"
            )
    return "\n".join(lines)


def plus_minus(found: Estimate, places: int) -> str:
    """``1.62 ±0.05``: half of the interval behind it."""
    half = (found.high - found.low) / 2
    while places < 6 and 0 < half < 0.95 * 10**-places:
        places += 1
    return f"{found.value:.{places}f} ±{half:.{places}f}"


def spanned(found: Estimate, places: int) -> str:
    """``0.46 (0.44 to 0.48)``."""
    return f"{found.value:.{places}f} ({found.low:.{places}f} to {found.high:.{places}f})"


def _timed(found: Series, unit: str) -> str:
    low, middle, high = (units.number(value, unit) for value in (found.low, found.median, found.high))
    return f"{middle} ({low} to {high})" if found.repeated else middle
