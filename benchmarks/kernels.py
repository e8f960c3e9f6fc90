"""How fast Q8_A8 is on the CPU, beside F16, Q8_0 and other builds: prompts, decoding, the kernels alone.

    python -m benchmarks.kernels --tree PATCHED --model f16.gguf
        --build AVX512-VNNI=BIN --peer AVX512-VNNI:stock=LLAMA_BENCH --peer AVX512-VNNI:fork=LLAMA_BENCH
        --build AVX2=BIN --peer AVX2:stock=LLAMA_BENCH [-o PAGE]

Each --build names the folder with the programs that were built from the patched tree for one kind of
processor; a name that begins with AVX2 has AVX2's goals. Each --peer is the llama-bench of another build, a
stock one or a fork's, which takes its turn with the F16 and Q8_0 files of the build that it is named with: a
build of ours packs Q8_0, so what Q8_0 was before is the stock one's. A peer that wants options is a script
that passes them on.

All take turns in every round; figures are medians of the rounds. Besides the model there are two of random
weights, made in the work folder: one of experts, and one in the shape of a 1B model, for the first build
alone. Loads and profiles are the first build's, too. With --alone no model is needed. -o writes the page, and
the roofline beside it; docs/kernels.md was made so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.kernels_alone import AVX2, GATE, IN_MEMORY, NATIVE, Speed, against_peak, on_arm
from benchmarks.kernels_alone import report as pages
from benchmarks.kernels_alone.goals import DECODED, PROMPT, STOCK, TYPES, Key
from benchmarks.kernels_alone.loading import Load, copying, load
from benchmarks.kernels_alone.models import LARGE, SHAPES, quantized, synthetic
from benchmarks.kernels_alone.profile import loading_shares, shares
from benchmarks.kernels_alone.roofline import picture
from patcher.base.files import write_wanted
from patcher.base.machine import cpu_name, processors

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 512)  # of activations, in the roofline


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


class Build(NamedTuple):
    """Programs of ours, and the llama-benches that take turns with them: name -> file."""

    programs: Path
    peers: dict[str, Path]


def builds(options: argparse.Namespace) -> dict[str, Build]:
    """Those of --build, each with its --peer. Raises :class:`ValueError` for one that isn't there."""
    found: dict[str, Build] = {}
    for text in options.build:
        name, _, folder = text.partition("=")
        if not (Path(folder) / "llama-bench").is_file():
            raise ValueError(f"--build {text}: looked for NAME=FOLDER with llama-bench in it, found none")
        found[name] = Build(Path(folder).resolve(), {})
    for text in options.peer:
        where, _, program = text.partition("=")
        build, _, name = where.partition(":")
        if build not in found or not name or not Path(program).is_file():
            raise ValueError(f"--peer {text}: looked for BUILD:NAME=LLAMA_BENCH, found no such build or file")
        found[build].peers[name] = Path(program).resolve()
    return found


def speeds(program: Path, model: Path, threads: int, decoded: int) -> dict[str, float]:
    """Tokens a second of one run of a llama-bench: ``prompt`` and ``decode``."""
    command = [str(program), "-m", str(model), "-t", str(threads), "-r", "1", "-o", "json"]
    command += ["-p", str(PROMPT), "-n", str(decoded)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=program.parent)
    rows = json.loads(done.stdout)
    return {("prompt" if row["n_prompt"] else "decode"): float(row["avg_ts"]) for row in rows}


def models(options: argparse.Namespace, programs: Path) -> dict[tuple[str, str], Path]:
    """Every model's file in every type, made where they are missing."""
    options.work.mkdir(parents=True, exist_ok=True)
    sources = {options.model.stem: options.model}
    for name, shape in () if options.no_synthetic else SHAPES.items():
        sources[name] = options.work / f"{name.partition(',')[0]}.gguf"
        if not sources[name].is_file():
            say(f"making the model of random weights: {name}")
            synthetic(options.model, sources[name], shape)
    return {
        (name, kind): (
            path
            if kind == "F16"
            else quantized(programs, path, kind, options.work / f"{path.stem}.{kind}.gguf")
        ).resolve()
        for name, path in sources.items()
        for kind in TYPES
    }


def measure(
    build: Build, files: dict[tuple[str, str], Path], options: argparse.Namespace
) -> dict[Key, float]:
    """Medians of the rounds of all models. The large one decodes a quarter as many tokens."""
    found: dict[Key, list[float]] = {}
    runs = [(build.programs / "llama-bench", kind, kind) for kind in TYPES]
    runs += [(bench, kind, f"{kind} {who}") for who, bench in build.peers.items() for kind in TYPES[:2]]
    for round_ in range(options.rounds):
        for name in dict.fromkeys(name for name, _ in files):
            for threads in options.threads:
                for bench, kind, column in runs:
                    say(f"round {round_ + 1}: {name}, {threads} threads, {column}")
                    decoded = DECODED // 4 if name == LARGE else DECODED
                    for what, value in speeds(bench, files[name, kind], threads, decoded).items():
                        found.setdefault((name, threads, column, what), []).append(value)
    return {key: statistics.median(values) for key, values in found.items()}


def loads(
    build: Build, files: dict[tuple[str, str], Path], options: argparse.Namespace
) -> dict[tuple[str, str], Load]:
    """The fastest load of each type and way, types taking turns: (type, mode) -> load."""
    found: dict[tuple[str, str], list[Load]] = {}
    stock = build.peers[STOCK].parent if STOCK in build.peers else build.programs
    for _ in range(4 * options.rounds + 1):
        for mode in ("none", "mmap"):
            for kind in TYPES[1:]:
                file = files[options.model.stem, kind]
                programs = stock if kind == "Q8_0" else build.programs
                found.setdefault((kind, mode), []).append(load(programs, file, mode=mode))
    return {key: min(values, key=lambda one: one.seconds) for key, values in found.items()}


def with_models(options: argparse.Namespace, all_builds: dict[str, Build]) -> list[str]:
    """The page's part that needs models, goals first."""
    first = next(iter(all_builds.values()))
    files = models(options, first.programs)
    figures: dict[str, dict[Key, float]] = {}
    for name, build in all_builds.items():
        say(name)
        mine = {key: path for key, path in files.items() if build is first or key[0] != LARGE}
        figures[name] = measure(build, mine, options)
    say("profiles and loads")
    profiles = {
        (name, threads): found
        for name, kind in files
        if kind == TYPES[-1]
        for threads in options.threads
        if (found := shares(first.programs, files[name, kind], threads)) is not None
    }
    ours = files[options.model.stem, TYPES[-1]]
    loading = pages.Loading(
        loads(first, files, options), copying(ours.stat().st_size), loading_shares(first.programs, ours)
    )
    sizes = {key: path.stat().st_size for key, path in files.items()}
    return pages.models(figures, profiles, loading, sizes)


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
    parser.add_argument("--build", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--peer", action="append", default=[], metavar="BUILD:NAME=LLAMA_BENCH")
    parser.add_argument("--model", type=Path, help="An F16 model of the llama architecture.")
    parser.add_argument("--work", type=Path, default=Path("bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--threads", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2]
    )
    parser.add_argument("--no-synthetic", action="store_true", help="The model alone.")
    parser.add_argument("--alone", action="store_true", help="The kernels alone.")
    parser.add_argument("-o", "--output", type=Path, help="Where the page goes, besides stdout.")
    options = parser.parse_args()
    try:
        all_builds = builds(options)
    except ValueError as why:
        parser.error(str(why))
    if not options.alone and (not all_builds or options.model is None):
        parser.error("--build and --model are needed, or --alone")
    start, busy = time.monotonic(), os.getloadavg()[0]
    parts = [] if options.alone else with_models(options, all_builds)
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
