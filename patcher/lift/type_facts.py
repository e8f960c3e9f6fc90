"""What a type is, out of the code of the tree that has it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from patcher.base.errors import ConflictError, UsageError
from patcher.engine.anchors import AnchorError
from patcher.engine.anchors.enums import members_of
from patcher.lift import block_sizes
from patcher.lift.tree_index import TreeIndex

_GGML_H, _GGML_C, _LLAMA_H = "ggml/include/ggml.h", "ggml/src/ggml.c", "include/llama.h"
_CPU_C = "ggml/src/ggml-cpu/ggml-cpu.c"
_QUANT, _QUANTIZE = "src/llama-quant.cpp", ("tools/quantize/quantize.cpp", "examples/quantize/quantize.cpp")
_ACTIVATIONS = ("q8_0", "q8_1", "q8_K")


@dataclass(frozen=True)
class TypeFacts:
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
            raise UsageError(
                f"{index.name}: looked for enum ggml_type in {_GGML_H}, found none",
                hint="name a llama.cpp checkout whose header is whole: 'git checkout -- FILE' puts it back",
            )
    return {
        name: value for name, value in there.items() if name not in before and not name.endswith("_COUNT")
    }


def read(tree: TreeIndex, upper: str) -> TypeFacts:
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
    weights = _first(r"\.blck_size\s*=\s*([^,\n]+)", traits) or ""
    block_size, type_size = block_sizes.of_type(tree, upper, weights, block)
    files, ggml_files = enum(tree, _LLAMA_H, "llama_ftype"), enum(tree, _GGML_H, "ggml_ftype")
    called = _mapped(
        tree,
        _QUANT,
        rf"case\s+LLAMA_FTYPE_MOSTLY_(\w+)\s*:\s*(?:return|default_type\s*=)\s*GGML_TYPE_{upper}\b",
    )
    said = next((one for one in called if one == upper), called[0] if called else upper)
    option = next((found for path in _QUANTIZE if (found := _option(tree, path, said))), None)
    constants = tree.source(block_sizes.CONSTANTS)
    python = constants.data.decode("utf-8", "replace") if constants is not None else ""
    quants = tree.source("gguf-py/gguf/quants.py")
    return TypeFacts(
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


def functions(tree: TreeIndex, facts: TypeFacts) -> list[str]:
    """The functions of the type's own that its entries in ggml's and the CPU backend's tables name, and that
    its case in ``ggml_quantize_chunk`` calls.
    """
    said = " ".join(_entry(tree, path, facts.upper) for path in (_GGML_C, _CPU_C))
    names = re.findall(r"=\s*(?:\(\s*\w+\s*\)\s*)?([A-Za-z_]\w*)\s*(?:,|$)", said)
    source = tree.same(_GGML_C)
    for one in tree.defined(_GGML_C, "ggml_quantize_chunk") if source is not None else ():
        body = source.code[one.start : one.end].decode("utf-8", "replace") if source is not None else ""
        names += re.findall(rf"\bcase\s+GGML_TYPE_{facts.upper}\s*:[^;:]*?=\s*(\w+)\s*\(", body)
    return [name for name in dict.fromkeys(names) if facts.word.fullmatch(name) and not name.isupper()]


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
