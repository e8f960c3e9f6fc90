"""How a test takes away what an edit is anchored at."""

from __future__ import annotations

import re
from typing import Any

from patcher.patchset import Edit


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
