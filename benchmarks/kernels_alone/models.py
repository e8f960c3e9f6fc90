"""The models that are measured, two of them of random weights: one of experts, one in the shape of 1B."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from patcher.model.gguf import read
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_writer import GgufWriter, NewTensor, make_value

F32, F16 = 0, 1
LARGE = "1B, random"  # weights that no cache holds


class Shape(NamedTuple):
    """Layers, widths, heads (of queries; of keys and values); experts and how many of them a token takes."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    experts: int = 0
    used: int = 0


SHAPES = {"MoE, random": Shape(8, 1024, 1024, 16, 4, experts=16, used=4), LARGE: Shape(16, 2048, 8192, 32, 8)}


def _tensors(shape: Shape, vocabulary: int) -> Iterator[NewTensor]:
    width, inner = shape.width, shape.inner
    kv = width // shape.heads * shape.kv_heads
    # a router's scores choose experts: upstream keeps it in F32, as models do
    feeds: tuple[tuple[str, tuple[int, ...]], ...] = (
        (
            ("ffn_gate_inp", (width, shape.experts)),
            ("ffn_gate_exps", (width, inner, shape.experts)),
            ("ffn_up_exps", (width, inner, shape.experts)),
            ("ffn_down_exps", (inner, width, shape.experts)),
        )
        if shape.experts
        else (("ffn_gate", (width, inner)), ("ffn_up", (width, inner)), ("ffn_down", (inner, width)))
    )
    yield NewTensor("token_embd.weight", (width, vocabulary), F16)
    yield NewTensor("output_norm.weight", (width,), F32)
    for layer in range(shape.layers):
        for name, dims in (
            ("attn_norm", (width,)),
            ("attn_q", (width, width)),
            ("attn_k", (width, kv)),
            ("attn_v", (width, kv)),
            ("attn_output", (width, width)),
            ("ffn_norm", (width,)),
            *feeds,
        ):
            kind = F32 if len(dims) == 1 or name == "ffn_gate_inp" else F16
            yield NewTensor(f"blk.{layer}.{name}.weight", dims, kind)


def synthetic(base: Path, out: Path, shape: Shape) -> None:
    """A model of random weights with the tokenizer of ``base``, which has to be of the llama architecture."""
    head = read(base)
    numbers = {
        "block_count": shape.layers,
        "embedding_length": shape.width,
        "feed_forward_length": shape.inner,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "rope.dimension_count": shape.width // shape.heads,
        **({"expert_count": shape.experts, "expert_used_count": shape.used} if shape.experts else {}),
    }
    metadata = dict(head.metadata)
    for key, number in numbers.items():
        metadata[f"llama.{key}"] = make_value(ValueType.UINT32, number)
    tensors = tuple(_tensors(shape, len(head.get("tokenizer.ggml.tokens"))))
    rng = np.random.default_rng(5)
    draft = out.with_name(out.name + ".part")
    with GgufWriter(draft, metadata, tensors) as writer:
        for tensor in tensors:
            if len(tensor.dims) == 1:
                writer.write(tensor.name, [np.ones(tensor.dims, np.float32).tobytes()])
                continue
            row, rows = tensor.dims[0], math.prod(tensor.dims[1:])
            kind, scale = (np.float32 if tensor.type == F32 else np.float16), np.float32(row**-0.5)
            writer.write(
                tensor.name,
                (
                    (rng.standard_normal((min(512, rows - at), row), np.float32) * scale)
                    .astype(kind)
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
