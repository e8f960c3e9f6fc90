"""Why a program of llama.cpp gave up, of all that it said: the cause, not the last line that repeats it."""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# the nearer to the cause, the earlier; what only says that something else failed is no cause
_CAUSES = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^gguf_init_\w+: (?!failed to read tensor data$)(.+)",
        r"(ggml_validate_row_data: .+)",
        r"failed to quantize: (?!.*failed to load model from |quantized data validation failed)(.+)",
        r"error loading model: (?!.*failed to load model from )(.+)",
        r"(?:failed to apply lora adapter|\bllama_adapter_lora_init\w*: failed to load\b[^:]*): (.+)",
        r"failed to quantize: (.+)",
        # an assertion or GGML_ABORT, with file and line; a debugger may say more behind it
        r"^(?:\S*/)?([\w.+-]+\.(?:c|cc|cpp|cu|h|hpp|m|mm):\d+: .+)",
    )
)
_MOST = 240  # characters


def cause(said: str) -> str:
    """The reason in a program's output, one line; empty where none of the known forms is there."""
    said = _COLOUR.sub("", said)
    for pattern in _CAUSES:
        found = pattern.search(said)
        if found:
            return found[1].strip()[:_MOST]
    return ""


def last_word(said: str) -> str:
    """The cause, or else the last line that sounds like one, or the last line; may be empty."""
    lines = [_COLOUR.sub("", line).strip() for line in said.splitlines() if line.strip()]
    wanted = [
        line for line in lines if re.search(r"\berror\b|fail|assert|unknown|invalid|unable", line, re.I)
    ]
    return cause(said) or (wanted or lines or [""])[-1][:200]
