"""What smoothing is worth: F16, Q8_0, Q8_A8 and smoothed Q8_A8 against F16, on a model and on a copy of it
with activation outliers planted.

The test text is read in parts, so that a measurement takes minutes. Each leaves its result in the work folder
and is skipped when it is there: stop and start as you like; --steps 1 takes one step and returns (exit code 1
while something is left). Writes the table and the plot into docs/smoothing.md and docs/smoothing.svg.

    OPENBLAS_NUM_THREADS=1 python benchmarks/smoothing.py --bin BUILD/bin --model f16.gguf \\
        --calibration valid.txt --test test.txt --work ./bench
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from benchmarks.smoothing_page import write
from patcher.base.machine import cpu_name, processors
from patcher.model import architecture
from patcher.model.choose import Strength
from patcher.model.fold import Fold, find_folds, scalings
from patcher.model.material import material
from patcher.model.model_file import open_model
from patcher.model.refine import refine
from patcher.model.rewrite import output_paths, rewrite
from patcher.model.smooth import smooth
from patcher.model.smooth_metadata import factors_of, removed
from patcher.model.stats import Stats, open_stats
from patcher.model.tensor_data import Array
from patcher.model.worklog import Worklog
from patcher.programs.llama_perplexity import Divergence, parse
from patcher.programs.q8a8_stats import TOOL, CalibrationRequest, calibrate

SHARE, LEAST, MOST = 0.005, 20.0, 100.0  # channels with outliers, and how large they are made
CONTEXT = 512
ROWS_KEPT = 2048  # of each input; rounding wants more of them than an input has channels
MODELS = ("stock", "outliers")
ROWS = (
    "Q8_0",
    "Q8_A8",
    "smoothed Q8_A8",
    "smoothed Q8_A8, rounded",
    "smoothed Q8_A8, --head, rounded",
)


def plant(source: Path, out: Path) -> None:
    """A copy that computes the same: gains of some channels of every norm 20 to 100 times as large, the
    columns that read them as much smaller. The same channels in all layers, as outliers are in real models.
    """
    model = open_model(source)
    folds = find_folds(model, architecture.find(model.architecture, source))
    rng = np.random.default_rng(20)
    factors: dict[Fold, Array] = {}
    chosen: dict[int, Any] = {}
    for fold in folds:
        if fold.producer_role != "norm":
            continue
        count = max(1, round(fold.channels * SHARE))
        channels = chosen.setdefault(fold.channels, rng.choice(fold.channels, count, replace=False))
        values = np.ones((1, fold.channels), np.float32)
        values[0, channels] = 1 / np.exp(rng.uniform(np.log(LEAST), np.log(MOST), count))
        factors[fold] = values
    with Worklog(out.with_name(out.name + ".log"), {"plant": str(source)}) as log:
        paths = output_paths(model, out, force=True)
        rewrite(model, paths, scalings(factors), removed(model.head), log)
        log.remove()


class Bench:
    """The steps, each of which makes a file in the work folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.work: Path = options.work
        self.work.mkdir(parents=True, exist_ok=True)

    def made(self, name: str, make: Callable[[Path], None]) -> Path:
        """The file ``name``, made where it is missing."""
        place = self.work / name
        with FileLock(self.work / f"{name}.lock"):  # several processes may work on rows of their own
            if not place.is_file():
                print(f"{name} ...", file=sys.stderr, flush=True)
                make(place)
        return place

    def program(self, name: str, *arguments: str | Path) -> str:
        """Run one of llama.cpp's programs; all that it says."""
        folder = self.options.bin
        command = [str(folder / name), *map(str, arguments)]
        environment = os.environ | {"LD_LIBRARY_PATH": str(folder)}
        done = subprocess.run(
            command,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        )
        if done.returncode:
            sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-2000:]}")
        return done.stdout

    def stats(self, name: str, model: Path) -> Stats:
        """Statistics of a model, over the calibration text."""
        place = self.work / f"{name}.stats"
        request = CalibrationRequest(
            self.options.tool or self.options.bin / TOOL,
            model,
            self.options.calibration,
            place,
            rows=ROWS_KEPT,
            chunks=self.options.calibration_chunks,
            threads=self.options.threads,
        )
        if place.is_file() and sum(open_stats(place).chunks) == self.options.calibration_chunks:
            return open_stats(place)
        print(f"{place.name} ...", file=sys.stderr, flush=True)
        return calibrate(request)  # goes on where a run that was stopped left it

    def smoothed(self, name: str, model: Path, *, head: bool = False) -> Path:
        """The model, smoothed with a searched alpha; ``head``: the output matrix too."""
        stats = self.stats(name, model)

        def make(out: Path) -> None:
            smooth(model, stats.path, out, Strength(), head=head)

        return self.made(f"{name}-smoothed{'-head' if head else ''}-f16.gguf", make)

    def quantized(self, model: Path, kind: str) -> Path:
        """The model in a type."""

        def make(out: Path) -> None:
            draft = out.with_suffix(".draft")
            self.program("llama-quantize", model, draft, kind, str(self.options.threads))
            draft.replace(out)

        return self.made(f"{model.stem}.{kind}.gguf", make)

    def perplexity(self, model: Path, part: int, *arguments: str | Path) -> str:
        """What llama-perplexity says of a part of the test text."""
        common = ("-f", self.parts[part], "-c", str(CONTEXT), "-t", str(self.options.threads))
        return self.program("llama-perplexity", "-m", model, *common, *arguments)

    def base(self, part: int) -> Path:
        """F16's own logits of a part: 2 bytes for each token scored and word of the vocabulary."""

        def make(out: Path) -> None:
            draft = out.with_suffix(".draft")
            self.perplexity(self.options.model, part, "--kl-divergence-base", draft)
            draft.replace(out)

        return self.made(f"base.{self.part_name(part)}.kld", make)

    def measured(self, name: str, make_model: Callable[[], Path], part: int) -> Path:
        """What llama-perplexity says of the model's divergence from the base on a part."""

        def make(out: Path) -> None:
            base = self.base(part)
            draft = out.with_suffix(".draft")
            said = self.perplexity(make_model(), part, "--kl-divergence", "--kl-divergence-base", base)
            draft.write_text(said, encoding="utf-8")
            draft.replace(out)

        return self.made(self.result(name, part).name, make)

    @property
    def all_parts(self) -> range:
        """Their numbers, from 0."""
        return range(self.options.parts)

    def part_name(self, part: int) -> str:
        """How files of a part are called."""
        return f"{part + 1:02}of{self.options.parts:02}"

    def rounded(self, plain: Path, source: Path, stats: Stats) -> Path:
        """The quantized model with its weights rounded so that errors cancel."""

        def make(out: Path) -> None:
            draft = out.with_suffix(".draft")
            shutil.copyfile(plain, draft)
            refine(draft, material(source, stats.path))
            draft.replace(out)

        return self.made(f"{plain.name.removesuffix('.gguf')}-rounded.gguf", make)

    def result(self, name: str, part: int) -> Path:
        """Where a row's figures on a part are."""
        return self.work / f"{name.replace(' ', '-').replace(',', '')}.{self.part_name(part)}.txt"

    @cached_property
    def parts(self) -> list[Path]:
        """The test text in parts of whole lines, about as long as each other, read one by one."""
        lines = self.options.test.read_text(encoding="utf-8").splitlines(keepends=True)
        ends = np.cumsum([len(line) for line in lines])
        cuts = np.searchsorted(ends, ends[-1] * np.arange(1, self.options.parts) / self.options.parts)
        paths = []
        for part, some in enumerate(np.split(np.arange(len(lines)), cuts)):
            paths.append(self.work / f"text.{self.part_name(part)}.txt")
            paths[-1].write_text("".join(lines[n] for n in some), encoding="utf-8")
        return paths

    def planted(self) -> Path:
        """The copy with outliers."""
        return self.made("outliers-f16.gguf", lambda out: plant(self.options.model, out))

    def row(self, name: str, row: str) -> Path:
        """The file that a row is about."""
        model = self.options.model if name == "stock" else self.planted()
        if row in ("Q8_0", "Q8_A8"):
            return self.quantized(model, row)
        smoothed = self.smoothed(name, model, head="--head" in row)
        if row == "smoothed F16":
            return smoothed
        plain = self.quantized(smoothed, "Q8_A8")
        return self.rounded(plain, smoothed, self.stats(name, model)) if "rounded" in row else plain

    def run(self) -> bool:
        """Measure part by part, ``--steps`` of them at most; whether all is measured."""
        left = self.options.steps
        for part in self.all_parts:
            for name, row in product(self.options.models, self.options.rows):
                if self.result(f"{name} {row}", part).is_file():
                    continue
                if left == 0:
                    return False
                left = left and left - 1
                self.measured(f"{name} {row}", partial(self.row, name, row), part)
            if self.is_whole(part) and not self.options.keep_base:
                (self.work / f"base.{self.part_name(part)}.kld").unlink(missing_ok=True)
        return all(map(self.is_whole, self.all_parts))

    def is_whole(self, part: int) -> bool:
        """Whether every row is measured on a part."""
        return all(self.result(f"{name} {row}", part).is_file() for name, row in product(MODELS, ROWS))

    def document(self) -> dict[str, Any]:
        """The figures of every row that is measured, each over the parts that Q8_0 is measured on, too."""
        document: dict[str, Any] = {
            "machine": {"cpu": cpu_name(), "processors": processors()},
            "context": CONTEXT,
            "parts": self.options.parts,
            "calibration_chunks": self.options.calibration_chunks,
            "rows_kept": ROWS_KEPT,
            "models": {name: {} for name in MODELS},
            "maxima": {},
        }
        for name, row in product(MODELS, ROWS):
            both = [[self.result(f"{name} {one}", part) for one in ("Q8_0", row)] for part in self.all_parts]
            measured = [pair for pair in both if all(path.is_file() for path in pair)]
            if not measured:
                continue
            found = joined([pair[1] for pair in measured])
            found["kld_ratio"] = found["kld"] / joined([pair[0] for pair in measured])["kld"]
            found["parts"] = len(measured)
            document["models"][name][row] = {"bytes": self.row(name, row).stat().st_size, **found}
        for name in MODELS:
            model = self.options.model if name == "stock" else self.planted()
            document["maxima"][name] = maxima(model, self.smoothed(name, model), self.stats(name, model))
        return document


def joined(results: Sequence[Path]) -> dict[str, Any]:
    """The figures of some parts as those of one text: means weighted by chunks, errors added in squares."""
    found = [parse(path.read_text(encoding="utf-8"), str(path)) for path in results]
    of = [(one.divergence, one.chunks) for one in found if one.divergence is not None and one.chunks]
    if len(of) != len(results):
        sys.exit(f"{results[0]} and following: one holds no divergence")
    chunks = np.array([count for _, count in of])
    share = chunks / chunks.sum()

    def mean(value: Callable[[Divergence], float]) -> float:
        return float(share @ np.array([value(one) for one, _ in of]))

    def error(value: Callable[[Divergence], float]) -> float:
        return float(np.sqrt(np.square(share * np.array([value(one) for one, _ in of])).sum()))

    ratio = float(np.exp(mean(lambda one: float(np.log(one.ratio)))))
    return {
        "chunks": int(chunks.sum()),
        "perplexity_ratio": ratio,
        "perplexity_ratio_error": ratio * error(lambda one: one.ratio_error / one.ratio),
        "kld": mean(lambda one: one.mean),
        "kld_error": error(lambda one: one.mean_error),
        "kld_99": mean(lambda one: one.p99),
        "same_top": mean(lambda one: one.same_top),
    }


def maxima(model: Path, smoothed: Path, stats: Stats) -> dict[str, dict[str, list[float]]]:
    """By kind of fold, each layer's largest activation relative to its mean channel's, before and after."""
    opened = open_model(model)
    folds = find_folds(opened, architecture.find(opened.architecture, model))
    factors = factors_of(open_model(smoothed).head, folds)
    found: dict[str, dict[str, list[float]]] = {}
    for fold, values in factors.items():
        seen = stats.input(fold.consumers[0].name).max
        pair = found.setdefault(fold.name.split(".")[2], {"before": [], "after": []})
        for key, channels in (("before", seen), ("after", seen / fold.spread(values))):
            pair[key].append(float(channels.max() / channels.mean()))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, then write the results; 1 where something is left to be measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bin", type=Path, required=True, help="the patched llama.cpp's programs")
    parser.add_argument("--tool", type=Path, help=f"{TOOL}, where it lies elsewhere")
    parser.add_argument("--model", type=Path, required=True, help="F16 GGUF")
    parser.add_argument("--calibration", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--parts", type=int, default=16, help="that the test text is read in [default: 16]")
    parser.add_argument("--steps", type=int, help="stop after so many measurements [default: none]")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="measure only these")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="and only of these")
    parser.add_argument("--keep-base", action="store_true", help="keep F16's logits of finished parts")
    parser.add_argument("--page", action="store_true", help="only write the page, of what is measured so far")
    parser.add_argument("--calibration-chunks", type=int, default=32, help="[default: 32]")
    parser.add_argument("--threads", type=int, default=processors())
    parser.add_argument("--docs", type=Path, default=Path(__file__).parent.parent / "docs")
    options = parser.parse_args(arguments)
    bench = Bench(options)
    if not options.page and not bench.run():
        return 1
    document = bench.document()
    (options.work / "smoothing.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    write(document, options.docs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
