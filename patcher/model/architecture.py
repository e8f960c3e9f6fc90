"""What is known of each architecture: ``patches/architectures.toml``, checked and typed.

Architectures are data. An unknown one is refused, because a factor that is folded into a norm that something
else reads too changes the model silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from patcher.base import toml
from patcher.base.errors import ShippedFileError, UsageError
from patcher.base.resources import resource_dir

PRODUCERS = ("norm", "value", "product")
PARTS = ("", "last-value-heads", "second-half")
NEVER = ("attn_q", "attn_k")  # a rotary embedding or a norm stands behind them


@dataclass(frozen=True)
class FoldRule:
    """A fold, for every layer that has its tensors; see the table's head for the words."""

    id: str
    producer_role: str  # the table's ``kind``
    producer: str
    consumers: tuple[str, ...]
    part: str = ""


@dataclass(frozen=True)
class ModelArchitecture:
    """What may be folded in the models of ``names``, and what is left alone."""

    names: tuple[str, ...]
    folds: tuple[FoldRule, ...]
    untouched: tuple[str, ...]
    zero: tuple[str, ...]
    head: tuple[str, ...] = ()

    @property
    def known(self) -> frozenset[str]:
        """The names of all tensors that a layer may have."""
        folded = {name for fold in self.folds for name in (fold.producer, *fold.consumers)}
        return frozenset(folded | set(self.untouched))


@cache
def load(path: Path | None = None) -> dict[str, ModelArchitecture]:
    """Every declared architecture by name. Raises :class:`PatcherError` where the table is malformed."""
    path = path or resource_dir("patches") / "architectures.toml"
    try:
        document = toml.loads(path.read_text(encoding="utf-8"))
        found = [_architecture(table, path.name) for table in document["architecture"]]
    except (OSError, toml.TOMLDecodeError, KeyError, TypeError) as why:
        raise ShippedFileError(f"{path}: malformed ({why})") from why
    by_name: dict[str, ModelArchitecture] = {}
    for architecture in found:
        for name in architecture.names:
            if name in by_name:
                raise ShippedFileError(f"{path}: '{name}' is declared twice")
            by_name[name] = architecture
    return by_name


def find(
    name: str, model: Path, declared: Mapping[str, ModelArchitecture] | None = None
) -> ModelArchitecture:
    """The architecture called ``name``. Raises :class:`UsageError` that says what to declare."""
    declared = load() if declared is None else declared
    if name not in declared:
        raise UsageError(
            f"{model}: architecture '{name}' is not declared, known are {', '.join(sorted(declared))}",
            hint=f'add an [[architecture]] with names = ["{name}"] to patches/architectures.toml: for each'
            " norm, value projection and gated product its producer and every tensor that reads it, and the"
            " layer's other tensors as untouched",
        )
    return declared[name]


def _architecture(table: dict[str, Any], where: str) -> ModelArchitecture:
    names = tuple(table.pop("names"))
    rules = tuple(_rule(rule, where, names[0]) for rule in table.pop("fold"))
    untouched, zero, head = (tuple(table.pop(key, ())) for key in ("untouched", "zero", "head"))
    if table:
        raise ShippedFileError(f"{where}: {names[0]}: unknown key '{next(iter(table))}'")
    return ModelArchitecture(names, rules, untouched, zero, head)


def _rule(table: dict[str, Any], where: str, name: str) -> FoldRule:
    rule = FoldRule(consumers=tuple(table.pop("consumers")), producer_role=table.pop("kind"), **table)
    if rule.producer_role not in PRODUCERS or rule.part not in PARTS:
        raise ShippedFileError(
            f"{where}: {name}: fold '{rule.id}': unknown kind '{rule.producer_role}' or part '{rule.part}'"
        )
    if rule.producer in NEVER:
        raise ShippedFileError(
            f"{where}: {name}: '{rule.producer}' can't be a producer: rope and norms stand behind it"
        )
    if not rule.consumers or rule.producer in rule.consumers:
        raise ShippedFileError(f"{where}: {name}: fold '{rule.id}' has no consumers, or itself as one")
    return rule
