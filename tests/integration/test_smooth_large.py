"""A model of 70B's shape (a sparse file): memory does not grow with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patcher.model.gguf import read
from patcher.model.gguf_format import TYPE_NUMBERS, ValueType
from patcher.model.gguf_writer import GgufWriter, NewTensor, make_value
from patcher.model.model_file import model_hash, open_model
from tests.tiny_models import stats_metadata, write_gguf

# a minute of one processor, for a bound that hardly anything moves
pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]

EMBD, FF, KV, HEADS, KV_HEADS, VOCAB = 8192, 28672, 1024, 64, 8, 128256
LAYERS = int(os.environ.get("Q8A8_TEST_LAYERS", "1"))  # 80 are the whole 70B
SHAPES = {
    "attn_norm": (EMBD,),
    "attn_q": (EMBD, EMBD),
    "attn_k": (EMBD, KV),
    "attn_v": (EMBD, KV),
    "attn_output": (EMBD, EMBD),
    "ffn_norm": (EMBD,),
    "ffn_gate": (EMBD, FF),
    "ffn_up": (EMBD, FF),
    "ffn_down": (FF, EMBD),
}
LIMIT = 2 << 30  # bytes


def sparse(path: Path) -> Path:
    """The model, all holes."""
    numbers = {"block_count": LAYERS, "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS}
    metadata = {"general.architecture": make_value(ValueType.STRING, "llama")}
    metadata |= {f"llama.{key}": make_value(ValueType.UINT32, value) for key, value in numbers.items()}
    f16, f32 = TYPE_NUMBERS["F16"], TYPE_NUMBERS["F32"]
    tensors = [
        NewTensor("token_embd.weight", (EMBD, VOCAB), f16),
        NewTensor("output_norm.weight", (EMBD,), f32),
    ]
    for layer in range(LAYERS):
        tensors += [
            NewTensor(f"blk.{layer}.{name}.weight", shape, f32 if len(shape) == 1 else f16)
            for name, shape in SHAPES.items()
        ]
    with GgufWriter(path, metadata, tensors):
        return path


def test_two_gigabytes_are_enough(tmp_path: Path) -> None:
    model = sparse(tmp_path / "70b.gguf")
    rng = np.random.default_rng(0)
    tensors = {}
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_output", "ffn_gate", "ffn_down"):
            weight, n = f"blk.{layer}.{name}.weight", SHAPES[name][0]
            for part in ("max", "mean", "square"):
                tensors[f"{weight}.{part}"] = rng.uniform(0.1, 9, (1, n)), "F32"
            tensors[f"{weight}.count"] = np.ones(1), "I64"
    stats = write_gguf(tmp_path / "stats", stats_metadata(model_hash(open_model(model)), 0), tensors)
    code = (
        "import resource, sys; from patcher.commands.smooth import command;"
        "command.main(sys.argv[1:], standalone_mode=False);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    arguments = [str(model), "--stats", str(stats), "-o", str(tmp_path / "out.gguf"), "--alpha", "0.5"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < LIMIT
    assert len(read(tmp_path / "out.gguf").get("smoothquant.folds")) == 4 * LAYERS
