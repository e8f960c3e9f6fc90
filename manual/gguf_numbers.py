"""Which tree gave which number of GGUF's tensor types to what: facts, read from trees' own headers.

``python -m manual.gguf_numbers NAME=GIT_DIR ...`` reads the head of each git directory, and writes
``patches/gguf-numbers.json``; ``--keep`` adds to what is there. Of each type it takes the name, the number,
the weights and bytes of a block, and where in the block half floats lie. A C compiler and ``nm`` say how
large a block is: nothing of a tree is run.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from patcher.base.resources import resource_dir

FIRST = 31  # numbers below have meant the same in every tree since 2024
HEADERS = ("ggml/include/ggml.h", "ggml.h", "ggml/src/ggml.h")
COMMON = ("ggml/src/ggml-common.h", "ggml-common.h")
TRAITS = ("ggml/src/ggml.c", "ggml.c")
_ENUM = re.compile(r"enum\s+ggml_type\s*\{(.*?)\};", re.DOTALL)
_MEMBER = re.compile(r"\bGGML_TYPE_(\w+)\s*(?:=\s*(\d+))?\s*,?")
_TRAIT = re.compile(
    r"\[\s*GGML_TYPE_(\w+)\s*\]\s*=\s*\{(?:(?!\[\s*GGML_TYPE_)[\s\S])*?\.blck_size\s*=\s*([^,\n]+),"
    r"(?:(?!\[\s*GGML_TYPE_)[\s\S])*?\.type_size\s*=\s*([^,\n]+),"
)
_STRUCT = re.compile(r"typedef\s+struct(?:\s+\w+)?\s*\{((?:[^{}]|\{[^{}]*\})*)\}\s*(block_\w+)\s*;")
_FIELD = re.compile(
    r"\b(ggml_half|ggml_half2|half|uint16_t|int8_t|uint8_t|float)\s+(\w+)\s*(?:\[([^\]]+)\])?\s*;"
)


def numbers(header: str) -> dict[str, int]:
    """Name -> number, of what ``enum ggml_type`` holds outside comments."""
    found = _ENUM.search(header)
    if found is None:
        return {}
    body = re.sub(r"//[^\n]*|/\*.*?\*/", "", found[1], flags=re.DOTALL)
    result: dict[str, int] = {}
    following = 0
    for name, number in _MEMBER.findall(body):
        following = int(number) if number else following
        if name != "COUNT":
            result[name] = following
        following += 1
    return result


def blocks(traits: str, common: str, wanted: dict[str, int]) -> dict[str, tuple[int, int, list[int]]]:
    """Name -> weights and bytes of a block, and the offsets of its half floats, as a compiler lays it out."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", traits, flags=re.DOTALL)
    expressions = {name: (block.strip(), size.strip()) for name, block, size in _TRAIT.findall(text)}
    halves = {
        name: [field for kind, field, _ in _FIELD.findall(re.sub(r"//[^\n]*", "", body)) if "half" in kind]
        for body, name in _STRUCT.findall(common)
    }
    made: dict[str, tuple[int, int, list[int]]] = {}
    for name in wanted:
        if name not in expressions:
            continue
        block, size = expressions[name]
        struct = re.fullmatch(r"sizeof\s*\(\s*(block_\w+)\s*\)", size)
        fields = halves.get(struct[1], []) if struct else []
        offsets = [f"offsetof({struct[1]}, {field})" for field in fields] if struct else []
        found = _compiled(common, [block, size, *offsets])
        # a byte for a weight is what trees say of types whose size they compute elsewhere
        if found is not None and found[0] and found[1] and found[:2] != [1, 1]:
            made[name] = found[0], found[1], found[2:]
    return made


def _compiled(common: str, expressions: list[str]) -> list[int] | None:
    """The values of constant expressions, by the sizes of arrays in an object file; None where it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "ggml-common.h").write_text(common, encoding="utf-8")
        lines = ["#include <stddef.h>", "#include <stdint.h>", "typedef uint16_t ggml_fp16_t;"]
        lines += ["typedef struct { uint16_t bits; } ggml_bf16_t;", "#define GGML_COMMON_DECL_C"]
        lines += ['#include "ggml-common.h"']
        lines += [f"char value_{i}[({text}) + 1];" for i, text in enumerate(expressions)]
        (place / "a.c").write_text("\n".join(lines) + "\n", encoding="utf-8")
        done = subprocess.run(
            ["cc", "-w", "-fno-common", "-c", "a.c", "-o", "a.o"], cwd=place, capture_output=True, check=False
        )
        if done.returncode:
            return None
        said = subprocess.run(["nm", "-S", "a.o"], cwd=place, capture_output=True, text=True, check=True)
        sizes = re.findall(r"^\w+ (\w+) \w value_(\d+)$", said.stdout, re.MULTILINE)
        by_index = {int(index): int(size, 16) - 1 for size, index in sizes}
        return [by_index[i] for i in range(len(expressions))]


def _show(git_dir: Path, candidates: tuple[str, ...]) -> str:
    for path in candidates:
        done = subprocess.run(
            ["git", "--git-dir", str(git_dir), "show", f"HEAD:{path}"], capture_output=True, check=False
        )
        if not done.returncode:
            return done.stdout.decode("utf-8", "replace")
    return ""


def tree(name: str, git_dir: Path) -> dict[str, Any] | None:
    """The facts of one tree; None where it holds no ggml."""
    header, common, traits = (_show(git_dir, names) for names in (HEADERS, COMMON, TRAITS))
    wanted = {name: number for name, number in numbers(header).items() if number >= FIRST}
    if not header or not wanted:
        return None
    head = subprocess.run(
        ["git", "--git-dir", str(git_dir), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    laid_out = blocks(traits, common, wanted)
    types = [
        {"number": wanted[each], "name": each, "block": block, "bytes": size, "halves": halves}
        for each, (block, size, halves) in laid_out.items()
    ]
    return {
        "tree": name,
        "commit": head.stdout.strip(),
        "types": sorted(types, key=lambda item: (item["number"], item["name"])),
    }


def main() -> None:
    """Write the registry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trees", nargs="+", metavar="NAME=GIT_DIR")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    place = resource_dir("patches") / "gguf-numbers.json"
    known = json.loads(place.read_text(encoding="utf-8"))["trees"] if options.keep else []
    by_name = {item["tree"]: item for item in known}
    for each in options.trees:
        name, _, git_dir = each.partition("=")
        found = tree(name, Path(git_dir))
        if found is None:
            print(f"{name}: holds no ggml of its own", file=sys.stderr)
            continue
        by_name[name] = found
        print(f"{name}: {len(found['types'])} types", file=sys.stderr)
    document = {"first": FIRST, "trees": sorted(by_name.values(), key=lambda item: item["tree"])}
    text = json.dumps(document, indent=1)
    place.write_text(
        re.sub(r"\[\s*((?:\d+,?\s*)*)\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"
    )


if __name__ == "__main__":
    main()
