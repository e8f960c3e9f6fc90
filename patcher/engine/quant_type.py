"""The facts of a quantization type, as its file has them: ``patches/q8_a8.toml``, or a user's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from patcher.base.errors import ShippedFileError


@dataclass(frozen=True)
class QuantType:
    """One quantization type. The numbers are for ever: files in the wild carry them."""

    name: str  # ggml_type_name(), lower case: q8_a8
    upper: str  # the name in enumerators and in llama-quantize: Q8_A8
    sibling: str  # the upstream type that it is put beside, and audited against: q8_0
    id: int  # GGML_TYPE_<upper>
    ftype: int  # LLAMA_FTYPE_MOSTLY_<upper>
    ggml_ftype: int  # GGML_FTYPE_MOSTLY_<upper>
    block_size: int  # weights in a block
    type_size: int  # bytes in a block
    activations: str = "q8_0"  # the upstream type that activations have in its dot product
    description: str = ""  # a few words, for llama-quantize's help and ggml.h
    ftype_upper: str = (
        ""  # LLAMA_FTYPE_MOSTLY_<this>: upper, but for upstream's MXFP4, which files call MXFP4_MOE
    )

    @property
    def bits_per_weight(self) -> float:
        """Bits that one weight takes in a file, its share of the scale included."""
        return 8 * self.type_size / self.block_size

    @property
    def qk(self) -> str:
        """The macro that is the block's size, as ggml calls its own: QK8_A8, QK4_NL of IQ4_NL."""
        digits = re.search(r"\d\w*", self.upper)
        return f"QK{digits.group()}" if digits else f"QK_{self.upper}"

    @property
    def facts(self) -> dict[str, str | int]:
        """All that ``${...}`` may stand for in an edit."""
        own = {item.name: getattr(self, item.name) for item in fields(self)}
        return own | {
            "sibling_upper": self.sibling.upper(),
            "activations_upper": self.activations.upper(),
            "qk": self.qk,
        }

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str) -> QuantType:
        """Read the ``[type]`` table. Raises :class:`PatcherError` where a fact is missing or unknown.

        What follows from another fact may be left out: the upper-case name, the file types' numbers
        (the type's own), a description.
        """
        given = dict(table)
        if isinstance(given.get("name"), str):
            given.setdefault("upper", given["name"].upper())
        for number in ("ftype", "ggml_ftype"):
            if "id" in given:
                given.setdefault(number, given["id"])
        if isinstance(given.get("upper"), str):
            given.setdefault("ftype_upper", given["upper"])
        given.setdefault("sibling", "q8_0")
        known = {item.name for item in fields(cls)}
        needed = {item.name for item in fields(cls) if item.default is MISSING}
        wrong = sorted((needed - set(given)) | (set(given) - known))
        if wrong:
            raise ShippedFileError(
                f"{where}: [type]: looked for its facts, found {', '.join(wrong)} missing or unknown"
            )
        made = cls(**given)
        if made.description:
            return made
        return cls(**given | {"description": f"{made.bits_per_weight:.2f}-bit weights"})
