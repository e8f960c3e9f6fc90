"""The kernels alone, rendered as for a tree and compiled for every machine that this one can run."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from patcher.base.machine import cpu_flags
from patcher.base.resources import resource_dir
from tests.integration.conftest import Work

pytestmark = [pytest.mark.system, pytest.mark.compiler, pytest.mark.slow]

HERE = Path(__file__).parent / "kernels"
FOLDER = "ggml/src/ggml-cpu/q8-a8"
SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
VNNI = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"]

# AMX's tiles in software: no machine is needed that has them, and what one would fault at ends the program
AMX = [*VNNI, "-mamx-tile", "-mamx-int8", "-include", str(HERE / "amx_emulation.h")]

# name that the kernels give themselves -> what the compiler is told, what the machine has to have
X86 = {
    "avx512-vnni": (VNNI, "avx512_vnni"),
    "amx-int8": (AMX, "avx512_vnni"),
    # the 256-bit code of AVX-VNNI, in the encoding that AVX512-VNNI machines have
    "avx-vnni": ([*VNNI, "-DQ8_A8_NARROW"], "avx512_vnni"),
    "avx2": (AVX2, "avx2"),
    "portable": ([], ""),
}
# what is compiled for others and emulated: name, architecture, flags; s390x is big endian
CROSS = [
    ("i8mm", "aarch64", ["-march=armv8.2-a+dotprod+i8mm"]),
    ("dotprod", "aarch64", ["-march=armv8.2-a+dotprod"]),
    ("neon", "aarch64", ["-march=armv8-a"]),
    ("portable", "riscv64", []),
    ("portable", "s390x", []),
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels' files as an apply writes them. They ask nothing of the tree."""
    place = tmp_path_factory.mktemp("kernels")
    for file in sorted((resource_dir("templates") / FOLDER).glob("kernels*")):
        shutil.copy(file, place)
    return place


def compiled(compiler: str, flags: list[str], sources: Path, out: Path, program: str) -> Path:
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", *flags, "-I", str(sources)]
    done = subprocess.run(
        [*command, str(HERE / program), str(sources / "kernels.cpp"), "-o", str(out)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_an_editor_can_open_the_templates() -> None:
    """templates/compile_flags.txt is what clangd and its like read; kernels.cpp takes the other files in."""
    if platform.machine() != "x86_64":
        pytest.skip("the flags are of x86-64")
    home = resource_dir("templates")
    flags = (home / "compile_flags.txt").read_text(encoding="utf-8").split()
    command = [native(), "-fsyntax-only", *flags[1:], str(home / FOLDER / "kernels.cpp")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def native() -> str:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("needs g++")
    return compiler


def run(command: list[str], seed: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, str(seed)], capture_output=True, text=True, timeout=600)


def cross_tools(architecture: str) -> tuple[str, list[str]]:
    """The compiler, and the emulator's command."""
    compiler = shutil.which(f"{architecture}-linux-gnu-g++")
    emulator = shutil.which(f"qemu-{architecture}")
    if compiler is None or emulator is None:
        pytest.skip(f"needs g++-{architecture}-linux-gnu and qemu-user")
    return compiler, [emulator, "-cpu", "max"] if architecture == "aarch64" else [emulator]


@pytest.mark.parametrize("name", X86)
def test_x86_against_exact_integers(name: str, sources: Path, tmp_path: Path) -> None:
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("needs an x86-64 machine")
    flags, wanted = X86[name]
    if wanted and wanted not in cpu_flags():
        pytest.skip(f"needs a CPU with {wanted}")
    program = compiled(native(), [*flags, *SANITIZED], sources, tmp_path / "test", "test_q8_a8_kernels.cpp")
    for seed in (1, 2):
        done = run([str(program)], seed)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(rf"{name}: \d+ shapes\n", done.stdout)
    # what is shipped is optimized further, which must not change a bit that is tested
    fast = compiled(native(), [*flags, "-O3"], sources, tmp_path / "fast", "test_q8_a8_kernels.cpp")
    done = run([str(fast)])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("name", "architecture", "flags"), CROSS)
def test_others_against_exact_integers(
    name: str, architecture: str, flags: list[str], sources: Path, tmp_path: Path
) -> None:
    compiler, emulator = cross_tools(architecture)
    flags = ["-O2", "-static", *flags]
    program = compiled(compiler, flags, sources, tmp_path / "test", "test_q8_a8_kernels.cpp")
    done = run([*emulator, str(program)])
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"{name}: \d+ shapes\n", done.stdout)


@pytest.mark.network
@pytest.mark.llama
def test_the_buffer_type_in_a_build(each_work: Work, tmp_path: Path) -> None:
    """What was built from each release, through ggml's public interface, by 1 to 16 threads."""
    program = tmp_path / "test"
    command = [
        native(),
        "-std=c++17",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        str(HERE / "test_q8_a8_backend.cpp"),
    ]
    command += [
        "-I",
        str(each_work.tree / "ggml/include"),
        "-L",
        str(each_work.bin),
        f"-Wl,-rpath,{each_work.bin}",
    ]
    command += ["-lggml", "-lggml-base", "-lggml-cpu", "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for seed in (1, 2):
        done = run([str(program)], seed)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(r"CPU_Q8_A8: \d+ shapes\n", done.stdout)


# What cl tells of a machine: it names neither FMA nor F16C, and one of ggml's headers makes up for that.
AS_CL = """
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#define _MSC_VER 1943
#undef __FMA__
#undef __F16C__
#ifdef BEHIND_GGML
#define __FMA__
#define __F16C__
#endif
#include "kernels.h"
int main() {
    using namespace ggml::cpu::q8_a8;
    printf("%zu %d %d %d", sizeof(act_block), (int) PANEL, (int) GROUP, (int) FLIP);
}
"""


@pytest.mark.parametrize(("flags", "bytes_of_a_block"), [(["-mavx2"], 72), (["-mavx2", "-mavxvnni"], 40)])
def test_files_agree_on_a_block_where_the_compiler_names_less(
    flags: list[str], bytes_of_a_block: int, sources: Path, tmp_path: Path
) -> None:
    """The kernels are compiled without ggml's headers, the buffer type with them: a heap was overrun between."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("needs an x86-64 compiler")
    (tmp_path / "cl.cpp").write_text(AS_CL, encoding="utf-8")
    said = []
    for more in ([], ["-DBEHIND_GGML"]):
        command = [native(), "-std=c++17", *flags, *more, "-I", str(sources), str(tmp_path / "cl.cpp")]
        built = subprocess.run([*command, "-o", str(tmp_path / "cl")], capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        said.append(run([str(tmp_path / "cl")]).stdout)
    assert said[0] == said[1]
    assert said[0].split()[0] == str(bytes_of_a_block)


# One thing broken at a time: the test has to see each.
MUTANTS = {
    "start": ("kernels.cpp", "dst->scale = scale;", "dst->scale = scale * 1.0001f;"),
    "order": ("kernels.cpp", "qs + r * GROUP", "qs + (r ^ 1) * GROUP"),
    "tail": ("kernels.cpp", "n * sizeof(float)", "(n + 1) * sizeof(float)"),
    "product": ("kernels-c.h", "(int32_t) w[", "(int32_t) (uint8_t) w["),
    "scale": ("kernels-c.h", "dw[r] * x[i][b].scale", "dw[0] * x[i][b].scale"),
    "tiles": ("kernels-amx.h", "_tile_dpbsud(sums, a, w)", "_tile_dpbsud(sums, a, 0)"),
    "shape": ("kernels-amx.h", "{ 64, 64, 32, 32, 64, 64 }", "{ 64, 64, 64, 64, 64, 64 }"),
    "uneven": ("kernels-amx.h", "memcpy(rows[i], x[i][b].qs, BLOCK)", "memcpy(rows[i], x[0][b].qs, BLOCK)"),
    "pipeline": ("kernels-amx.h", "acc[(b + 1) % 2], qs", "acc[b % 2], qs"),
    "half": ("kernels.cpp", "0x1p112f", "0x1p113f"),
    "nan": ("kernels.cpp", ": NAN;", ": 0.0f;"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_test_sees_what_is_broken(name: str, sources: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(sources, tmp_path / "broken")
    file, right, wrong = MUTANTS[name]
    text = (broken / file).read_text(encoding="utf-8")
    assert right in text
    (broken / file).write_text(text.replace(right, wrong), encoding="utf-8")
    flags = ["-O1", "-fsanitize=address", "-Wno-error"]
    if file == "kernels-amx.h":
        if "avx512_vnni" not in cpu_flags():
            pytest.skip("needs a CPU with avx512_vnni")
        flags += AMX
    program = compiled(native(), flags, broken, tmp_path / "test", "test_q8_a8_kernels.cpp")
    done = run([str(program)])
    assert done.returncode in (1, 3)  # 3: where a processor with AMX would fault
    assert done.stderr
