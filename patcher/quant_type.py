"""The facts of the quantization type, as ``patches/q8_a8.toml`` has them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from patcher.errors import PatcherError


@dataclass(frozen=True)
class QuantType:
    """One quantization type. The numbers are for ever: files in the wild carry them."""

    name: str  # ggml_type_name(), lower case: q8_a8
    upper: str  # the name in enumerators and in llama-quantize: Q8_A8
    sibling: str  # the upstream type whose block is laid out alike: q8_0
    id: int  # GGML_TYPE_<upper>
    ftype: int  # LLAMA_FTYPE_MOSTLY_<upper>
    ggml_ftype: int  # GGML_FTYPE_MOSTLY_<upper>
    block_size: int  # weights in a block
    type_size: int  # bytes in a block

    @property
    def bits_per_weight(self) -> float:
        """Bits that one weight takes in a file, its share of the scale included."""
        return 8 * self.type_size / self.block_size

    @classmethod
    def from_table(cls, table: dict[str, Any], where: str) -> QuantType:
        """Read the ``[type]`` table. Raises :class:`PatcherError` where a fact is missing or unknown."""
        wanted = {item.name: item.type for item in fields(cls)}
        wrong = sorted(set(wanted) ^ set(table))
        if wrong:
            raise PatcherError(f"{where}: [type] lacks or doesn't know {', '.join(wrong)}")
        return cls(**table)
