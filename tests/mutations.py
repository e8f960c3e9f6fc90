"""A small program with every shape that edits look for, and the ways in which an upstream may change it.

The program checks itself: compiled with the edits applied and run, it ends with 0 where the type is
treated as its sibling is in every place, and nothing else has changed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from patcher.patchset import Edit, PatchSet, load

PATH = "types.c"
PROGRAM = """\
#include <stddef.h>
#include <string.h>

enum ggml_type {
    GGML_TYPE_F32     = 0,
    GGML_TYPE_Q8_0    = 8, // eight bits
    GGML_TYPE_Q2_0    = 42,
    GGML_TYPE_COUNT   = 43,
};

struct traits {
    const char * name;
    int          block;
};

static const struct traits type_traits[GGML_TYPE_COUNT] = {
    [GGML_TYPE_F32] = {
        .name  = "f32",
        .block = 1,
    },
    [GGML_TYPE_Q8_0] = {
        .name  = "q8_0",
        .block = 32,
    },
};

static const enum ggml_type all_types[] = {
    GGML_TYPE_F32,
    GGML_TYPE_Q8_0,
    GGML_TYPE_Q2_0,
};

int quantize_q8_0(int x) {
    return x/2;
}

static int op_add(enum ggml_type type) {
    switch (type) {
        case GGML_TYPE_F32:
            return 1;
        case GGML_TYPE_Q2_0:
        case GGML_TYPE_Q8_0:
            return 2;
        default:
            return 0;
    }
}

static int op_set(enum ggml_type type) {
    int result = 0;
    switch (type) {
        case GGML_TYPE_Q8_0: {
            result = 3;
        } break;
        case GGML_TYPE_Q2_0:
            {
                result = 4;
            } break;
        case GGML_TYPE_F32:
        default:
            result = 5;
    }
    return result;
}

static int is_fast(enum ggml_type type) {
    return (type == GGML_TYPE_Q2_0) ||
        (type == GGML_TYPE_Q8_0);
}
"""
CHECK = """\
#include "types.c"
#define TYPE(n) ((enum ggml_type) (n))
int main(void) {
    int listed = 0;
    for (size_t i = 0; i < sizeof(all_types)/sizeof(all_types[0]); i++) listed += (int) all_types[i] == 120;
    if (listed != 1) return 1;
    if (GGML_TYPE_COUNT != 121) return 2;
    if (sizeof(type_traits)/sizeof(type_traits[0]) < 121) return 3;
    if (!type_traits[120].name || strcmp(type_traits[120].name, "q8_a8") || type_traits[120].block != 32) return 4;
    if (strcmp(type_traits[8].name, "q8_0") || strcmp(type_traits[0].name, "f32")) return 5;
    if (op_add(TYPE(120)) != op_add(TYPE(8)) || op_add(TYPE(0)) != 1 || op_add(TYPE(42)) != 2) return 6;
    if (op_set(TYPE(120)) != op_set(TYPE(8)) || op_set(TYPE(0)) != 5 || op_set(TYPE(42)) != 4) return 7;
    if (!is_fast(TYPE(120)) || !is_fast(TYPE(8)) || is_fast(TYPE(0)) || op_add(TYPE(99)) != 0) return 8;
    return quantize_q8_a8(8) == 4 && quantize_q8_0(8) == 4 ? 0 : 9;
}
"""
_TEMPLATES = {
    "type": "GGML_TYPE_Q8_A8\t= 120,\n",
    "count": "{{ site.count }}\n",
    "traits": '[GGML_TYPE_Q8_A8] = {\n    .name  = "q8_a8",\n    .block = 32,\n},\n',
    "list": "{{ ', ' if site.inline is defined }}GGML_TYPE_Q8_A8{{ ',' if site.inline is not defined }}\n",
    "quantize": "int quantize_q8_a8(int x) {\n    return x/2;\n}\n",
    "case": "case GGML_TYPE_Q8_A8:\n",
    "fast": "{{ site.open }}{{ site.expr }} || {{ site.left }} == GGML_TYPE_Q8_A8{{ site.close }}\n",
}
_OURS = "GGML_TYPE_Q8_A8"
_ANCHORS: dict[str, tuple[str, dict[str, object]]] = {
    "type": ("enumerator", {"enum": "ggml_type", "ours": _OURS, "value": 120, "before": "GGML_TYPE_COUNT"}),
    "count": ("enum-count", {"enum": "ggml_type", "count": "GGML_TYPE_COUNT", "ours": _OURS, "value": 120}),
    "traits": ("table", {"table": "type_traits", "key": "GGML_TYPE_Q8_0", "ours": _OURS}),
    "list": ("element", {"variable": "all_types", "mentions": "GGML_TYPE_Q8_0", "ours": _OURS}),
    "quantize": ("function", {"names": ["quantize_q8_0"], "ours": "quantize_q8_a8"}),
    "case": ("case", {"label": "GGML_TYPE_Q8_0", "ours": _OURS, "owners": ["op_add", "op_set"]}),
    "fast": ("comparison", {"left": "type", "right": "GGML_TYPE_Q8_0", "ours": _OURS, "owners": ["is_fast"]}),
}


def patchset(folder: Path) -> PatchSet:
    """The edits that bring the type into the program; their templates are written to ``folder``."""
    for name, text in _TEMPLATES.items():
        (folder / f"{name}.j2").write_text(text, encoding="utf-8")
    edits = tuple(
        Edit(name, "ggml", "for a test", (PATH,), kind, anchor, f"{name}.j2")
        for name, (kind, anchor) in _ANCHORS.items()
    )
    return replace(load(), edits=edits, templates=folder)


@dataclass(frozen=True)
class Mutation:
    """One way to change the program. ``lands``: a human would still know where every edit goes."""

    name: str
    change: Callable[[bytes], bytes]
    lands: bool


def _sub(name: str, pattern: str, to: str, *, lands: bool, count: int = 0) -> Mutation:
    def change(data: bytes) -> bytes:
        return re.sub(pattern.encode(), to.encode(), data, count=count, flags=re.MULTILINE)

    return Mutation(name, change, lands)


def _around(function: str) -> str:
    return rf"^static int {function}\(.*?^\}}$"


_SWITCH = rb"    switch \(type\) \{.*?\n    \}\n"

MUTATIONS: tuple[Mutation, ...] = (
    _sub("as it is", "$^", "", lands=True),
    _sub("tabs", r"^( {4})+", "\t", lands=True),
    _sub("two spaces", r"^    ", "  ", lands=True),
    _sub("no indent", r"^ +", "", lands=True),
    Mutation("CRLF", lambda data: data.replace(b"\n", b"\r\n"), True),
    Mutation("BOM", lambda data: b"\xef\xbb\xbf" + data, True),
    Mutation("no final newline", lambda data: data.rstrip(b"\n"), True),
    Mutation("blank lines", lambda data: data.replace(b";\n", b";\n\n"), True),
    _sub("trailing white space", r"$", "  ", lands=True),
    _sub("trailing comments", r"([,;:{])$", r"\1 // why", lands=True),
    _sub("block comments", r"([,;:{])$", r"\1 /* GGML_TYPE_Q8_0 */", lands=True),
    _sub("bytes that are no text", r"^static", "// \\\\xff\nstatic", lands=True),
    _sub("hexadecimal count", r"COUNT   = 43", "COUNT   = 0x2B", lands=True),
    _sub("octal count", r"COUNT   = 43", "COUNT   = 053", lands=False),
    _sub("count in parentheses", r"COUNT   = 43", "COUNT   = (43)", lands=False),
    _sub("count without a number", r"COUNT   = 43", "COUNT", lands=True),
    _sub("count without a comma", r"COUNT   = 43,", "COUNT   = 43", lands=True),
    _sub("hexadecimal values", r"= 42", "= 0x2a", lands=True),
    _sub("values in parentheses", r"= 42", "= (42)", lands=True),
    _sub("reordered enumerators", r"^(    GGML_TYPE_Q8_0.*\n)(    GGML_TYPE_Q2_0.*\n)", r"\2\1", lands=True),
    _sub("enumerators on one line", r",( // eight bits)?\n    GGML_TYPE_Q2_0", ", GGML_TYPE_Q2_0", lands=True),
    _sub("enum brace on its own line", r"enum ggml_type \{", "enum ggml_type\n{", lands=True),
    _sub("typedef enum", r"^enum ggml_type \{", "typedef int number;\nenum ggml_type {", lands=True),
    _sub("enum renamed", r"enum ggml_type", "enum ggml_kind", lands=False),
    _sub("number taken", r"= 42", "= 120", lands=False),
    _sub("enumerator commented out above", r"^    GGML_TYPE_Q2_0", "    // GGML_TYPE_GONE = 41,\n    GGML_TYPE_Q2_0", lands=True),
    _sub("sibling talked about", r"^static int", "// case GGML_TYPE_Q8_0: see [GGML_TYPE_Q8_0]\nstatic int", lands=True),
    _sub("sibling in a string", r"^int quantize", 'const char * note = "case GGML_TYPE_Q8_0: type == GGML_TYPE_Q8_0 {";\nint quantize', lands=True),
    _sub("ours in a comment", r"^static int", "// not yet: case GGML_TYPE_Q8_A8:\nstatic int", lands=True),
    _sub("ours in a string", r"^int quantize", 'const char * note = "GGML_TYPE_Q8_A8 = 120";\nint quantize', lands=True),
    _sub("a case commented out", r"^( +)case GGML_TYPE_Q8_0:$", r"\1// case GGML_TYPE_Q8_0:", lands=False),
    # under the same condition as its sibling
    _sub("a case in #if 0", r"^( +)case GGML_TYPE_Q8_0:$", "#if 0\n\\1case GGML_TYPE_Q8_0:\n#endif", lands=True),
    _sub("a case in #if 1", r"^( +)case GGML_TYPE_Q8_0:$", "#if 1\n\\1case GGML_TYPE_Q8_0:\n#endif", lands=True),
    _sub("a case in #ifdef", r"^( +)case GGML_TYPE_Q8_0:$", "#ifndef GONE\n\\1case GGML_TYPE_Q8_0:\n#endif", lands=True),
    _sub("another function in #if 0", r"^static int op_add", "#if 0\nstatic int op_old(int t) { switch (t) { case GGML_TYPE_Q8_0: return 1; } return 0; }\n#endif\nstatic int op_add", lands=True),
    _sub("a case by macro", r"^( +)case GGML_TYPE_Q8_0:$", r"\1CASE(GGML_TYPE_Q8_0)", lands=False),
    _sub("the switch by macro", r"switch \(type\) \{", "SWITCH(type) {", lands=False),
    _sub("spaces before the colon", r"case GGML_TYPE_Q8_0:", "case GGML_TYPE_Q8_0 :", lands=True),
    _sub("spaces behind case", r"case GGML_TYPE_Q8_0:", "case  GGML_TYPE_Q8_0:", lands=True),
    _sub("a case in parentheses", r"case GGML_TYPE_Q8_0:", "case (GGML_TYPE_Q8_0):", lands=False),
    _sub("a case by number", r"case GGML_TYPE_Q8_0:", "case 8:", lands=False),
    _sub("joined labels", r"case GGML_TYPE_Q2_0:\n +case GGML_TYPE_Q8_0:", "case GGML_TYPE_Q2_0: case GGML_TYPE_Q8_0:", lands=True),
    _sub("labels joined the other way", r"case GGML_TYPE_Q2_0:\n +case GGML_TYPE_Q8_0:", "case GGML_TYPE_Q8_0: case GGML_TYPE_Q2_0:", lands=True),
    _sub("statement behind the label", r"case GGML_TYPE_Q8_0:\n +return 2;", "case GGML_TYPE_Q8_0: return 2;", lands=True),
    _sub("label alone, brace below", r"case GGML_TYPE_Q8_0: \{", "case GGML_TYPE_Q8_0:\n        {", lands=True),
    _sub("comment between label and statement", r"case GGML_TYPE_Q8_0:$", "case GGML_TYPE_Q8_0:\n            // the fast one", lands=True),
    _sub("sibling first in its group", r"( +)case GGML_TYPE_Q2_0:\n +case GGML_TYPE_Q8_0:", r"\1case GGML_TYPE_Q8_0:\n\1case GGML_TYPE_Q2_0:", lands=True),
    _sub("a nested switch", r"^            return 2;", "            switch (type) { default: return 2; }", lands=True),
    _sub("a second switch in the function", r"^    int result = 0;", "    int result = 0;\n    switch (type) { case GGML_TYPE_Q8_0: result = 1; break; default: break; }", lands=True),
    _sub("a label of its own", r"case GGML_TYPE_Q2_0:\n +case GGML_TYPE_Q8_0:\n", "case GGML_TYPE_Q2_0:\n            return 2;\n        case GGML_TYPE_Q8_0:\n", lands=True),
    _sub("function renamed", r"op_add", "op_plus", lands=False),
    _sub("a function of tomorrow", r"^static int is_fast", "int late(int t) { switch (t) { case GGML_TYPE_Q8_0: return 1; default: return 0; } }\nstatic int is_fast", lands=True),
    _sub("function on two lines", r"^static int op_add", "static int\nop_add", lands=True),
    _sub("brace on its own line", r"\(enum ggml_type type\) \{", "(enum ggml_type type)\n{", lands=True),
    _sub("attributes", r"^static int op", "__attribute__((noinline)) static int op", lands=True),
    _sub("an anchor that returns a pointer", r"^int quantize_q8_0\(int x\) \{", "int quantize_q8_0(int x) { /* } */", lands=True),
    _sub("declared before it is defined", r"^struct traits", "int quantize_q8_0(int x);\nstruct traits", lands=True),
    _sub("quantize renamed", r"quantize_q8_0", "quantize_row_q8_0", lands=False),
    _sub("entries on one line", r"\{\n        \.name  = \"q8_0\",\n        \.block = 32,\n    \}", '{ .name = "q8_0", .block = 32, }', lands=True),
    _sub("no comma behind the last entry", r"(\.block = 32,\n    \}),", r"\1", lands=False),
    _sub("entry by number", r"\[GGML_TYPE_Q8_0\]", "[8]", lands=False),
    _sub("spaces in the designator", r"\[GGML_TYPE_Q8_0\] =", "[ GGML_TYPE_Q8_0 ] =", lands=True),
    _sub("a second table", r"^static const enum", "static const int sizes[GGML_TYPE_COUNT] = { [GGML_TYPE_Q8_0] = 34, };\nstatic const enum", lands=True),
    _sub("entry twice", r"(    \[GGML_TYPE_Q8_0\] = \{(?:.|\n)*?\n    \},\n)", r"\1\1", lands=False),
    _sub("table renamed", r"type_traits", "traits_of", lands=False),
    _sub("list on one line", r"\{\n    GGML_TYPE_F32,\n    GGML_TYPE_Q8_0,\n    GGML_TYPE_Q2_0,\n\}", "{ GGML_TYPE_F32, GGML_TYPE_Q8_0, GGML_TYPE_Q2_0, }", lands=True),
    _sub("sibling last in the list, no comma", r"    GGML_TYPE_Q8_0,\n    GGML_TYPE_Q2_0,\n\}", "    GGML_TYPE_Q2_0,\n    GGML_TYPE_Q8_0\n}", lands=True),
    _sub("list with cast", r"^    GGML_TYPE_Q8_0,$", "    (enum ggml_type) GGML_TYPE_Q8_0,", lands=True),
    _sub("sibling twice in the list", r"^    GGML_TYPE_Q2_0,\n\}", "    GGML_TYPE_Q8_0,\n    GGML_TYPE_Q2_0,\n}", lands=False),
    _sub("list renamed", r"all_types", "every_type", lands=False),
    _sub("comparison turned around", r"\(type == GGML_TYPE_Q8_0\)", "(GGML_TYPE_Q8_0 == type)", lands=False),
    _sub("comparison without parentheses", r"\(type == GGML_TYPE_Q8_0\)", "type == GGML_TYPE_Q8_0", lands=True),
    _sub("comparison on one line", r"\|\|\n +", "|| ", lands=True),
    _sub("comparison through a variable", r"\(type == GGML_TYPE_Q8_0\)", "(kind == GGML_TYPE_Q8_0)", lands=False),
    _sub("comparison negated", r"return \(type == GGML_TYPE_Q2_0\) \|\|\n +\(type == GGML_TYPE_Q8_0\)", "return !(type != GGML_TYPE_Q2_0 &&\n        type != GGML_TYPE_Q8_0)", lands=False),
)  # fmt: skip

# harmless in themselves: with any other, what holds for the other alone must hold
STYLES = (
    "tabs",
    "two spaces",
    "no indent",
    "CRLF",
    "BOM",
    "no final newline",
    "trailing comments",
    "blank lines",
)


def combinations() -> Iterator[tuple[Mutation, ...]]:
    """Every mutation by itself, then each with some of the styles: more than two hundred."""
    by_name = {mutation.name: mutation for mutation in MUTATIONS}
    for mutation in MUTATIONS:
        yield (mutation,)
    styles = itertools.cycle(STYLES)
    for mutation in MUTATIONS[1:]:
        if mutation.name in STYLES:
            continue
        for _ in range(3):
            yield (mutation, by_name[next(styles)])


def name_of(mutations: tuple[Mutation, ...]) -> str:
    """What a table calls it."""
    return " + ".join(mutation.name for mutation in mutations)


def mutated(mutations: tuple[Mutation, ...]) -> bytes:
    """The program, changed."""
    data = PROGRAM.encode()
    for mutation in mutations:
        data = mutation.change(data)
    return data
