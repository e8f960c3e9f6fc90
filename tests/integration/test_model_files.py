"""Models as people have them, with real llama.cpp: in parts, aligned otherwise, with an adapter, damaged."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patcher.model.dequantize import block_of, dequantized, is_readable
from patcher.model.gguf import read
from patcher.model.gguf_format import TENSOR_TYPES, TYPE_NUMBERS, ValueType
from patcher.model.gguf_writer import GgufWriter, NewTensor, make_value
from patcher.model.model_file import model_hash, open_model
from tests.integration.conftest import Work, q8a8_patch
from tests.tiny_models import write_gguf
from tests.unit.test_model_gguf import split

pytestmark = [pytest.mark.llama, pytest.mark.network, pytest.mark.compiler, pytest.mark.slow]
EMBD, FF, LAYERS, HEADS, KV, RANK = 64, 96, 2, 4, 2, 4
SIZES = {
    "embedding_length": EMBD,
    "feed_forward_length": FF,
    "block_count": LAYERS,
    "attention.head_count": HEADS,
    "attention.head_count_kv": KV,
    "rope.dimension_count": EMBD // HEADS,
    "context_length": 512,
}


def shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    """The matrices and norms of a llama of two layers, as numpy has them."""
    made: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, EMBD),
        "output_norm.weight": (EMBD,),
    }
    for layer in range(LAYERS):
        p = f"blk.{layer}."
        made |= {f"{p}{norm}.weight": (EMBD,) for norm in ("attn_norm", "ffn_norm")}
        made |= {
            f"{p}attn_{x}.weight": (EMBD if x in ("q", "output") else EMBD // 2, EMBD)
            for x in ("q", "k", "v", "output")
        }
        made |= {
            f"{p}ffn_gate.weight": (FF, EMBD),
            f"{p}ffn_up.weight": (FF, EMBD),
            f"{p}ffn_down.weight": (EMBD, FF),
        }
    return made  # fmt: skip


def small(model: Path, out: Path, *, alignment: int = 32, large: float = 0.0) -> Path:
    """A model of random weights with the vocabulary of ``model``; one weight is ``large``, in BF16 then."""
    head = read(model)
    keys = {f"llama.{key}": make_value(ValueType.UINT32, value) for key, value in SIZES.items()}
    metadata = {**head.metadata, **keys, "general.file_type": make_value(ValueType.UINT32, 1)}
    if alignment != 32:
        metadata["general.alignment"] = make_value(ValueType.UINT32, alignment)
    rng = np.random.default_rng(4)
    arrays = {
        name: (
            rng.normal(0, shape[-1] ** -0.5, shape) if len(shape) > 1 else np.exp(rng.normal(0, 0.8, shape))
        )
        for name, shape in shapes(len(head.get("tokenizer.ggml.tokens"))).items()
    }
    if large:
        arrays["blk.1.ffn_down.weight"][3, 5] = large
    kinds = {name: "F32" if array.ndim == 1 else "BF16" if large else "F16" for name, array in arrays.items()}
    new = [
        NewTensor(name, tuple(reversed(array.shape)), TYPE_NUMBERS[kinds[name]])
        for name, array in arrays.items()
    ]
    with GgufWriter(out, metadata, new, alignment=alignment) as writer:
        for name, array in arrays.items():
            raw = array.astype("<f2" if kinds[name] == "F16" else "<f4")
            if kinds[name] == "BF16":
                raw = (raw.view("<u4") >> 16).astype("<u2")
            writer.write(name, [raw.tobytes()])
    return out


def ran(*arguments: Any) -> subprocess.CompletedProcess[str]:
    done = q8a8_patch(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def test_parts_give_what_the_whole_gives(
    work: Work, tool: Path, model: Path, text: Path, tmp_path: Path
) -> None:
    whole = small(model, tmp_path / "m.gguf")
    first = split(whole, 3)
    for source, name in ((whole, "whole"), (first, "parts")):
        ran(
            "calibrate", source, "-f", text, "-o", tmp_path / f"{name}.stats", "--tool", tool, "--chunks", "2"
        )
        stats = ["--stats", tmp_path / f"{name}.stats"]
        for more, kind in (([], "plain"), (stats, "rounded")):
            ran("quantize", source, tmp_path / f"{name}-{kind}.gguf", "Q8_A8", "--bin", work.bin, *more)
        ran("smooth", source, *stats, "-o", tmp_path / f"{name}-smooth.gguf")
    for more, kind in (([], "kept"), (["--stats", tmp_path / "parts.stats"], "kept-rounded")):
        out = tmp_path / f"{kind}.gguf"
        said = ran("quantize", first, out, "Q8_A8", "--keep-split", "--bin", work.bin, "--json", *more)
        assert len(json.loads(said.stdout)["parts"]) == 3
    one = "-00001-of-00003.gguf"

    def hashed(name: str) -> str:
        return model_hash(open_model(tmp_path / name))

    assert hashed("parts-plain.gguf") == hashed(f"kept{one}") == hashed("whole-plain.gguf")
    assert hashed("parts-rounded.gguf") == hashed(f"kept-rounded{one}") == hashed("whole-rounded.gguf")
    assert hashed(f"parts-smooth{one}") == hashed("whole-smooth.gguf")
    assert hashed("whole-plain.gguf") != hashed("whole-rounded.gguf")
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_another_part_is_another_model(work: Work, model: Path, text: Path, tmp_path: Path) -> None:
    first = split(small(model, tmp_path / "m.gguf"), 3)
    line = [
        "evaluate", "run", first, "--text", text, "--bin", work.bin, "--types", f"F16,same={first}", "--chunks", "8",
        "--ctx", "64", "--rounds", "0", "--require", "none", "--json", "-q", "--no-kld", "--models", tmp_path / "models",
    ]  # fmt: skip
    before = json.loads(ran(*line).stdout)["models"][0]
    parts = sorted(tmp_path.glob("m-0000?-of-00003.gguf"))
    assert before["bytes"] == sum(path.stat().st_size for path in parts)
    data = bytearray(parts[2].read_bytes())
    data[-3000:] = bytes(3000)
    parts[2].write_bytes(data)
    after = json.loads(ran(*line).stdout)["models"][0]
    assert after["perplexity"] != before["perplexity"]


@pytest.mark.parametrize("alignment", [1, 8, 64, 4096])
def test_alignments(work: Work, model: Path, alignment: int, tmp_path: Path) -> None:
    source = small(model, tmp_path / "m.gguf", alignment=alignment)
    ran("quantize", source, tmp_path / "q.gguf", "Q8_A8", "--bin", work.bin)
    plain = small(model, tmp_path / "p.gguf")
    ran("quantize", plain, tmp_path / "pq.gguf", "Q8_A8", "--bin", work.bin)
    assert model_hash(open_model(tmp_path / "q.gguf")) == model_hash(open_model(tmp_path / "pq.gguf"))


def test_blocks_are_read_as_ggml_reads_them(work: Work) -> None:
    """Every type that the comparison reads, on random bytes, against the library of the build."""
    ggml = ctypes.CDLL(str(next(work.bin.glob("libggml-base.*"))))
    asked = 0
    for name in (name for name, _, _ in TENSOR_TYPES.values() if is_readable(name)):
        theirs = getattr(ggml, "dequantize_row_" + name.lower().replace("_k", "_K"), None)
        if theirs is None or name == "Q8_A8":  # floats need none, and a release may lack the type
            continue
        weights, size = block_of(name)
        raw = np.random.default_rng(7).integers(0, 256, (64, size), np.uint8)
        wanted = np.zeros((64, weights), np.float32)
        theirs(
            raw.ctypes.data_as(ctypes.c_void_p),
            wanted.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int64(wanted.size),
        )
        found = dequantized(raw, name)
        assert np.array_equal(np.isfinite(found), np.isfinite(wanted)), name
        assert np.array_equal(np.nan_to_num(found), np.nan_to_num(wanted)), name
        asked += 1
    assert asked >= 14


@pytest.mark.parametrize("number", [43, 46, 119, 121, 4])
def test_a_number_that_no_type_has_is_refused_as_upstream_refuses_it(
    work: Work, model: Path, number: int, tmp_path: Path
) -> None:
    """43 to 119 lie between upstream's numbers and ours, in no type's row of the table; 4 was a type once."""
    source = small(model, tmp_path / "m.gguf")
    name = b"blk.1.ffn_down.weight"
    data = bytearray(source.read_bytes())
    at = data.index(name) + len(name) + 4 + 2 * 8  # behind the count of the dimensions, and two of them
    assert data[at : at + 4] == TYPE_NUMBERS["F16"].to_bytes(4, "little")
    data[at : at + 4] = number.to_bytes(4, "little")
    source.write_bytes(data)
    command = map(str, (work.bin / "llama-quantize", source, tmp_path / "q.gguf", "Q8_0"))
    done = subprocess.run(list(command), capture_output=True, text=True)
    assert done.returncode != 0
    unknown = f"tensor '{name.decode()}' has invalid ggml type {number}"
    assert ("not a multiple of block size (0)" if number == 4 else unknown) in done.stderr


def test_embeddings_may_stay_and_what_fell_back_is_said(work: Work, model: Path, tmp_path: Path) -> None:
    source = small(model, tmp_path / "m.gguf")
    line = ["quantize", source, tmp_path / "q.gguf", "Q8_A8", "--bin", work.bin]
    done = ran(*line, "--token-embedding-type", "f16")
    assert "1 of 15 matrices is F16: --token-embedding-type asks for it" in done.stderr
    for kind in ("Q4_0", "Q4_K_M", "Q6_K", "BF16"):
        ran("quantize", source, tmp_path / "k.gguf", kind, "--bin", work.bin, "--force")


def test_what_f16_can_t_hold_is_named(work: Work, model: Path, tmp_path: Path) -> None:
    source = small(model, tmp_path / "m.gguf", large=1e5)
    done = q8a8_patch("quantize", source, tmp_path / "q.gguf", "F16", "--bin", work.bin)
    assert done.returncode == 2
    assert "tensor 'blk.1.ffn_down.weight' holds 99840, F16 ends at 65504; take BF16" in done.stderr
    assert not (tmp_path / "q.gguf").exists()


def test_an_adapter_that_was_not_folded_is_refused(
    work: Work, tool: Path, model: Path, text: Path, tmp_path: Path
) -> None:
    plain = small(model, tmp_path / "m.gguf")
    rng = np.random.default_rng(5)
    tensors: dict[str, Any] = {}
    for name, info in open_model(plain).tensors.items():
        if name.startswith("blk.") and len(info.dims) == 2:
            inputs, outputs = info.dims
            tensors[f"{name}.lora_a"] = rng.normal(0, inputs**-0.5, (RANK, inputs)).astype(np.float32), "F32"
            tensors[f"{name}.lora_b"] = rng.normal(0, 0.5, (outputs, RANK)).astype(np.float32), "F32"
    words = {"general.type": "adapter", "adapter.type": "lora", "general.architecture": "llama"}
    metadata = {key: make_value(ValueType.STRING, value) for key, value in words.items()}
    metadata["adapter.lora.alpha"] = make_value(ValueType.FLOAT32, RANK)
    adapter = write_gguf(tmp_path / "a.gguf", metadata, tensors)
    ran("calibrate", plain, "-f", text, "-o", tmp_path / "m.stats", "--tool", tool, "--chunks", "2")
    ran("smooth", plain, "--stats", tmp_path / "m.stats", "-o", tmp_path / "s.gguf")
    ran("smooth", "--lora", adapter, "--like", tmp_path / "s.gguf", "-o", tmp_path / "sa.gguf")

    def perplexity(of: Path, lora: Path, *more: str | Path) -> tuple[int, str]:
        command = [
            work.bin / "llama-perplexity",
            "-m",
            of,
            "--lora",
            lora,
            "-f",
            text,
            "-c",
            "128",
            "--chunks",
            "4",
        ]
        line = [*map(str, command), "--kl-divergence-base", str(tmp_path / "base"), *map(str, more)]
        done = subprocess.run(line, capture_output=True, text=True, errors="replace", check=False)
        return done.returncode, done.stdout + done.stderr

    assert perplexity(plain, adapter)[0] == 0
    code, said = perplexity(tmp_path / "s.gguf", tmp_path / "sa.gguf", "--kl-divergence")
    assert code == 0
    found = re.search(r"Mean\s+KLD:\s+(-?[\d.]+)", said)
    assert found is not None
    assert float(found[1]) < 1e-3
    for of, lora, why in (
        (tmp_path / "s.gguf", adapter, "the model is smoothed, the LoRA adapter isn't"),
        (plain, tmp_path / "sa.gguf", "was folded for a smoothed model, this one isn't smoothed"),
    ):
        code, said = perplexity(of, lora)
        assert code != 0
        assert why in said
