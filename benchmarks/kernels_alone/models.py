"""The models that are measured, one of them of random weights in the shape of a 1B model."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from patcher.model.gguf import read
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_writer import GgufWriter, NewTensor, make_value

F32, F16 = 0, 1
# layers, width, feed-forward width, heads, heads of keys and values
SHAPE = (16, 2048, 8192, 32, 8)


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
