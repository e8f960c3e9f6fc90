"""The kernels without a model: GOP/s against the core's peak and memory's pace, and instructions on ARM."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
KERNELS = "ggml/src/ggml-cpu/q8-a8"
NATIVE = ("-march=native",)
AVX2 = ("-mavx2", "-mfma", "-mf16c")
GATE = (1536, 576)  # rows and columns of SmolLM2-135M's largest matrices
# the matrices of a layer of it: q and output, k and v, gate and up, down
SHAPES = ((576, 576), (576, 576), (192, 576), (192, 576), GATE, GATE, (576, 1536))
ARM_ROWS = 32  # of activations; instructions grow in proportion
IN_MEMORY = 96  # matrices of GATE's shape, 90 MB, that no core's share of a cache holds


@dataclass(frozen=True)
class Speed:
    """Medians on one core; the peak and the reading are measured in turns with the product."""

    kernels: str  # their name
    rows: int  # of activations
    gops: float  # GOP/s with quantization
    product_gops: float  # without
    peak_gops: float  # of the instructions alone
    read_gbs: float  # GB/s of nothing but reading the weights
    share: float  # of the peak

    @property
    def intensity(self) -> float:
        """Operations a byte of packed weights: two for each weight and row, 34 bytes for 32 weights."""
        return 2 * self.rows * 32 / 34


def _build(compiler: str, flags: list[str], tree: Path, sources: list[Path], out: Path) -> Path:
    folders = [f"-I{tree / folder}" for folder in ("ggml/include", "ggml/src", "ggml/src/ggml-cpu", KERNELS)]
    command = [compiler, *flags, *folders, *map(str, sources), "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return out


def against_peak(
    tree: Path,
    flags: tuple[str, ...],
    rounds: int,
    rows: tuple[int, ...],
    shape: tuple[int, int] = GATE,
    matrices: int = 1,
) -> list[Speed]:
    """Each count of ``rows`` of activations times so many ``matrices`` of one ``shape`` in turn."""
    compiler = os.environ.get("CXX", "g++")
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        sources = [HERE / "x86.cpp", tree / KERNELS / "kernels.cpp"]
        program = _build(compiler, ["-std=c++17", "-O3", *flags], tree, sources, Path(scratch) / "x86")
        for count in rows:
            command = [str(program), *map(str, (count, *shape, rounds, matrices))]
            lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
            measured = [[float(word) for word in line.split()] for line in lines[1:]]
            whole, product, peak, read = (statistics.median(column) for column in zip(*measured, strict=True))
            share = statistics.median(row[1] / row[2] for row in measured)
            found.append(Speed(lines[0], count, whole, product, peak, read, share))
    return found


def _instructions(command: list[str]) -> int:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stderr.split()[-1])


def on_arm(tree: Path) -> dict[str, float] | None:
    """Instructions for each weight of a layer and row of activations, ours and upstream's for Q8_0 (i8mm).

    None where the cross compiler or the emulator is missing.
    """
    compiler, emulator = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        plugin = Path(scratch) / "count.so"
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O2", str(HERE / "count.c"), "-o", str(plugin)], check=True
        )
        # upstream's file names much that is never called: sections drop it
        flags = ["-std=c++17", "-O3", "-march=armv8.2-a+dotprod+i8mm", "-static", "-ffunction-sections"]
        flags += ["-Wl,--gc-sections", "-Wl,--unresolved-symbols=ignore-all"]
        sources = [HERE / "arm.cpp", tree / KERNELS / "kernels.cpp"]
        sources.append(tree / "ggml/src/ggml-cpu/arch/arm/repack.cpp")
        program = _build(compiler, flags, tree, sources, Path(scratch) / "arm")
        counts = {"ours": 0, "upstream": 0}
        for who in counts:
            for n, k in SHAPES:
                command = [emulator, "-cpu", "max", "-plugin", str(plugin), str(program), who]
                command += [str(ARM_ROWS), str(n), str(k)]
                counts[who] += (_instructions([*command, "3"]) - _instructions([*command, "1"])) // 2
    products = ARM_ROWS * sum(n * k for n, k in SHAPES)
    ours, upstream = (counts[who] / products for who in ("ours", "upstream"))
    return {"ours": ours, "upstream": upstream, "ratio": ours / upstream}
