"""How many weights and bytes a block has: macros of ggml's headers as numbers, structs as their sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator

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
        theirs = tuple(evaluate(part.decode(), known) for part in said.groups())
        if None not in theirs:
            ours = (weights, size)
            if any(one is not None and one != other for one, other in zip(ours, theirs, strict=True)):
                raise ConflictError(
                    f"{tree.name}: {upper}: looked for one size of its block, found {weights} weights in"
                    f" {size} bytes in C, {theirs[0]} in {theirs[1]} in gguf-py",
                    hint="correct the one that is wrong in TREE, then lift again",
                )
            weights, size = theirs
    if weights is None or size is None:
        raise ConflictError(
            f"{tree.name}: {upper}: looked for the weights and bytes of {block}, can't tell them",
            hint=f"write them into GGML_QUANT_SIZES of TREE's {CONSTANTS}, where they are read too",
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


_DEEP = 8  # macros in macros, structs in structs
_HEAD = 200  # characters before a struct's brace that its typedef stands in
_INDEX = re.compile(r"\[([^\[\]]+)\]")
# of a field with one space wherever it has any, so that no run of them can be cut in two ways
_ARRAYS = r"(?P<behind>\w* ?(?:\[[^\[\]]+\] ?)*"
_NESTED = re.compile(
    r"(?:GGML_EXTENSION )?(?P<form>struct|union) ?(?:\w+ ?)?\{(?P<body>.*)\} ?" + _ARRAYS + ")"
)
_PLAIN = re.compile(r"(?:(?:const|volatile|struct|union) )*(?P<type>\w+) " + _ARRAYS + r"(?:,[^;{}]*)?)")


class _Values:
    """Macros of the headers as numbers, and the sizes of structs."""

    def __init__(self, tree: TreeIndex) -> None:
        self._source = tree.same(_COMMON)
        self._code = self._source.code.decode("utf-8", "replace") if self._source is not None else ""

    def value(self, text: str, depth: int = 0) -> int | None:
        """A constant expression over the header's macros; None where it can't be told."""
        if depth > _DEEP:
            return None
        filled = re.sub(r"sizeof\s*\(\s*(\w+)\s*\)", lambda found: str(_BYTES.get(found[1], found[1])), text)
        known: dict[str, int | None] = {}
        for name in set(re.findall(r"[A-Za-z_]\w*", filled)):
            said = re.search(rf"(?m)^[ \t]*#[ \t]*define[ \t]+{name}[ \t]+([^\n]+)$", self._code)
            known[name] = self.value(said[1], depth + 1) if said is not None else None
        return evaluate(filled.replace("/", "//"), known)  # of sizes: nothing is below zero

    def size_of(self, block: str) -> int | None:
        """The bytes of a struct as a compiler lays it out; None where a field's can't be told."""
        laid = self._struct(block, 0)
        return laid[0] if laid is not None else None

    def _struct(self, name: str, depth: int) -> tuple[int, int] | None:
        """(bytes, alignment) of the struct or union that a ``typedef`` calls ``name``."""
        end = re.search(rf"\}}\s*{re.escape(name)}\s*;", self._code)
        if end is None or depth > _DEEP:
            return None
        start, open_braces = end.start(), 1
        while start > 0 and open_braces:
            start -= 1
            open_braces += (self._code[start] == "}") - (self._code[start] == "{")
        words = self._code[max(0, start - _HEAD) : start].split()
        form = next((words[at] for at in (-1, -2) if words[at - 1 : at] == ["typedef"]), "")
        if form not in ("struct", "union") or re.search(
            r"(?m)^[ \t]*#[ \t]*pragma[ \t]+pack\b", self._code[:start]
        ):
            return None
        return self._laid_out(self._code[start + 1 : end.start()], form, depth)

    def _laid_out(self, body: str, form: str, depth: int) -> tuple[int, int] | None:
        """(bytes, alignment) of the fields in ``body``: those of a union all at its start."""
        size, widest = 0, 1
        for field in _parts(body, ";"):
            laid = self._field(field, depth)
            if laid is None:
                return None
            length, unit = laid
            widest = max(widest, unit)
            size = max(size, length) if form == "union" else _upwards(size, unit) + length
        return _upwards(size, widest), widest

    def _field(self, text: str, depth: int) -> tuple[int, int] | None:
        text = " ".join(text.split())
        nested = _NESTED.fullmatch(text)
        if nested is not None:
            laid, behind = self._laid_out(nested["body"], nested["form"], depth + 1), nested["behind"]
        else:
            plain = _PLAIN.fullmatch(text)
            if plain is None:
                return None
            unit = _BYTES.get(plain["type"])
            laid = (unit, unit) if unit is not None else self._struct(plain["type"], depth + 1)
            behind = plain["behind"]
        if laid is None:
            return None
        many = 0
        for one in _parts(behind, ","):
            count = 1
            for index in _INDEX.findall(one):
                said = self.value(index)
                if said is None:
                    return None
                count *= said
            many += count
        return max(many, 1) * laid[0], laid[1]


def _parts(text: str, sign: str) -> Iterator[str]:
    """``text`` between the ``sign`` outside of all braces and brackets; none that is blank."""
    depth, start = 0, 0
    for at, char in enumerate(f"{text}{sign}"):
        depth += (char in "{[(") - (char in "}])")
        if char == sign and not depth:
            if text[start:at].strip():
                yield text[start:at].strip()
            start = at + 1


def _upwards(size: int, unit: int) -> int:
    """``size``, or the next multiple of ``unit``."""
    return -(-size // unit) * unit
