"""What an evaluation wants to know of a model: its name, its size, and what its tensors are."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from patcher.model.model_file import ModelFile, open_model, require_our_order


@dataclass(frozen=True)
class Tensor:
    """One tensor. ``shape`` as GGUF has it, the row length first."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int

    @property
    def weights(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


@dataclass(frozen=True)
class Header:
    """A model's head. ``size`` and ``tensor_bytes`` are bytes of all parts: the latter without metadata."""

    path: Path  # of the first part
    size: int
    name: str
    architecture: str
    tensors: tuple[Tensor, ...]
    parts: tuple[Path, ...] = ()

    @property
    def tensor_bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def vocabulary(self) -> int:
        """How many tokens it knows; 0 where no tensor tells."""
        return next((tensor.shape[-1] for tensor in self.tensors if tensor.name == "token_embd.weight"), 0)

    def weights_by_type(self) -> dict[str, int]:
        """How many weights each type holds, most first."""
        found: dict[str, int] = {}
        for tensor in self.tensors:
            found[tensor.type] = found.get(tensor.type, 0) + tensor.weights
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def read(path: Path) -> Header:
    """Read the head of ``path``. Raises :class:`patcher.model.gguf.GgufError` (exit 2) for a file that is
    missing, no GGUF, damaged or cut off, and where a part is missing or another model's."""
    return of(open_model(path))


def runnable(path: Path) -> Header:
    """The same of a model that is to be run here; refuses one of the other byte order too."""
    model = open_model(path)
    require_our_order(model)
    return of(model)


def of(model: ModelFile) -> Header:
    """The head of a model that is open."""
    name: Any = model.head.get("general.name")
    parts = tuple(part.path for part in model.parts)
    return Header(
        model.path,
        sum(part.stat().st_size for part in parts),
        name if isinstance(name, str) and name.strip() else model.path.stem,
        str(model.head.get("general.architecture") or ""),
        tuple(Tensor(item.name, item.dims, item.type_name, item.nbytes) for item in model.tensors.values()),
        parts,
    )
