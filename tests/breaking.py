"""How a test takes away what an edit is anchored at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from patcher.engine.patchset import NEW_FILE, Edit


def place_of(edit: Edit, tree: Path) -> str | None:
    """The file of ``tree`` in which a test takes the edit's anchor away; None where it has none."""
    paths = edit.besides if edit.kind == NEW_FILE else edit.files
    return next((path for path in paths if (tree / path).exists()), None)


def gone(edit: Edit) -> str:
    """A pattern for what the edit is anchored at, so that a test can take it away."""
    anchor: dict[str, Any] = dict(edit.anchor)
    match edit.kind:
        case "case" | "macro-case":
            return rf"(?<=case ){anchor['label']}\b"
        case "enumerator":
            return rf"(?<=enum ){anchor['enum']}\b(?= \{{)"
        case "enum-count":
            return rf"\b{anchor['count']}\b"
        case "function":
            return rf"\b{anchor['names'][0]}\b"
        case "declaration" | "py-definition":
            return rf"\b{anchor['name']}\b"
        case "table":
            return rf"(?<=\[){anchor['key']}(?=\])"
        case "comparison":
            return rf"(?<== ){anchor['right']}\b"
        case "element" | "statement":
            return str(anchor["mentions"])
        case "item":
            return str(anchor["mentions"])
        case "instantiation":
            return rf"\b{anchor['function']}\b"
        case "cmake-item":
            return "|".join(re.escape(name) for name in anchor["beside"])
        case "cmake-call":
            return rf"\b{anchor['command']}\({anchor['argument']}\)"
        case "py-member":
            return rf"(?<=class ){anchor['name']}\b"
        case "py-entry":
            return re.escape(str(anchor["key"])) + "(?=:)"
        case "py-branch":
            return r"(?<=== )gguf\.LlamaFileType\.MOSTLY_Q8_0\b"
        case "py-string":
            return f'(?<="){anchor["beside"]}(?=")'
        case "py-prose":
            return str(anchor["behind"])
    raise AssertionError(f"{edit.kind}: say how a test takes it away")
