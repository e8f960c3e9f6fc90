"""How fast Q8_A8 is on the CPU, against F16 and Q8_0 of the same build: prompts, decoding, the kernels alone.

    python -m benchmarks.kernels --tree PATCHED --bin BUILD/bin --model f16.gguf [--variants DL/bin]
        [--peer stock=STOCK/bin/llama-bench] [-o PAGE]

The types take turns in every round; figures are medians of the rounds. Besides the model there is one of
random weights in the shape of a 1B model, made in the work folder. --variants names the programs of a build
with -DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON (targets llama-bench and
ggml-cpu-haswell): of its backends the AVX2 one alone is put in reach of llama-bench. With --alone no model
is needed. Each --peer is the llama-bench of another build, a stock one or a fork's, which takes its turn
with the F16 and Q8_0 files: the build's own Q8_0 is packed, so what Q8_0 was before is a peer's. -o writes
the page, and the roofline beside it; docs/kernels.md was made so.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.kernels_alone import AVX2, GATE, IN_MEMORY, NATIVE, Speed, against_peak, on_arm
from benchmarks.kernels_alone import report as pages
from benchmarks.kernels_alone.loading import Load, copying, load
from benchmarks.kernels_alone.models import quantized, synthetic
from benchmarks.kernels_alone.profile import loading_shares, shares
from benchmarks.kernels_alone.report import DECODED, PROMPT, SYNTHETIC, TYPES, Key
from benchmarks.kernels_alone.roofline import picture
from patcher.base.files import write_wanted
from patcher.base.machine import cpu_name, processors

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 512)  # of activations, in the roofline


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def peer(text: str) -> tuple[str, Path]:
    """NAME=LLAMA_BENCH of the command line."""
    name, _, program = text.partition("=")
    if not name or not Path(program).is_file():
        raise argparse.ArgumentTypeError(f"{text}: looked for NAME=LLAMA_BENCH, found no program {program!r}")
    return name, Path(program).resolve()


def speeds(program: Path, model: Path, threads: int, decoded: int) -> dict[str, float]:
    """Tokens a second of one run of a llama-bench: ``prompt`` and ``decode``."""
    command = [str(program), "-m", str(model), "-t", str(threads), "-r", "1", "-o", "json"]
    command += ["-p", str(PROMPT), "-n", str(decoded)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=program.parent)
    rows = json.loads(done.stdout)
    return {("prompt" if row["n_prompt"] else "decode"): float(row["avg_ts"]) for row in rows}


def models(options: argparse.Namespace) -> dict[tuple[str, str], Path]:
    """Every model's file in every type, made where they are missing."""
    options.work.mkdir(parents=True, exist_ok=True)
    sources = {options.model.stem: options.model}
    if not options.no_synthetic:
        sources[SYNTHETIC] = options.work / "synthetic.gguf"
        if not sources[SYNTHETIC].is_file():
            say("making the model of random weights")
            synthetic(options.model, sources[SYNTHETIC])
    return {
        (name, kind): path
        if kind == "F16"
        else quantized(options.bin, path, kind, options.work / f"{path.stem}.{kind}.gguf")
        for name, path in sources.items()
        for kind in TYPES
    }


@contextmanager
def only_avx2(programs: Path) -> Iterator[Path]:
    """A folder with llama-bench and, of the backends of a build with all variants, the AVX2 one alone."""
    with TemporaryDirectory() as scratch:
        for name in ("llama-bench", "libggml-cpu-haswell.so"):
            shutil.copy(programs / name, scratch)
        yield Path(scratch)


def measure(
    programs: Path,
    files: dict[tuple[str, str], Path],
    options: argparse.Namespace,
    peers: Sequence[tuple[str, Path]] = (),
) -> dict[Key, list[float]]:
    """All rounds of all models. The big one decodes a quarter as many tokens: each takes as long as any."""
    found: dict[Key, list[float]] = {}
    for round_ in range(options.rounds):
        for name in dict.fromkeys(name for name, _ in files):
            for threads in options.threads:
                runs = [(programs / "llama-bench", kind, kind) for kind in TYPES]
                runs += [(bench, kind, f"{kind} {who}") for who, bench in peers for kind in TYPES[:2]]
                for bench, kind, column in runs:
                    say(f"round {round_ + 1}: {name}, {threads} threads, {column}")
                    decoded = DECODED // 4 if name == SYNTHETIC else DECODED
                    for what, value in speeds(bench, files[name, kind], threads, decoded).items():
                        found.setdefault((name, threads, column, what), []).append(value)
    return found


def medians(found: dict[Key, list[float]]) -> dict[Key, float]:
    """Of the rounds."""
    return {key: statistics.median(values) for key, values in found.items()}


def loads(files: dict[tuple[str, str], Path], options: argparse.Namespace) -> dict[tuple[str, str], Load]:
    """The fastest load of each type and way, types taking turns: (type, mode) -> load."""
    found: dict[tuple[str, str], list[Load]] = {}
    stock = dict(options.peer)[pages.STOCK].parent if pages.STOCK in dict(options.peer) else options.bin
    for _ in range(2 * options.rounds + 1):
        for mode in ("none", "mmap"):
            for kind in TYPES[1:]:
                file = files[options.model.stem, kind]
                programs = stock if kind == "Q8_0" else options.bin
                found.setdefault((kind, mode), []).append(load(programs, file, mode=mode))
    return {key: min(values, key=lambda one: one.seconds) for key, values in found.items()}


def with_models(options: argparse.Namespace) -> list[str]:
    """The page's part that needs models, goals first."""
    files = {key: path.resolve() for key, path in models(options).items()}
    native = medians(measure(options.bin, files, options, options.peer))
    narrow: dict[Key, float] = {}
    if options.variants is not None:
        mine = {key: path for key, path in files.items() if key[0] == options.model.stem}
        with only_avx2(options.variants) as programs:
            narrow = medians(measure(programs, mine, options))
    say("profiles and loads")
    profiles = {
        (name, threads): found
        for name, kind in files
        if kind == TYPES[-1]
        for threads in options.threads
        if (found := shares(options.bin, files[name, kind], threads)) is not None
    }
    ours = files[options.model.stem, TYPES[-1]]
    loading = pages.Loading(
        loads(files, options), copying(ours.stat().st_size), loading_shares(options.bin, ours)
    )
    sizes = {key: path.stat().st_size for key, path in files.items()}
    return pages.models(native, narrow, profiles, loading, sizes)


def alone(options: argparse.Namespace) -> tuple[list[str], list[Speed]]:
    """The kernels without a model: the page's part, and the points of the roofline."""
    say("kernels alone")
    rounds = 5 * options.rounds
    rows = [against_peak(options.tree, flags, rounds, (PROMPT,))[0] for flags in (NATIVE, AVX2)]
    points = against_peak(options.tree, NATIVE, options.rounds, ROWS, GATE, IN_MEMORY)
    return pages.kernels(rows, points, on_arm(options.tree)), points


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--tree", type=Path, required=True, help="The patched checkout.")
    parser.add_argument("--bin", type=Path, help="The programs that were built from it.")
    parser.add_argument("--variants", type=Path, help="Those of a build with a backend for each kind of CPU.")
    parser.add_argument("--model", type=Path, help="An F16 model of the llama architecture.")
    parser.add_argument("--work", type=Path, default=Path("bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2]
    )
    parser.add_argument("--peer", type=peer, action="append", default=[], metavar="NAME=LLAMA_BENCH")
    parser.add_argument("--no-synthetic", action="store_true", help="The model alone.")
    parser.add_argument("--alone", action="store_true", help="The kernels alone.")
    parser.add_argument("-o", "--output", type=Path, help="Where the page goes, besides stdout.")
    options = parser.parse_args()
    if not options.alone and (options.bin is None or options.model is None):
        parser.error("--bin and --model are needed, or --alone")
    start, busy = time.monotonic(), os.getloadavg()[0]
    parts = [] if options.alone else with_models(options)
    page, points = alone(options)
    svg = options.output.with_suffix(".svg") if options.output is not None else None
    head = [
        "# Kernels",
        "",
        f"Made by `{pages.command(sys.argv[1:])}`",
        f"in {(time.monotonic() - start) / 60:.0f} minutes on {cpu_name()}, {processors()} processors, load "
        f"{busy:.1f} at the start; medians of {options.rounds} rounds in which the types take turns.",
        "",
    ]
    drawn = ["", f"![Roofline]({svg.name})"] if svg is not None else []
    text = "\n".join([*head, *parts, *page, *drawn]) + "\n"
    print(text, end="")
    if options.output is not None and svg is not None:
        for path, content in ((options.output, text), (svg, picture(points, pages.SCALED))):
            write_wanted(path, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
