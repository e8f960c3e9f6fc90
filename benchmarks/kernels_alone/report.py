"""The page of ``benchmarks.kernels``: goals, tables, and what the figures say about what is left."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.kernels_alone import Speed, goals
from benchmarks.kernels_alone.goals import PROMPT, TYPES, Key, verdict
from benchmarks.kernels_alone.loading import Load
from benchmarks.kernels_alone.roofline import bound

# Of the instructions for a block and a register of outputs, 8 are products of four bytes and 2 the product
# and the sum of scales; the same units of an AVX512-VNNI core execute all ten (the conversion has others).
SCALED = 8 / 10

ARM, SHARE, LOADING = 0.8, 0.5, 0.1


def command(arguments: Sequence[str]) -> str:
    """How this page was made, without the folders of this machine."""
    short = [re.sub(r"(^|=)/(?:[^/=]+/)*([^/=]+)/?$", r"\1\2", word) for word in arguments]
    return shlex.join(["python", "-m", "benchmarks.kernels", *short])


def rates(figures: Mapping[Key, float]) -> list[str]:
    """Tokens a second, and Q8_A8's ratios to the others."""
    lines = [
        "| model | threads | | F16 t/s | Q8_0 t/s | Q8_A8 t/s | against F16 | against Q8_0 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, threads, kind, what in figures:
        if kind == TYPES[0]:
            values = [figures[name, threads, other, what] for other in TYPES]
            cells = [
                *(f"{value:.1f}" for value in values),
                *(f"{values[2] / value:.2f} x" for value in values[:2]),
            ]
            lines.append(f"| {name} | {threads} | {what} | {' | '.join(cells)} |")
    return lines


def peers(figures: Mapping[Key, float]) -> list[str]:
    """What other builds make of the same files, and how far this build is from their best."""
    lines = []
    for who in goals.peers(figures):
        lines += [
            "",
            f"{who}, in turns with this build:",
            "",
            "| model | threads | | its F16 t/s | its Q8_0 t/s | our Q8_0, to its | our Q8_A8, to its best |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, threads, kind, what in figures:
            if kind != TYPES[0]:
                continue
            theirs = [figures[name, threads, f"{other} {who}", what] for other in TYPES[:2]]
            ours = [figures[name, threads, other, what] for other in TYPES[1:]]
            ratios = (ours[0] / theirs[1], ours[1] / max(theirs))
            cells = [*(f"{value:.1f}" for value in theirs), *(f"{ratio:.2f} x" for ratio in ratios)]
            lines.append(f"| {name} | {threads} | {what} | {' | '.join(cells)} |")
    return lines


def profile(
    native: Mapping[Key, float], profiles: Mapping[tuple[str, int], Mapping[str, float]]
) -> list[str]:
    """Where a prompt's time goes, and what the ratios would be without what it goes to."""
    if not profiles:
        return ["No profile: `perf` is missing, or is not allowed to sample."]
    lines = [
        "| model | threads | products | attention | rest | without products: against F16 | against Q8_0 |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, threads), parts in profiles.items():
        ours = native[name, threads, TYPES[-1], "prompt"] / (1 - parts["products"])
        ratios = [ours / native[name, threads, other, "prompt"] for other in TYPES[:2]]
        cells = [f"{100 * parts[part]:.0f} %" for part in ("products", "attention", "others")]
        cells += [f"{ratio:.1f} x" for ratio in ratios]
        lines.append(f"| {name} | {threads} | {' | '.join(cells)} |")
    return [
        *lines,
        "",
        "Products are Q8_A8's: weights times activations, the activations' quantization included. Attention",
        "multiplies activations by activations (F16 and F32) and is upstream's for every type; so is the",
        "rest: norms, rotations, activation functions, sums. The last two columns are what a product that",
        "took no time would reach; no kernel of a weight type can surpass them.",
    ]


def decoding(native: Mapping[Key, float], sizes: Mapping[tuple[str, str], int]) -> list[str]:
    """At what pace weights are read while decoding, and what the pace of the fastest type would give Q8_A8.

    ``sizes``: bytes of each model's file in each type.
    """
    lines = [
        "| model | threads | F16 GB/s | Q8_0 GB/s | Q8_A8 GB/s | Q8_A8 at the fastest pace: against F16 |",
        "|---|---|---|---|---|---|",
    ]
    for name, threads in goals.places(native):
        paces = {kind: native[name, threads, kind, "decode"] * sizes[name, kind] for kind in TYPES}
        most = max(paces.values()) / sizes[name, TYPES[-1]] / native[name, threads, TYPES[0], "decode"]
        cells = [f"{pace / 1e9:.0f}" for pace in paces.values()]
        lines.append(f"| {name} | {threads} | {' | '.join(cells)} | {most:.2f} x |")
    return [
        *lines,
        "",
        "A decoded token goes through all weights once, so memory's pace is the bound of a model that no",
        "cache holds: where it holds F16 up, too, a type of 53 % of its bytes can be 1.88 times as fast.",
        "Memory is shared with whatever else runs on the machine, and its pace moves with that.",
    ]


@dataclass(frozen=True)
class Loading:
    """Loads by type and mode; seconds to copy as many bytes; where a load's time goes, if it is known."""

    loads: Mapping[tuple[str, str], Load]
    copying: float
    profile: Mapping[str, float] | None

    def added(self, mode: str) -> float:
        """What packing adds to a load: 0.1 is a tenth."""
        return self.loads["Q8_A8", mode].seconds / self.loads["Q8_0", mode].seconds - 1

    @property
    def least(self) -> float:
        """What copying alone would add to a load from a mapping."""
        return self.copying / self.loads["Q8_0", "mmap"].seconds


def loading(found: Loading) -> list[str]:
    """What packing costs before the first token."""
    lines = [
        "| | load mode | until the first token | own memory | with mapped files |",
        "|---|---|---|---|---|",
    ]
    for (kind, mode), one in found.loads.items():
        cells = [
            f"{1000 * one.seconds:.0f} ms",
            f"{one.own_bytes / 1e6:.0f} MB",
            f"{one.resident_bytes / 1e6:.0f} MB",
        ]
        lines.append(f"| {kind} | {mode} | {' | '.join(cells)} |")
    copied, mapped = found.added("none"), found.added("mmap")
    return [
        *lines,
        "",
        f"Goal: packing adds at most {100 * LOADING:.0f} % to Q8_0's time, which has the file's layout here.",
        "",
        "- To a load that reads the file into memory it adds"
        f" {100 * copied:.0f} % ({verdict(copied <= LOADING)})"
        f"{'.' if found.profile is None else _within(found.profile)}",
        f"- To one from a mapping it adds {100 * mapped:.0f} % ({verdict(mapped <= LOADING)}):",
        "  there Q8_0 is left where it is, while packed weights are written once. Two threads that merely"
        f"\n  copy as many bytes take {1000 * found.copying:.0f} ms, {100 * found.least:.0f} % of that load.",
        "",
        "Packed weights are memory of the process's own, once: a mapped file is read as they are packed, or",
        "its pages are given back.",
    ]


def _within(profile: Mapping[str, float]) -> str:
    return (
        f"; by `perf`,\n  {100 * profile['packing']:.0f} % of its processor time are packing, and "
        f"{100 * profile['loader']:.0f} % upstream's `load_all_data` itself."
    )


def models(
    builds: Mapping[str, Mapping[Key, float]],
    profiles: Mapping[tuple[str, int], Mapping[str, float]],
    loaded: Loading,
    sizes: Mapping[tuple[str, str], int],
) -> list[str]:
    """The part of the page that needs models; ``builds``: figures by name, the first one profiled."""
    first = next(iter(builds.values()))
    lines = ["## Goals"]
    for build, figures in builds.items():
        lines += ["", f"With {build}:", "", *goals.goals(build, figures)]
    for build, figures in builds.items():
        lines += ["", f"## Tokens a second with {build}", "", *rates(figures), *peers(figures)]
    lines += ["", f"## Where the time of a prompt of {PROMPT} tokens goes", "", *profile(first, profiles)]
    lines += ["", "## Decoding", "", *decoding(first, sizes)]
    return [*lines, "", "## Loading", "", *loading(loaded), ""]


def kernels(rows: Sequence[Speed], points: Sequence[Speed], arm: Mapping[str, float] | None) -> list[str]:
    """The part of the page about the kernels alone; ``points`` are met by weights from memory."""
    lines = [
        "## The kernels alone",
        "",
        f"| one core | {PROMPT} x 1536 x 576 | without quantization | peak | share (goal ≥ {SHARE:.0%}) |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.kernels} | {row.gops:.0f} GOP/s | {row.product_gops:.0f} GOP/s "
            f"| {row.peak_gops:.0f} GOP/s | {100 * row.share:.0f} %, {verdict(row.share >= SHARE)} |"
        )
    if arm is None:
        lines += ["", "aarch64: not counted, needs g++-aarch64-linux-gnu and qemu-user."]
    else:
        lines += [
            "",
            "aarch64 with i8mm, instructions for a weight and a row of activations: "
            f"{arm['ours']:.4f}, upstream's Q8_0 {arm['upstream']:.4f}:",
            f"{arm['ratio']:.2f} x (goal ≤ {ARM}, {verdict(arm['ratio'] <= ARM)}).",
        ]
    lines += [
        "",
        f"Weights from memory; a decoded token is one row of activations, a prompt {PROMPT}. A scale for",
        f"every block takes two instructions beside eight products, so {100 * SCALED:.0f} % of the peak is",
        "what blocks of 32 allow on a core whose units for products and for scales are the same ones:",
        "",
        "| rows | operations a byte | GOP/s | the roof there | share of it |",
        "|---|---|---|---|---|",
    ]
    for point in points:
        roof = bound(point, SCALED * point.peak_gops)
        lines.append(
            f"| {point.rows} | {point.intensity:.1f} | {point.product_gops:.0f} | {roof:.0f} "
            f"| {100 * point.product_gops / roof:.0f} % |"
        )
    return lines
