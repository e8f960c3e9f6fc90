"""Where a measurement was made: machine, system, tool; enough to repeat it, nothing that names the user."""

from __future__ import annotations

import json
import platform
from typing import Any

from patcher import __version__, git
from patcher.base.errors import PatcherError
from patcher.base.machine import cpu_flags, cpu_name, machine_id, memory_bytes, others_share, processors
from patcher.programs.folder import Programs
from patcher.source import MARKER

# the features that ggml's kernels ask for
FEATURES = (
    "avx", "avx2", "avx_vnni", "f16c", "fma", "avx512f", "avx512bw", "avx512vbmi", "avx512_vnni",
    "avx512_bf16", "amx_int8", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip
BUSY = 0.1  # the part of the processors' time from which on speeds are another's too


def machine() -> dict[str, Any]:
    """The ``machine`` of the JSON contract. Memory in bytes; what others take of the processors, 0 to 1."""
    flags = cpu_flags()
    return {
        "id": machine_id(),
        "processor": cpu_name() or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "features": [name for name in FEATURES if name in flags],
        "processors": processors(),
        "memory_bytes": memory_bytes(),
        "system": f"{platform.system()} {platform.release()}",
        "others_share": others_share(),
        "tool": f"q8a8-patch {__version__}",
    }


def source_release(programs: Programs) -> str:
    """Upstream's name of the release that ``programs`` were built from, where the checkout knows it."""
    home = programs.home_directory()
    try:
        text = (home / ".git" / MARKER).read_text(encoding="utf-8") if home is not None else "{}"
        return str(json.loads(text).get("release") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def source_commit(programs: Programs) -> str:
    """The commit of the tree that ``programs`` were built from, or nothing where that can't be told."""
    home = programs.home_directory()
    if home is None or not home.is_dir():
        return ""
    try:
        top = git.find_toplevel(home)
        return (git.head(top) or "") if top is not None else ""
    except PatcherError:
        return ""
