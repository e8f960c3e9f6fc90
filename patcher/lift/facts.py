"""What a type is, out of the code of the tree that has it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from patcher.base.errors import ConflictError, UsageError
from patcher.engine.anchors import AnchorError
from patcher.engine.anchors.constants import evaluate
from patcher.engine.anchors.enums import members_of
from patcher.lift.tree_index import TreeIndex

_GGML_H, _GGML_C, _LLAMA_H = "ggml/include/ggml.h", "ggml/src/ggml.c", "include/llama.h"
_CPU_C, _COMMON, _CONSTANTS = (
    "ggml/src/ggml-cpu/ggml-cpu.c",
    "ggml/src/ggml-common.h",
    "gguf-py/gguf/constants.py",
)
_QUANT, _QUANTIZE = "src/llama-quant.cpp", ("tools/quantize/quantize.cpp", "examples/quantize/quantize.cpp")
_ACTIVATIONS = ("q8_0", "q8_1", "q8_K")


@dataclass(frozen=True)
class Facts:
    """A type as a tree has it. A number that it has none of is None."""

    name: str
    upper: str
    id: int
    block_size: int
    type_size: int
    block: str  # the struct
    activations: str
    vec_dot: str | None
    ggml_ftype: int | None
    ftype: int | None
    ftype_upper: str
    description: str
    help: str | None
    requires_imatrix: bool
    gguf_py: bool  # its twin in gguf-py's enum
    gguf_py_class: bool
    sibling: str = "q8_0"
    notes: tuple[str, ...] = field(default=())

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self) | {"notes": list(self.notes)}

    @property
    def word(self) -> re.Pattern[str]:
        """The type's name in a name: quantize_row_q1_0, block_q1_0, GGML_TYPE_Q1_0; not TQ1_0."""
        return name_pattern(self.name, self.upper)


def name_pattern(name: str, upper: str, longer: tuple[str, ...] = ()) -> re.Pattern[str]:
    """Words that carry the type's name between ``_`` or at an end; ``longer`` are other types' names."""
    not_behind = "".join(
        f"(?!{re.escape(other[len(name) :])})" for other in longer if other.startswith(name) and other != name
    )
    return re.compile(
        rf"\b(?:\w*_)?(?:{re.escape(name)}|{re.escape(upper)}){not_behind}(?![A-Za-z0-9])\w*|\bQK_?{re.escape(_size(upper))}(?![A-Za-z0-9])\w*"
    )


def _size(upper: str) -> str:
    digits = re.fullmatch(r"I?Q(\d\w*)", upper)
    return digits[1] if digits is not None else upper


def enum(index: TreeIndex, path: str, name: str) -> dict[str, int]:
    """The enumerators of ``name`` in ``path`` whose value can be told; none where there is no such enum."""
    source = index.same(path)
    if source is None:
        return {}
    try:
        return {member: value for member, value, _, _ in members_of(source, name)}
    except AnchorError:
        return {}


def new_types(tree: TreeIndex, base: TreeIndex) -> dict[str, int]:
    """GGML_TYPE_… -> its number: what ``tree`` has and ``base`` hasn't."""
    there, before = enum(tree, _GGML_H, "ggml_type"), enum(base, _GGML_H, "ggml_type")
    for index, found in ((tree, there), (base, before)):
        if not found:
            raise UsageError(f"{index.name}: looked for enum ggml_type in {_GGML_H}, found none")
    return {
        name: value for name, value in there.items() if name not in before and not name.endswith("_COUNT")
    }


def read(tree: TreeIndex, upper: str) -> Facts:
    """The facts of GGML_TYPE_``upper``. Raises :class:`ConflictError` where one can't be told."""
    number = enum(tree, _GGML_H, "ggml_type")[f"GGML_TYPE_{upper}"]
    traits = _entry(tree, _GGML_C, upper)
    name = _first(r'\.type_name\s*=\s*"([^"]+)"', traits)
    block = _first(r"\.type_size\s*=\s*sizeof\s*\(\s*(\w+)\s*\)", traits)
    if name is None or block is None:
        raise ConflictError(
            f"{tree.name}: GGML_TYPE_{upper}: looked for its name and its block in type_traits ({_GGML_C}),"
            f" found {'none' if not traits else 'an entry without them'}",
            hint="a type without traits, or with a plain C type for its block, can't be lifted",
        )
    cpu = _entry(tree, _CPU_C, upper)
    partner = (_first(r"\.vec_dot_type\s*=\s*GGML_TYPE_(\w+)", cpu) or "Q8_0").replace("Q", "q", 1)
    notes: list[str] = []
    if partner not in _ACTIVATIONS:
        notes.append(f"vec_dot takes {partner}, which the sets of edits don't know; its text says so itself")
        partner = "q8_0"
    block_size, type_size = _sizes(tree, upper, traits, block)
    files, ggml_files = enum(tree, _LLAMA_H, "llama_ftype"), enum(tree, _GGML_H, "ggml_ftype")
    called = _mapped(
        tree,
        _QUANT,
        rf"case\s+LLAMA_FTYPE_MOSTLY_(\w+)\s*:\s*(?:return|default_type\s*=)\s*GGML_TYPE_{upper}\b",
    )
    said = next((one for one in called if one == upper), called[0] if called else upper)
    option = next((found for path in _QUANTIZE if (found := _option(tree, path, said))), None)
    constants = tree.source(_CONSTANTS)
    python = constants.data.decode("utf-8", "replace") if constants is not None else ""
    quants = tree.source("gguf-py/gguf/quants.py")
    return Facts(
        name=name,
        upper=upper,
        id=number,
        block_size=block_size,
        type_size=type_size,
        block=block,
        activations=partner,
        vec_dot=_first(r"\.vec_dot\s*=\s*(\w+)", cpu),
        ggml_ftype=ggml_files.get(f"GGML_FTYPE_MOSTLY_{upper}"),
        ftype=files.get(f"LLAMA_FTYPE_MOSTLY_{said}"),
        ftype_upper=said,
        description=_described(option, block_size, type_size),
        help=option,
        requires_imatrix=_requires_imatrix(tree, upper),
        gguf_py=re.search(rf"(?m)^ +{upper} *= *{number}\b", python) is not None,
        gguf_py_class=quants is not None
        and re.search(rf"(?m)^class {upper}\(".encode(), quants.data) is not None,
        notes=tuple(notes),
    )


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found is not None else None


def _entry(tree: TreeIndex, path: str, upper: str) -> str:
    """The text between the braces of ``[GGML_TYPE_upper] = {...}``; nothing where there is none."""
    source = tree.same(path)
    if source is None:
        return ""
    opened = re.search(rf"\[\s*GGML_TYPE_{upper}\s*\]\s*=\s*\{{".encode(), source.code)
    if opened is None:
        return ""
    end = source.code.find(b"}", opened.end())
    return source.spoken[opened.end() : end].decode("utf-8", "replace")


def functions(tree: TreeIndex, kind: Facts) -> list[str]:
    """The functions of the type's own that its entries in ggml's and the CPU backend's tables name."""
    said = " ".join(_entry(tree, path, kind.upper) for path in (_GGML_C, _CPU_C))
    names = re.findall(r"=\s*(?:\(\s*\w+\s*\)\s*)?([A-Za-z_]\w*)\s*(?:,|$)", said)
    return [name for name in dict.fromkeys(names) if kind.word.fullmatch(name) and not name.isupper()]


def home_of(tree: TreeIndex, name: str) -> str | None:
    """The file of ggml that defines the function ``name``; None where none does."""
    wanted = re.compile(rf"\b{re.escape(name)}\s*\([^;{{}}]*\)\s*\{{".encode())
    for path in tree.files:
        if path.startswith("ggml/src/") and path.endswith((".c", ".cpp", ".h")):
            source = tree.source(path)
            found = wanted.search(source.code) if source is not None else None
            if source is not None and found is not None:
                return f"{path}:{source.line_number(found.start())}"
    return None


def _mapped(tree: TreeIndex, path: str, pattern: str) -> list[str]:
    source = tree.source(path)
    return re.findall(pattern, source.code.decode("utf-8", "replace")) if source is not None else []


def _option(tree: TreeIndex, path: str, called: str) -> str | None:
    source = tree.source(path)
    if source is None:
        return None
    found = re.search(
        rf'\bLLAMA_FTYPE_MOSTLY_{called}\s*,\s*"([^"]*)"', source.spoken.decode("utf-8", "replace")
    )
    return found[1].strip() if found is not None else None


def _described(option: str | None, block_size: int, type_size: int) -> str:
    plain = re.sub(r'["\\*/\x00-\x1f]', " ", option or "").strip()[:60].strip()
    return plain or f"{8 * type_size / block_size:.2f}-bit weights"


def _requires_imatrix(tree: TreeIndex, upper: str) -> bool:
    source = tree.same(_GGML_C)
    for one in tree.defined(_GGML_C, "ggml_quantize_requires_imatrix"):
        if source is not None and re.search(
            rf"\bGGML_TYPE_{upper}\b".encode(), source.code[one.start : one.end]
        ):
            return True
    return False


def _sizes(tree: TreeIndex, upper: str, traits: str, block: str) -> tuple[int, int]:
    """(weights, bytes) of a block: as C says them, and as gguf-py does; they have to agree."""
    values = _Values(tree)
    asked = _first(r"\.blck_size\s*=\s*([^,\n]+)", traits) or ""
    weights, size = values.value(asked), values.size_of(block)
    constants = tree.source(_CONSTANTS)
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
            said = _first(rf"(?m)^[ \t]*#[ \t]*define[ \t]+{name}[ \t]+([^\n]+)$", self._code)
            known[name] = self.value(said, depth + 1) if said is not None else None
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
