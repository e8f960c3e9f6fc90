"""What is compared: a type by name, smoothed or rounded by a calibration, or a file that is there already."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from patcher.base.errors import UsageError

SMOOTH, ROUND = "+smooth", "+round"
DEFAULT = "F16,Q8_0,Q8_A8,Q8_A8+smooth"
_NAME = re.compile(r"([A-Za-z0-9_]+)(\+smooth)?(\+round)?", re.IGNORECASE)


@dataclass(frozen=True)
class Variant:
    """One model to measure: ``label`` names it in reports, ``type`` is llama-quantize's name.

    ``round``: its weights are rounded so that errors cancel on the calibration's inputs.
    """

    label: str
    type: str
    smooth: bool = False
    round: bool = False
    file: Path | None = None


def parse(text: str) -> tuple[Variant, ...]:
    """Read ``F16,Q8_A8,Q8_A8+smooth+round,mine=FILE.gguf``. Raises :class:`UsageError`."""
    found: list[Variant] = []
    for part in (part.strip() for part in text.split(",")):
        label, equals, file = part.partition("=")
        if equals and label.strip() and file.strip():
            found.append(Variant(label.strip(), label.strip(), file=Path(file.strip()).expanduser()))
        elif named := _NAME.fullmatch(part):
            name, smooth, rounds = named[1].upper(), bool(named[2]), bool(named[3])
            label = name + SMOOTH * smooth + ROUND * rounds
            if rounds and name != "Q8_A8":
                raise UsageError(
                    f"--types {part}: looked for Q8_A8 before {ROUND}, found {name}",
                    hint=f"leave {ROUND} out: only weights of Q8_A8 are rounded by a calibration",
                )
            found.append(Variant(label, name, smooth, rounds))
        else:
            raise UsageError(
                f"--types {part!r}: looked for a type",
                hint="write it like F16,Q8_0,Q8_A8+smooth,mine=FILE.gguf",
            )
    labels = [variant.label for variant in found]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UsageError(
            f"--types: {', '.join(twice)} is named twice",
            hint="name each once, or give one a label of its own: LABEL=FILE.gguf",
        )
    return tuple(found)
