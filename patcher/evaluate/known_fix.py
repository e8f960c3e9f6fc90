"""The catalogue of build fixes, asked about a program that crashed."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patcher.build import compiler_name
from patcher.errors import PatcherError
from patcher.machine import cpu_flags
from patcher.resources import resource_dir

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

AMX_FIX = "amx-tile-config"


def advice(signal_name: str, command: Sequence[str]) -> str | None:
    """What is known of a program that died of ``signal_name``: a fix, or a way around; else None."""
    program = Path(command[0])
    known = catalogue()
    if signal_name == "SIGSEGV" and "amx_tile" in cpu_flags() and _old_gcc(program):
        if AMX_FIX in known:
            return (
                f"known: GCC before 13 breaks AMX; 'q8a8-patch apply --with-fix {AMX_FIX}', then build again"
            )
        return (
            "known: GCC before 13 breaks AMX; build again with --cmake-arg=-DGGML_NATIVE=OFF, or with GCC 13"
        )
    for name, fix in known.items():
        if name != AMX_FIX and re.search(rf"\b{signal_name}\b", str(fix.get("symptom", ""))):
            return f"known: it may be '{name}'; 'q8a8-patch apply --with-fix {name}', then build again"
    return None


def catalogue() -> dict[str, dict[str, Any]]:
    """Every fix of ``patches/fixes`` by its name; one that can't be read counts as not there."""
    try:
        folder = resource_dir("patches") / "fixes"
    except PatcherError:
        return {}
    found: dict[str, dict[str, Any]] = {}
    for place in sorted(folder.glob("*.toml")):
        try:
            document = tomllib.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        inner = document.get("fix")
        found[place.stem] = {**document, **inner} if isinstance(inner, dict) else document
    return found


def _old_gcc(program: Path) -> bool:
    """Whether a build folder two levels up says that GCC before 13 made ``program``."""
    found = re.fullmatch(r"GCC (\d+)\..*", compiler_name(program.resolve().parent.parent))
    return found is not None and int(found[1]) < 13
