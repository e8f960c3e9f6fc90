"""How many weights and bytes a block has: macros of ggml's headers as numbers, structs as their sizes."""

from __future__ import annotations

import re

from patcher.base.errors import ConflictError
from patcher.engine.anchors.constants import evaluate
from patcher.lift.tree_index import TreeIndex

CONSTANTS = "gguf-py/gguf/constants.py"
_COMMON = "ggml/src/ggml-common.h"


def of_type(tree: TreeIndex, upper: str, asked: str, block: str) -> tuple[int, int]:
    """(weights, bytes) of the struct ``block``, whose table says ``asked`` weights: as C has them, and as
    gguf-py does. Raises :class:`ConflictError` where they don't agree, or can't be told."""
    values = _Values(tree)
    weights, size = values.value(asked), values.size_of(block)
    constants = tree.source(CONSTANTS)
    said = re.search(
        rf"GGMLQuantizationType\.{upper}\s*:\s*\(([^,()]+),([^()]+)\)".encode(),
        constants.data if constants else b"",
    )
    if said is not None:
        known = {"QK_K": 256}
        theirs = tuple(evaluate(part.decode().replace("//", "/"), known) for part in said.groups())
        if None not in theirs:
            ours = (weights, size)
            if any(one is not None and one != other for one, other in zip(ours, theirs, strict=True)):
                raise ConflictError(
                    f"{tree.name}: {upper}: C says {weights} weights in {size} bytes, gguf-py says"
                    f" {theirs[0]} in {theirs[1]}: one is wrong"
                )
            weights, size = theirs
    if weights is None or size is None:
        raise ConflictError(
            f"{tree.name}: {upper}: looked for the block's weights and bytes, can't tell {block}'s"
        )
    return weights, size


_BYTES = {
    "ggml_half": 2,
    "ggml_fp16_t": 2,
    "ggml_half2": 4,
    "ggml_bf16_t": 2,
    "float": 4,
    "double": 8,
    "int": 4,
    "char": 1,
} | {f"{sign}int{bits}_t": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)}


class _Values:
    """Macros of the headers as numbers, and the sizes of structs that are plain lists of fields."""

    def __init__(self, tree: TreeIndex) -> None:
        self._source = tree.same(_COMMON)
        self._code = self._source.code.decode("utf-8", "replace") if self._source is not None else ""

    def value(self, text: str, depth: int = 0) -> int | None:
        """A constant expression over the header's macros; None where it can't be told."""
        if depth > 8:
            return None
        filled = re.sub(r"sizeof\s*\(\s*(\w+)\s*\)", lambda found: str(_BYTES.get(found[1], found[1])), text)
        known: dict[str, int | None] = {}
        for name in set(re.findall(r"[A-Za-z_]\w*", filled)):
            said = re.search(rf"(?m)^[ \t]*#[ \t]*define[ \t]+{name}[ \t]+([^\n]+)$", self._code)
            known[name] = self.value(said[1], depth + 1) if said is not None else None
        parts = [evaluate(part, known) for part in _divided(_bare(filled))]
        if None in parts or 0 in parts[1:]:
            return None
        whole = parts[0] or 0
        for part in parts[1:]:
            whole //= part or 1
        return whole

    def size_of(self, block: str) -> int | None:
        """The bytes of a struct of arrays and numbers; None where it holds another struct or a union."""
        found = re.search(rf"typedef\s+struct\s*(?:\w+\s*)?\{{([^{{}}]*)\}}\s*{block}\s*;", self._code)
        if found is None:
            return None
        total = 0
        for part in filter(None, (piece.strip() for piece in found[1].split(";"))):
            one = re.fullmatch(r"(\w+)\s+(\w+)\s*(?:\[(.+)\])?", part, re.DOTALL)
            count = self.value(one[3]) if one is not None and one[3] else 1
            if one is None or one[1] not in _BYTES or count is None:
                return None
            total += _BYTES[one[1]] * count
        return total


def _bare(text: str) -> str:
    """``text`` without parentheses around the whole of it."""
    text = text.strip()
    depth = 0
    for at, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return _bare(text[1:-1]) if text[:1] == "(" and at == len(text) - 1 else text
    return text


def _divided(text: str) -> list[str]:
    """``a/b`` as its parts, where the division is the last thing done; else the whole."""
    depth = 0
    for at in range(len(text) - 1, 0, -1):
        depth += (text[at] == ")") - (text[at] == "(")
        if depth == 0 and text[at] in "+-":
            return [text]
        if depth == 0 and text[at] == "/":
            return [*_divided(text[:at]), text[at + 1 :]]
    return [text]
