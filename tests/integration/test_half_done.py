"""Trees in which somebody has begun by hand: told, completed, never doubled, their own code kept to the byte."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import copy_of, q8a8_patch, stock_tree

pytestmark = [pytest.mark.llama, pytest.mark.network]

# May 2025, when 39 was free, and v0.5.0, where it is MXFP4
EARLY, LATE = "3.9.0", "3.22.1"


def change(path: Path, old: str, new: str, count: int = 1) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path}: no {old!r}"
    path.write_text(text.replace(old, new, count), encoding="utf-8")


BLOCK = """
#define QK8_A8 32
typedef struct {
    ggml_half weight_scale;       // by hand
    int8_t weight_qs[QK8_A8];
} block_q8_a8;
static_assert(sizeof(block_q8_a8) == sizeof(ggml_half) + QK8_A8, "wrong q8_a8 block size/padding");
"""
REFERENCE = """
// by hand, with what somebody needed to see
void quantize_row_q8_a8_ref(const float * x, void * y, int64_t k) {
    fprintf(stderr, "DEBUG quantize %d\\n", (int) k);
    block_q8_a8 * b = (block_q8_a8 *) y;
    for (int64_t i = 0; i < k/QK8_A8; i++) {
        float amax = 0.0f;
        for (int j = 0; j < QK8_A8; j++) { float v = fabsf(x[i*QK8_A8 + j]); if (v > amax) amax = v; }
        float d = amax/127.0f, id = d ? 1.0f/d : 0.0f;
        b[i].weight_scale = GGML_FP32_TO_FP16(d);
        for (int j = 0; j < QK8_A8; j++) b[i].weight_qs[j] = (int8_t) roundf(x[i*QK8_A8 + j]*id);
    }
}

void dequantize_row_q8_a8(const block_q8_a8 * GGML_RESTRICT x, float * GGML_RESTRICT y, int64_t k) {
    for (int64_t i = 0; i < k; i++) y[i] = GGML_FP16_TO_FP32(x[i/QK8_A8].weight_scale)*x[i/QK8_A8].weight_qs[i%QK8_A8];
}
"""


def begun(tree: Path, number: int, ftype: int) -> None:
    """What the first users did: some of it, with numbers of their own."""
    header = tree / "ggml/include/ggml.h"
    count = re.search(r"GGML_TYPE_COUNT\s*=\s*(\d+)", header.read_text(encoding="utf-8"))
    assert count is not None
    change(
        header,
        count.group(),
        f"GGML_TYPE_Q8_A8   = {number}, // ours\n        GGML_TYPE_COUNT   = {max(number + 1, int(count[1]))}",
    )
    change(
        tree / "include/llama.h",
        "LLAMA_FTYPE_GUESSED",
        f"LLAMA_FTYPE_MOSTLY_Q8_A8 = {ftype}, // ours\n\n        LLAMA_FTYPE_GUESSED",
    )
    common = tree / "ggml/src/ggml-common.h"
    found = re.search(r"static_assert\(sizeof\(block_q8_1\)[^;]*;\n", common.read_text(encoding="utf-8"))
    assert found is not None
    change(common, found.group(), found.group() + BLOCK)
    quants = tree / "ggml/src/ggml-quants.c"
    change(quants, "void dequantize_row_q8_0(", REFERENCE.lstrip() + "\nvoid dequantize_row_q8_0(")
    change(
        tree / "ggml/src/ggml-quants.h",
        "GGML_API void dequantize_row_q8_0(",
        "GGML_API void dequantize_row_q8_a8(const block_q8_a8 * GGML_RESTRICT x, float * GGML_RESTRICT y, int64_t k);\nGGML_API void dequantize_row_q8_0(",
    )
    change(quants, "#include", "#include <stdio.h> // DEBUG\n#include")
    ops = tree / "ggml/src/ggml-cpu/ops.cpp"
    text = ops.read_text(encoding="utf-8")
    rows = text.index("void ggml_compute_forward_get_rows(")
    case = text.index("        case GGML_TYPE_Q8_0:\n", rows)
    ops.write_text(text[:case] + "        case GGML_TYPE_Q8_A8: // by hand\n" + text[case:], encoding="utf-8")
    loader = tree / "src/llama-model-loader.cpp"
    text = loader.read_text(encoding="utf-8")
    mark = re.search(
        r"    template bool llama_model_loader::get_key<std::string>\s*\(enum llm_kv kid[^;]*;\n", text
    )
    assert mark is not None
    by_hand = "    template bool llama_model_loader::get_key<bool>(const std::string & key, bool & result, bool required);\n"
    loader.write_text(text[: mark.end()] + by_hand + text[mark.end() :], encoding="utf-8")
    model = tree / "src/llama-model.h"
    change(
        model,
        "struct llama_model {",
        "struct llama_model {\n    bool  smoothquant_enabled = false; // by hand\n    float smoothquant_alpha   = 0.5f;",
    )
    debug = '\n    LLAMA_LOG_INFO("DEBUG load_hparams\\n");'
    opening = "load_hparams(llama_model_loader & ml) {"
    change(tree / "src/llama-model.cpp", opening, opening + debug)


HAND_WRITTEN = {
    "ggml/src/ggml-common.h": BLOCK,
    "ggml/src/ggml-quants.c": REFERENCE,
    "src/llama-model.h": "    bool  smoothquant_enabled = false; // by hand\n",
}


@pytest.fixture
def half_done(tmp_path: Path) -> Callable[[str, int, int], Path]:
    def make(package: str, number: int, ftype: int) -> Path:
        tree = copy_of(stock_tree(package), tmp_path / "llama.cpp")
        begun(tree, number, ftype)
        return tree

    return make


def compiles(tree: Path, *paths: str) -> None:
    """Each file by itself, as far as the compiler's front end: what stands twice, or not at all, fails."""
    for path in paths:
        compiler = ["gcc", "-std=gnu11"] if path.endswith(".c") else ["g++", "-std=c++17"]
        folders = (
            "ggml/include",
            "ggml/src",
            "ggml/src/ggml-cpu",
            "include",
            "src",
            "src/models",
            "vendor",
            "common",
        )
        command = [
            *compiler,
            "-fsyntax-only",
            "-w",
            "-D_GNU_SOURCE",
            "-march=x86-64-v3",
            '-DGGML_VERSION="0"',
            '-DGGML_COMMIT="0"',
        ]
        command += [f"-I{tree / folder}" for folder in folders] + [str(tree / path)]
        made = tree.parent / "generated"  # what CMake would write
        made.mkdir(exist_ok=True)
        (made / "ggml-version.h").write_text("#pragma once\n", encoding="utf-8")
        command.append(f"-I{made}")
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:3000]


def codes(tree: Path) -> dict[str, str]:
    return {path: (tree / path).read_text(encoding="utf-8") for path in HAND_WRITTEN}


def once(tree: Path) -> None:
    """Nothing stands twice, and what was written by hand stands as it was."""
    for path, text in HAND_WRITTEN.items():
        assert text in (tree / path).read_text(encoding="utf-8"), path
    quants = (tree / "ggml/src/ggml-quants.c").read_text(encoding="utf-8")
    assert len(re.findall(r"^void (?:de)?quantize_row_q8_a8(?:_ref)?\(", quants, re.M)) == 2
    loader = (tree / "src/llama-model-loader.cpp").read_text(encoding="utf-8")
    assert len(re.findall(r"get_key<bool>\s*\(const std::string", loader)) == 1
    rows = (tree / "ggml/src/ggml-cpu/ops.cpp").read_text(encoding="utf-8")
    start = rows.index("void ggml_compute_forward_get_rows(")
    assert rows[start : rows.index("\n}\n", start)].count("case GGML_TYPE_Q8_A8:") == 1


def test_status_tells_what_is_there_missing_and_contradicting(
    half_done: Callable[[str, int, int], Path],
) -> None:
    tree = half_done(EARLY, 39, 38)
    report = json.loads(q8a8_patch("status", tree, "--json").stdout)
    states = {edit["id"]: (edit["state"], edit["detail"]) for edit in report["edits"]}
    assert report["state"] == "conflict"
    assert states["ggml-type"] == ("conflict", "looked for ours; found GGML_TYPE_Q8_A8 = 39, not 120")
    assert states["llama-ftype"][0] == "conflict"
    assert "LLAMA_FTYPE_MOSTLY_Q8_A8 = 38, not 120" in states["llama-ftype"][1]
    assert states["block"][0] == "present"
    state, detail = states["quantize-row-ref"]
    assert state == "present"
    assert detail.startswith("there: quantize_row_q8_a8_ref; written differently from ours (")
    assert states["cpu-ops"][0] == "missing"
    assert "there: ggml_compute_forward_get_rows" in states["cpu-ops"][1]
    assert states["get-key-instantiations"][0] == "missing"
    assert states["py-type"][0] == "missing"


def test_apply_refuses_their_numbers_and_says_what_to_do(half_done: Callable[[str, int, int], Path]) -> None:
    tree = half_done(EARLY, 39, 38)
    before = codes(tree)
    done = q8a8_patch("apply", tree)
    assert done.returncode == 3
    assert "GGML_TYPE_Q8_A8 = 39, not 120" in done.stderr
    assert "--renumber moves the number to the reserved one, --adopt-id keeps theirs" in done.stderr
    assert codes(tree) == before


@pytest.mark.compiler
@pytest.mark.parametrize("package", [EARLY, LATE])
def test_renumber_completes_the_tree(half_done: Callable[[str, int, int], Path], package: str) -> None:
    tree = half_done(package, 77, 66)
    done = q8a8_patch("apply", tree, "--renumber")
    assert done.returncode == 0, done.stderr
    assert "moves from 77 to 120 in ggml_type" in done.stderr
    assert "gguf retag" in done.stderr
    once(tree)
    header = (tree / "ggml/include/ggml.h").read_text(encoding="utf-8")
    assert "GGML_TYPE_Q8_A8   = 120, // ours" in header
    assert re.search(r"GGML_TYPE_COUNT\s*= 121", header)
    assert json.loads(q8a8_patch("status", tree, "--json").stdout)["state"] == "applied"
    compiles(
        tree, "ggml/src/ggml.c", "ggml/src/ggml-quants.c", "ggml/src/ggml-cpu/ggml-cpu.c", "ggml/src/ggml-cpu/quants.c" if (tree / "ggml/src/ggml-cpu/quants.c").exists() else "ggml/src/ggml-cpu/ggml-cpu-quants.c",
        "ggml/src/ggml-cpu/ops.cpp", "src/llama-model-loader.cpp", "src/llama-quant.cpp",
    )  # fmt: skip
    assert q8a8_patch("revert", tree).returncode == 0
    assert "GGML_TYPE_Q8_A8   = 77, // ours" in (tree / "ggml/include/ggml.h").read_text(encoding="utf-8")


@pytest.mark.compiler
def test_adopt_keeps_their_number_where_it_is_free(half_done: Callable[[str, int, int], Path]) -> None:
    tree = half_done(EARLY, 39, 38)
    done = q8a8_patch("apply", tree, "--adopt-id")
    assert done.returncode == 0, done.stderr
    assert "keeps 39 in ggml_type; upstream uses it for MXFP4" in done.stderr
    once(tree)
    header = (tree / "ggml/include/ggml.h").read_text(encoding="utf-8")
    assert "GGML_TYPE_Q8_A8   = 39, // ours" in header
    assert re.search(r"GGML_TYPE_COUNT\s*= 40", header)
    python = (tree / "gguf-py/gguf/constants.py").read_text(encoding="utf-8")
    assert re.search(r"^    Q8_A8\s*= 39$", python, re.M)
    assert re.search(r"^    MOSTLY_Q8_A8\s*= 38\b", python, re.M)
    compiles(tree, "ggml/src/ggml.c", "ggml/src/ggml-quants.c")
    again = q8a8_patch("apply", tree, "--adopt-id")
    assert "there already" in again.stdout


def test_adopt_refuses_a_number_that_is_upstreams_here(half_done: Callable[[str, int, int], Path]) -> None:
    tree = half_done(LATE, 39, 38)
    done = q8a8_patch("apply", tree, "--adopt-id")
    assert done.returncode == 3
    assert "39 free in enum ggml_type; found it taken by GGML_TYPE_MXFP4" in done.stderr


def test_adopt_refuses_numbers_that_disagree(half_done: Callable[[str, int, int], Path]) -> None:
    tree = half_done(EARLY, 39, 38)
    constants = tree / "gguf-py/gguf/constants.py"
    found = re.search(r"^    TQ2_0 .*\n", constants.read_text(encoding="utf-8"), re.M)
    assert found is not None
    change(constants, found.group(), found.group() + "    Q8_A8 = 41\n")
    done = q8a8_patch("apply", tree, "--adopt-id")
    assert done.returncode == 3
    assert "ggml_type says 39" in done.stderr
    assert "GGMLQuantizationType says 41" in done.stderr


def test_both_at_once_is_wrong_usage(half_done: Callable[[str, int, int], Path]) -> None:
    assert q8a8_patch("apply", half_done(EARLY, 39, 38), "--adopt-id", "--renumber").returncode == 2


@pytest.mark.parametrize("package", [pytest.param(EARLY, marks=pytest.mark.exhaustive), LATE])
def test_every_partial_plan_ends_in_the_same_tree(package: str, tmp_path: Path) -> None:
    """Somebody applied a part, another hand the rest: the end is what apply alone gives."""
    whole = copy_of(stock_tree(package), tmp_path / "whole")
    assert q8a8_patch("apply", whole).returncode == 0
    wanted = subprocess.run(["git", "diff"], cwd=whole, capture_output=True, check=True).stdout
    for parts in (
        ["ggml"],
        ["llama", "gguf-py"],
        ["ggml-cpu"],
        ["smoothquant", "tests"],
        ["type-traits", "cpu-ops"],
    ):
        tree = copy_of(stock_tree(package), tmp_path / "-".join(parts))
        only = [item for part in parts for item in ("--only", part)]
        done = q8a8_patch("apply", tree, *only)
        assert done.returncode == 0, done.stderr
        assert "there already" in q8a8_patch("apply", tree).stdout  # what was asked for is remembered
        assert q8a8_patch("apply", tree, "--everything").returncode == 0
        assert subprocess.run(["git", "diff"], cwd=tree, capture_output=True, check=True).stdout == wanted
