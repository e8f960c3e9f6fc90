"""The files of a dossier: its JSON, its Markdown with pictures beside it, its page."""

from __future__ import annotations

import json
from typing import Any

from patcher.evaluate.dossier.result import Dossier, ModelResult
from patcher.evaluate.report import dossier_markdown as words
from patcher.evaluate.report import svg
from patcher.evaluate.report.dossier_plots import plots, slug
from patcher.evaluate.report.html import template

JSON = "dossier.json"
NAMES = ("dossier.md", "index.html")  # besides, and the pictures


def documents(dossier: Dossier) -> dict[str, str]:
    """Every file's name and content."""
    names = _names(dossier)
    pictures = [
        [(plot, f"{name}-{plot.name}.svg") for plot in plots(dossier, model)]
        for name, model in zip(names, dossier.models, strict=True)
    ]
    links = [
        [(plot.title, file) for plot, file in each if not plot.name.startswith("text-")] for each in pictures
    ]
    found = {
        JSON: json.dumps(dossier.document(), indent=1, ensure_ascii=False),
        "dossier.md": words.markdown(dossier, links),
        "index.html": page(dossier),
    }
    style = template("style.css.j2").render()
    return found | {file: svg.standalone(plot.svg, style) for each in pictures for plot, file in each}


def _names(dossier: Dossier) -> list[str]:
    """The beginning of each model's file names, each once."""
    found: list[str] = []
    for model in dossier.models:
        name = slug(model.name) or "model"
        same = sum(one == name or one.startswith(f"{name}-") for one in found)
        found.append(f"{name}-{same + 1}" if same else name)
    return found


def page(dossier: Dossier) -> str:
    """The page, which needs nothing else: no script, no font, no picture from anywhere."""
    names = ", ".join(model.name for model in dossier.models)
    values: dict[str, Any] = {
        "title": f"Dossier: {names}",
        "closing": words.closing(dossier).replace("`", ""),
        "reading": words.reading(),
        "models": [_model(dossier, model) for model in dossier.models],
        "texts": words.texts(dossier),
        "facts": words.facts(dossier),
    }
    return template("dossier.html.j2").render(values)


def _model(dossier: Dossier, model: ModelResult) -> dict[str, Any]:
    tables = [("Files", *words.files(model))]
    tables += [
        (words.text_title(model, text), *words.accuracy(dossier, model, text)) for text in model.figures
    ]
    goals = words.goal(dossier, model)
    if goals:
        tables.append((f"Half of {dossier.reference}'s divergence?", *goals))
    tables.append(("Memory and speed" if model.series else "Memory; speed was left out", *words.speed(model)))
    return {
        "name": model.name,
        "summary": words.answers(dossier, model),
        "notes": [*model.notes, *words.failures(model)],
        "plots": plots(dossier, model),
        "tables": tables,
    }
