"""The files of a dossier."""

from __future__ import annotations

import json

from patcher.evaluate.dossier.result import Dossier
from patcher.evaluate.report import dossier_markdown

JSON = "dossier.json"
NAMES = ("dossier.md",)  # besides


def documents(dossier: Dossier) -> dict[str, str]:
    """Every file's name and content."""
    return {
        JSON: json.dumps(dossier.document(), indent=1, ensure_ascii=False),
        "dossier.md": dossier_markdown.markdown(dossier),
    }
