"""A small program with every shape that edits look for.

The program checks itself: compiled with the edits applied and run, it ends with 0 where the type is
treated as its sibling is in every place, and nothing else has changed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from patcher.engine.patchset import Edit, PatchSet, load

PATH = "types.c"
OTHER_PATH = "more/types.c"


@dataclass(frozen=True)
class Program:
    """A file, the edits that bring the type into it, and the judge of what comes out.

    ``paths`` are the names that the edits know it by. ``run`` takes a folder with the file in it, by one of
    them or another, and gives the check's exit code and "", or what the compiler said. ``sound`` is what the
    compiler says of the file by itself; a name of ours counts as known if the second argument is true.
    """

    text: str
    paths: tuple[str, ...]
    templates: Mapping[str, str]
    anchors: Mapping[str, tuple[str, Mapping[str, object]]]
    run: Callable[[Path], tuple[int, str]]
    sound: Callable[[Path, bool], str]

    def patchset(self, folder: Path) -> PatchSet:
        """The edits; their templates are written to ``folder``."""
        for name, text in self.templates.items():
            (folder / f"{name}.j2").write_text(text, encoding="utf-8")
        edits = tuple(
            Edit(name, "ggml", "for a test", self.paths, kind, anchor, f"{name}.j2")
            for name, (kind, anchor) in self.anchors.items()
        )
        return replace(load(), edits=edits, templates=folder)


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
#include FILE
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


def _gcc(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["gcc", "-std=gnu11", "-w", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def _file(folder: Path) -> Path:
    """The program's file: the first of its names, or whatever C file is there."""
    named = [folder / path for path in (PATH, OTHER_PATH)]
    return next(path for path in (*named, *folder.glob("*.c")) if path.is_file())


def _run(folder: Path) -> tuple[int, str]:
    (folder / "check.h").write_text(CHECK, encoding="utf-8")
    program = folder / "check"
    done = _gcc(f'-DFILE="{_file(folder)}"', "-I", folder, "-x", "c", folder / "check.h", "-o", program)
    if done.returncode != 0:
        return -1, done.stderr or "no message"
    return subprocess.run([str(program)], check=False).returncode, ""


def _sound(folder: Path, ours_is_known: bool) -> str:
    known = ["-DGGML_TYPE_Q8_A8=41"] if ours_is_known else []
    return _gcc("-fsyntax-only", "-I", folder, *known, _file(folder)).stderr


C = Program(PROGRAM, (PATH, OTHER_PATH), _TEMPLATES, _ANCHORS, _run, _sound)
