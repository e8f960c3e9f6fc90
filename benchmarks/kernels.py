"""How fast Q8_A8 is on the CPU, against F16 and Q8_0 of the same build: prompts, decoding, the kernels alone.

    python -m benchmarks.kernels --tree PATCHED --bin BUILD/bin --model f16.gguf --work ./bench [-o OUT.md]

The types take turns in every round; figures are medians of the rounds. Besides the model there is one of
random weights in the shape of a 1B model, made in the work folder. With --alone no model is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.kernels_alone import against_peak, on_arm
from patcher.machine import cpu_name, processors
from patcher.model.gguf import read
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_writer import GgufWriter, NewTensor, make_value

TYPES = ("F16", "Q8_0", "Q8_A8")
PROMPT, DECODED = 512, 128
F32, F16 = 0, 1
# name -> (layers, width, feed-forward width, heads, heads of keys and values)
SHAPE = (16, 2048, 8192, 32, 8)
GOALS = {  # (measure, against) -> at least
    ("prompt", "F16"): 3.0,
    ("prompt", "Q8_0"): 3.0,
    ("decode", "F16"): 1.7,
    ("decode", "Q8_0"): 1.05,
}

Key = tuple[str, int, str, str]  # model, threads, type, measure


def _tensors(vocabulary: int) -> Iterator[NewTensor]:
    layers, width, inner, heads, kv_heads = SHAPE
    kv = width // heads * kv_heads
    yield NewTensor("token_embd.weight", (width, vocabulary), F16)
    yield NewTensor("output_norm.weight", (width,), F32)
    for layer in range(layers):
        for name, dims in (
            ("attn_norm", (width,)),
            ("attn_q", (width, width)),
            ("attn_k", (width, kv)),
            ("attn_v", (width, kv)),
            ("attn_output", (width, width)),
            ("ffn_norm", (width,)),
            ("ffn_gate", (width, inner)),
            ("ffn_up", (width, inner)),
            ("ffn_down", (inner, width)),
        ):
            yield NewTensor(f"blk.{layer}.{name}.weight", dims, F32 if len(dims) == 1 else F16)


def synthetic(base: Path, out: Path) -> None:
    """A model of random weights with the tokenizer of ``base``, which has to be of the llama architecture."""
    head = read(base)
    layers, width, inner, heads, kv_heads = SHAPE
    numbers = {
        "block_count": layers,
        "embedding_length": width,
        "feed_forward_length": inner,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "rope.dimension_count": width // heads,
    }
    metadata = dict(head.metadata)
    for key, number in numbers.items():
        metadata[f"llama.{key}"] = make_value(ValueType.UINT32, number)
    tensors = tuple(_tensors(len(head.get("tokenizer.ggml.tokens"))))
    rng = np.random.default_rng(5)
    draft = out.with_name(out.name + ".part")
    with GgufWriter(draft, metadata, tensors) as writer:
        for tensor in tensors:
            if tensor.type == F32:
                writer.write(tensor.name, [np.ones(tensor.dims, np.float32).tobytes()])
                continue
            row, rows = tensor.dims
            scale = np.float32(row**-0.5)
            writer.write(
                tensor.name,
                (
                    (rng.standard_normal((min(512, rows - at), row), np.float32) * scale)
                    .astype(np.float16)
                    .tobytes()
                    for at in range(0, rows, 512)
                ),
            )
        writer.sync()
    draft.replace(out)


def quantized(programs: Path, source: Path, kind: str, out: Path) -> Path:
    """``source`` as ``kind``, made where it is missing."""
    if not out.is_file():
        draft = out.with_name(out.name + ".part")
        command = [str(programs / "llama-quantize"), str(source), str(draft), kind]
        subprocess.run(command, check=True, capture_output=True)
        draft.replace(out)
    return out


def speeds(programs: Path, model: Path, threads: int) -> dict[str, float]:
    """Tokens a second of one run: ``prompt`` and ``decode``."""
    command = [str(programs / "llama-bench"), "-m", str(model), "-t", str(threads), "-r", "1", "-o", "json"]
    command += ["-p", str(PROMPT), "-n", str(DECODED)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = json.loads(done.stdout)
    return {("prompt" if row["n_prompt"] else "decode"): float(row["avg_ts"]) for row in rows}


def measure(options: argparse.Namespace) -> dict[Key, list[float]]:
    """All rounds of all models."""
    options.work.mkdir(parents=True, exist_ok=True)
    models = {options.model.stem: options.model}
    if not options.no_synthetic:
        models["1B, random"] = options.work / "synthetic.gguf"
        if not models["1B, random"].is_file():
            synthetic(options.model, models["1B, random"])
    files = {
        (name, kind): path
        if kind == "F16"
        else quantized(options.bin, path, kind, options.work / f"{path.stem}.{kind}.gguf")
        for name, path in models.items()
        for kind in TYPES
    }
    found: dict[Key, list[float]] = {}
    for round_ in range(options.rounds):
        for name in models:
            for threads in options.threads:
                for kind in TYPES:
                    print(
                        f"round {round_ + 1}: {name}, {threads} threads, {kind}", file=sys.stderr, flush=True
                    )
                    for what, value in speeds(options.bin, files[name, kind], threads).items():
                        found.setdefault((name, threads, kind, what), []).append(value)
    return found


def table(found: dict[Key, list[float]]) -> list[str]:
    """Medians, and Q8_A8's ratios to the others with the goals that they have."""
    medians = {key: statistics.median(values) for key, values in found.items()}
    lines = [
        "| model | threads | | F16 t/s | Q8_0 t/s | Q8_A8 t/s | against F16 | against Q8_0 "
        f"| first token, {PROMPT} tokens |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, threads, kind, what in medians:
        if kind != TYPES[0]:
            continue
        values = [medians[name, threads, other, what] for other in TYPES]
        cells = [f"{value:.1f}" for value in values]
        for other, value in zip(TYPES[:2], values[:2], strict=True):
            ratio, goal = values[2] / value, GOALS[what, other]
            cells.append(f"{ratio:.2f} x ({'≥' if ratio >= goal else '**under**'} {goal})")
        first = f"{values[0] / values[2]:.2f} x F16's" if what == "prompt" else ""
        lines.append(f"| {name} | {threads} | {what} | " + " | ".join([*cells, first]) + " |")
    return lines


def alone(options: argparse.Namespace) -> list[str]:
    """The kernels without a model."""
    lines = [
        "| kernel, one core | 512 x 1536 x 576 | without quantization | peak | share |",
        "|---|---|---|---|---|",
    ]
    for flags in (["-march=native"], ["-mavx2", "-mfma", "-mf16c"]):
        row = against_peak(options.tree, flags, 5 * options.rounds, (512, 1536, 576))
        lines.append(
            f"| {row['kernels']} | {row['gops']:.0f} GOP/s | {row['gops_without_quantization']:.0f} GOP/s "
            f"| {row['peak_gops']:.0f} GOP/s | {100 * float(str(row['share'])):.0f} % |"
        )
    arm = on_arm(options.tree)
    if arm is None:
        return [*lines, "", "aarch64: not counted, needs g++-aarch64-linux-gnu and qemu-user."]
    return [
        *lines,
        "",
        f"aarch64 with i8mm, instructions for a weight and a row of activations: {arm['ours']:.4f}, "
        f"upstream's Q8_0 {arm['upstream']:.4f}: {arm['ratio']:.2f} x.",
    ]


def main() -> int:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--tree", type=Path, required=True, help="The patched checkout.")
    parser.add_argument("--bin", type=Path, help="The programs that were built from it.")
    parser.add_argument("--model", type=Path, help="An F16 model of the llama architecture.")
    parser.add_argument("--work", type=Path, default=Path("bench"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--threads", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2]
    )
    parser.add_argument("--no-synthetic", action="store_true", help="The model alone.")
    parser.add_argument("--alone", action="store_true", help="The kernels alone.")
    parser.add_argument("-o", "--output", type=Path, help="Where the tables go, besides stdout.")
    options = parser.parse_args()
    if not options.alone and (options.bin is None or options.model is None):
        parser.error("--bin and --model are needed, or --alone")
    lines = [
        f"{cpu_name()}, {processors()} processors, load {os.getloadavg()[0]:.1f}, {options.rounds} rounds.",
        "",
    ]
    if not options.alone:
        lines += [*table(measure(options)), ""]
    lines += alone(options)
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if options.output is not None:
        draft = options.output.with_name(options.output.name + ".part")
        draft.write_text(text, encoding="utf-8")
        draft.replace(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
