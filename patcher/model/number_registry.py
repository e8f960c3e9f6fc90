"""Which tree gave which number to which type: ``patches/gguf-numbers.json``, made by ``manual``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from patcher.base.errors import ShippedFileError
from patcher.base.resources import resource_dir

FILE = "gguf-numbers.json"
OURS = "q8a8-patch"


@dataclass(frozen=True)
class NumberedType:
    """What one number means in some trees. ``halves``: where in a block half floats lie, from its start."""

    number: int
    name: str
    block: int  # weights
    size: int  # bytes
    halves: tuple[int, ...]
    trees: tuple[str, ...] = ()

    @property
    def layout(self) -> tuple[int, int, tuple[int, ...]]:
        """What tells types of one number apart."""
        return self.block, self.size, self.halves


@dataclass(frozen=True)
class Registry:
    """``first``: numbers below have meant the same everywhere since 2024."""

    first: int
    types: tuple[NumberedType, ...]

    def of(self, number: int) -> tuple[NumberedType, ...]:
        """Every type that has the number in some tree."""
        return tuple(one for one in self.types if one.number == number)


@cache
def load() -> Registry:
    """The registry. Raises :class:`PatcherError` where it is malformed."""
    path = resource_dir("patches") / FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found: dict[NumberedType, list[str]] = {}
        for tree in document["trees"]:
            for item in tree["types"]:
                found.setdefault(_type(item), []).append(str(tree["tree"]))
        types = [
            NumberedType(one.number, one.name, one.block, one.size, one.halves, tuple(sorted(trees)))
            for one, trees in found.items()
        ]
        first = int(document["first"])
    except (OSError, ValueError, KeyError, TypeError) as why:
        raise ShippedFileError(f"{path}: malformed ({why})") from why
    return Registry(first, tuple(sorted(types, key=lambda one: (one.number, one.name))))


def _type(item: dict[str, Any]) -> NumberedType:
    number, block, size = (int(item[key]) for key in ("number", "block", "bytes"))
    return NumberedType(number, str(item["name"]), block, size, tuple(int(each) for each in item["halves"]))
