"""Instructions and errors of products of Q8_0 weights on ARM: our kernels, upstream's, KleidiAI's.

    python -m benchmarks.kleidiai --tree PATCHED --kleidiai FOLDER [--emulator qemu-aarch64]

Nothing is timed: programs for aarch64 run under an emulator that counts. FOLDER has KleidiAI's sources, of
the release that the tree's CMake wants. SME2 needs QEMU 10.1; what the emulator lacks is left out. Weights
are packed and a product computed as a model's are, by ggml's CPU backend with one thread; the activations'
quantization is in the counts, the packing isn't. Numbers are made up (normally distributed); errors are
root mean squares against the product of the floats, divided by that of the product.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.kernels_alone import GATE, HERE

COMPILERS = ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++")
# GCC 12 fails to vectorize this one, which llama.cpp doesn't call
NOT_VECTORIZED = "kai/ukernels/matmul/pack/kai_lhs_quant_pack_qai8dxp_bf16_neon.c"
SHAPES = [(rows, *shape) for rows in (512, 1) for shape in (GATE, GATE[::-1])]  # a prompt, and a token


class Case(NamedTuple):
    """One row of the table."""

    name: str
    march: str
    cpu: str
    buffer: str


I8MM, DOTPROD, NEON = "armv8.2-a+dotprod+i8mm", "armv8.2-a+dotprod", "armv8-a"
WITHOUT = "max,sme=off"
CASES = [
    Case("ours, `neon`", NEON, WITHOUT, "CPU_Q8_A8"),
    Case("upstream without packing", NEON, WITHOUT, "CPU"),
    Case("ours, `dotprod`", DOTPROD, WITHOUT, "CPU_Q8_A8"),
    Case("upstream's repacking, dotprod", DOTPROD, "neoverse-n1", "CPU_REPACK"),
    Case("KleidiAI, dotprod", DOTPROD, "neoverse-n1", "CPU_KLEIDIAI"),
    Case("ours, `i8mm`", I8MM, WITHOUT, "CPU_Q8_A8"),
    Case("upstream's repacking, i8mm", I8MM, WITHOUT, "CPU_REPACK"),
    Case("KleidiAI, i8mm", I8MM, WITHOUT, "CPU_KLEIDIAI"),
    Case("KleidiAI, i8mm, on a processor with SVE", I8MM, "neoverse-v1", "CPU_KLEIDIAI"),
    *(
        Case(f"KleidiAI, SME2, {bits} bits", I8MM, f"max,sme{bits}=on", "CPU_KLEIDIAI")
        for bits in (128, 256, 512)
    ),
]


class Count(NamedTuple):
    """What one product takes, and its error."""

    instructions: int
    multiplying: int
    error: float


def built(tree: Path, kleidiai: Path, march: str, scratch: Path) -> Path:
    """The program for processors of ``march``. Which of KleidiAI's kernels it takes is chosen as it runs."""
    build = scratch / march
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
    options += [f"-DCMAKE_C_COMPILER={COMPILERS[0]}", f"-DCMAKE_CXX_COMPILER={COMPILERS[1]}"]
    options += ["-DBUILD_SHARED_LIBS=OFF", "-DGGML_NATIVE=OFF", "-DGGML_OPENMP=OFF", "-DGGML_CPU_KLEIDIAI=ON"]
    options += [f"-DGGML_CPU_ARM_ARCH={march}", f"-DFETCHCONTENT_SOURCE_DIR_KLEIDIAI={kleidiai}"]
    subprocess.run(
        ["cmake", "-S", tree, "-B", build, "-G", "Ninja", *options], check=True, capture_output=True
    )
    subprocess.run(["cmake", "--build", build, "--target", "ggml"], check=True, capture_output=True)
    libraries = sorted(str(path) for path in build.rglob("*.a"))
    command = [COMPILERS[1], "-std=c++17", "-O2", "-static", "-I", str(tree / "ggml/include")]
    command += [str(HERE / "buffers.cpp"), "-Wl,--start-group", *libraries, "-Wl,--end-group"]
    subprocess.run([*command, "-o", str(build / "buffers")], check=True, capture_output=True)
    return build / "buffers"


def counting(emulator: str, scratch: Path) -> list[str]:
    """The emulator's command, up to its processor."""
    said = subprocess.run([emulator, "--version"], check=True, capture_output=True, text=True).stdout
    version = re.search(r"version (\d+)", said)
    flags = ["-DPER_PROCESSOR"] if version and int(version[1]) >= 9 else []
    plugin = scratch / "count.so"
    command = ["cc", "-shared", "-fPIC", "-O2", *flags, str(HERE / "count.c"), "-o", str(plugin)]
    subprocess.run(command, check=True)
    return [emulator, "-plugin", str(plugin), "-cpu"]


def count(command: list[str], case: Case, shape: tuple[int, int, int]) -> Count | None:
    """None where the emulator hasn't got the processor."""
    rounds = 2 if shape[0] > 1 else 101
    totals = []
    error = 0.0
    for many in (1, rounds):
        what = [*command, case.buffer, *map(str, shape), str(many)]
        done = subprocess.run(what, capture_output=True, text=True, check=False)
        lacks = "SME2" in case.name and "primary q8 kernel feature SME2" not in done.stderr
        if done.returncode or lacks:
            return None
        error = float(done.stdout)
        totals.append(
            [int(n) for n in re.findall(r"^(?:multiplying|instructions) (\d+)$", done.stderr, re.M)]
        )
    multiplying, instructions = ((b - a) // (rounds - 1) for a, b in zip(*totals, strict=True))
    return Count(instructions, multiplying, error)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tree", type=Path, required=True, help="llama.cpp with Q8_A8")
    parser.add_argument("--kleidiai", type=Path, required=True, help="KleidiAI's sources")
    parser.add_argument("--emulator", default="qemu-aarch64")
    options = parser.parse_args()
    heads = [" x ".join(map(str, shape)) for shape in SHAPES]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        kleidiai = Path(shutil.copytree(options.kleidiai.resolve(), scratch / "kleidiai"))
        file = kleidiai / NOT_VECTORIZED
        if file.is_file():
            file.write_text('#pragma GCC optimize("no-tree-vectorize")\n' + file.read_text("utf-8"), "utf-8")
        command = counting(options.emulator, scratch)
        programs: dict[str, Path] = {}
        print(
            "|",
            " | ".join(["thousand instructions", *heads, "products in one that multiplies", "error"]),
            "|",
        )
        print("|---" * (len(heads) + 3), "|", sep="")
        for case in CASES:
            if case.march not in programs:
                print(f"building for {case.march}", file=sys.stderr, flush=True)
                programs[case.march] = built(options.tree.resolve(), kleidiai, case.march, scratch)
            found = [count([*command, case.cpu, str(programs[case.march])], case, shape) for shape in SHAPES]
            cells = [f"{one.instructions / 1000:,.0f}" if one else "-" for one in found]
            many = found[0].multiplying if found[0] else 0
            cells.append(f"{SHAPES[0][0] * GATE[0] * GATE[1] // many}" if many else "-")
            cells.append(f"{found[0].error:.4f}" if found[0] else "-")
            print("|", " | ".join([case.name, *cells]), "|", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
