"""Models of a few kilobytes for the tests of smoothing, and a forward pass in numpy that computes them.

The forward pass follows what each architecture's graph does, is written apart from the code under test, and
records the input of every product, from which statistics files are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patcher.model.gguf import TensorInfo, Value
from patcher.model.gguf_format import TYPE_NUMBERS, ValueType
from patcher.model.gguf_writer import GgufWriter, NewTensor, make_array, make_value
from patcher.model.model_file import open_model
from patcher.model.tensor_data import encode, load

F32 = npt.NDArray[np.float32]
EMBD, HEADS, KV, DIM, FF, EXPERTS, VOCAB, LAYERS = 64, 4, 2, 16, 96, 3, 50, 2
VARIANTS = (
    "llama",
    "llama-moe",
    "qwen2",
    "qwen2moe",
    "qwen3",
    "qwen3moe",
    "mistral3",
    "gemma",
    "gemma2",
    "gemma3",
    "phi3",
    "gpt2",
    "starcoder2",
    "smollm3",
    "granite",
    "granitemoe",
    "qwen2vl",
    "qwen3vl",
    "qwen3vlmoe",
    "exaone",
    "exaone4",
    "olmo2",
    "gemma3n",
    "gemma4",
    "lfm2",
    "deepseek2",
)
SECOND_NORMS = (
    "gemma2",
    "gemma3",
    "gemma3n",
    "gemma4",
    "olmo2",
    "exaone4",
)  # behind attention and the network
QK_NORMS = ("qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe", "gemma3", "gemma3n", "gemma4", "exaone4", "lfm2")
WITH_EXPERTS = ("llama-moe", "qwen3moe", "qwen2moe", "qwen3vlmoe", "granitemoe")
LATENT_Q, LATENT_KV = 32, 32  # of deepseek2


def write_gguf(
    path: Path,
    metadata: Mapping[str, Value],
    tensors: Mapping[str, tuple[npt.NDArray[Any], str]],
    *,
    big_endian: bool = False,
) -> Path:
    """Write arrays (shape reversed with regard to GGUF's) under a type by name."""
    new = [
        NewTensor(name, tuple(reversed(a.shape)), TYPE_NUMBERS[kind]) for name, (a, kind) in tensors.items()
    ]
    with GgufWriter(path, metadata, new, big_endian=big_endian) as writer:
        for tensor in new:
            array, kind = tensors[tensor.name]
            info = TensorInfo(tensor.name, tensor.dims, tensor.type, path, 0, big_endian)
            if kind in ("I64", "I32"):
                order = ">" if big_endian else "<"
                raw = array.astype(order + {"I64": "i8", "I32": "i4"}[kind]).tobytes()
            elif kind in ("F32", "F16", "BF16"):
                raw = encode(array.astype(np.float32).reshape(-1, tensor.dims[0]), info)
            else:
                raw = bytes(info.nbytes)
            writer.write(tensor.name, [raw])
    return path


def metadata_of(
    arch: str, more: Mapping[str, int] | None = None, *, big_endian: bool = False
) -> dict[str, Value]:
    """What smoothing reads of a model's metadata."""
    numbers = {
        "block_count": LAYERS,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV,
        **(more or {}),
    }
    if arch == "gpt2":
        del numbers["attention.head_count_kv"]
    return {
        "general.architecture": make_value(ValueType.STRING, arch, big_endian=big_endian),
        **{
            f"{arch}.{key}": make_value(ValueType.UINT32, number, big_endian=big_endian)
            for key, number in numbers.items()
        },
        "tokenizer.ggml.tokens": make_array(ValueType.STRING, ["a", "b"], big_endian=big_endian),
    }


def tensors_of(variant: str, seed: int = 0) -> dict[str, F32]:
    """Random weights with uneven channels."""
    rng = np.random.default_rng(seed)
    made: dict[str, F32] = {}

    def matrix(name: str, out: int, inputs: int, *, experts: int = 0) -> None:
        shape = (experts, out, inputs) if experts else (out, inputs)
        uneven = np.exp(rng.normal(0, 1, inputs))
        made[f"{name}.weight"] = (rng.normal(0, 0.15, shape) * uneven / np.sqrt(inputs)).astype(np.float32)

    def vector(name: str, length: int, around: float = 0.0) -> None:
        made[name] = (around + rng.normal(0, 0.4, length)).astype(np.float32)

    layernorm = variant in ("gpt2", "starcoder2")
    kv = HEADS if variant == "gpt2" else KV
    made["token_embd.weight"] = rng.normal(0, 1, (VOCAB, EMBD)).astype(np.float32)
    if variant == "gpt2":
        made["position_embd.weight"] = rng.normal(0, 1, (32, EMBD)).astype(np.float32)
    vector("token_embd_norm.weight" if variant == "lfm2" else "output_norm.weight", EMBD, 1.0)
    if variant == "llama":  # the others have the embeddings as their output
        matrix("output", VOCAB, EMBD)
    for layer in range(LAYERS):
        p = f"blk.{layer}."
        for norm in () if variant in ("olmo2", "exaone4") else ("attn_norm", "ffn_norm"):
            made[f"{p}{norm}.weight"] = np.exp(rng.normal(0, 1, EMBD)).astype(np.float32)
            if layernorm:
                vector(f"{p}{norm}.bias", EMBD)
        if variant in SECOND_NORMS:
            vector(p + "post_attention_norm.weight", EMBD, 1.0)
            vector(p + "post_ffw_norm.weight", EMBD, 1.0)
        if variant == "lfm2" and layer == 0:
            matrix(p + "shortconv.in_proj", 3 * EMBD, EMBD)
            made[p + "shortconv.conv.weight"] = rng.normal(0, 0.5, (EMBD, 3)).astype(np.float32)
            matrix(p + "shortconv.out_proj", EMBD, EMBD)
        elif variant == "deepseek2":
            matrix(p + "attn_q_a", LATENT_Q, EMBD)
            made[p + "attn_q_a_norm.weight"] = np.exp(rng.normal(0, 1, LATENT_Q)).astype(np.float32)
            matrix(p + "attn_q_b", HEADS * DIM, LATENT_Q)
            matrix(p + "attn_kv_a_mqa", LATENT_KV + DIM // 2, EMBD)
            made[p + "attn_kv_a_norm.weight"] = np.exp(rng.normal(0, 1, LATENT_KV)).astype(np.float32)
            matrix(p + "attn_kv_b", HEADS * (DIM // 2 + DIM), LATENT_KV)
        elif variant in ("phi3", "gpt2"):
            matrix(p + "attn_qkv", HEADS * DIM + 2 * kv * DIM, EMBD)
            if variant == "gpt2":
                vector(p + "attn_qkv.bias", HEADS * DIM + 2 * kv * DIM)
        else:
            for name, out in (("attn_q", HEADS * DIM), ("attn_k", KV * DIM), ("attn_v", KV * DIM)):
                matrix(p + name, out, EMBD)
                if variant in ("qwen2", "starcoder2", "qwen2moe", "qwen2vl"):
                    vector(f"{p}{name}.bias", out)
        if variant in QK_NORMS and f"{p}attn_q.weight" in made:
            vector(p + "attn_q_norm.weight", DIM, 1.0)
            vector(p + "attn_k_norm.weight", DIM, 1.0)
        if variant == "olmo2":  # over all heads at once
            vector(p + "attn_q_norm.weight", HEADS * DIM, 1.0)
            vector(p + "attn_k_norm.weight", KV * DIM, 1.0)
        if variant == "gemma3n":
            matrix(p + "laurel_l", 32, EMBD)
            matrix(p + "laurel_r", EMBD, 32)
            vector(p + "laurel_post_norm.weight", EMBD, 1.0)
        if variant == "gemma4":
            vector(p + "layer_output_scale.weight", 1, 1.0)
        if f"{p}shortconv.conv.weight" not in made:
            matrix(p + "attn_output", EMBD, HEADS * DIM)
        if layernorm:
            vector(p + "attn_output.bias", EMBD)
        if variant in WITH_EXPERTS or (variant == "deepseek2" and layer):
            matrix(p + "ffn_gate_inp", EXPERTS, EMBD)
            matrix(p + "ffn_gate_exps", FF, EMBD, experts=EXPERTS)
            matrix(p + "ffn_up_exps", FF, EMBD, experts=EXPERTS)
            matrix(p + "ffn_down_exps", EMBD, FF, experts=EXPERTS)
            if variant == "deepseek2":
                vector(p + "exp_probs_b.bias", EXPERTS)
            if variant == "qwen2moe":
                vector(p + "ffn_gate_inp_shexp.weight", EMBD)
            if variant in ("qwen2moe", "deepseek2"):
                matrix(p + "ffn_gate_shexp", FF, EMBD)
                matrix(p + "ffn_up_shexp", FF, EMBD)
                matrix(p + "ffn_down_shexp", EMBD, FF)
            continue
        matrix(p + "ffn_up", FF * (2 if variant == "phi3" else 1), EMBD)
        matrix(p + "ffn_down", EMBD, FF)
        if layernorm:
            vector(p + "ffn_up.bias", FF)
            vector(p + "ffn_down.bias", EMBD)
        elif variant != "phi3":
            matrix(p + "ffn_gate", FF, EMBD)
        if variant == "llama":
            vector(p + "ffn_up.bias", FF)
            vector(p + "ffn_gate.bias", FF)
    return made


def architecture_of(variant: str) -> str:
    """The GGUF name of a variant's architecture."""
    return variant.removesuffix("-moe")


def write_model(
    path: Path, variant: str, *, kind: str = "F32", seed: int = 0, big_endian: bool = False
) -> Path:
    """A tiny model; matrices in ``kind``, vectors in F32 as converters write them."""
    tensors = {
        name: (array, kind if array.ndim > 1 and "gate_inp" not in name else "F32")
        for name, array in tensors_of(variant, seed).items()
    }
    arch = architecture_of(variant)
    return write_gguf(path, metadata_of(arch, big_endian=big_endian), tensors, big_endian=big_endian)


@dataclass
class Forward:
    """One pass. ``inputs`` are the rows seen by each product, by expert."""

    path: Path
    inputs: dict[str, dict[int, list[F32]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        model = open_model(self.path)
        self.arch = model.architecture
        self.tensors = {
            name: load(info).astype(np.float64).reshape(tuple(reversed(info.dims)))
            for name, info in model.tensors.items()
        }

    def logits(self, tokens: npt.NDArray[np.int64]) -> Any:
        """Logits [tokens, vocabulary]."""
        x = self.tensors["token_embd.weight"][tokens]
        if self.arch.startswith("gemma"):
            x = x * np.sqrt(EMBD)
        if "position_embd.weight" in self.tensors:
            x = x + self.tensors["position_embd.weight"][: len(tokens)]
        for layer in range(LAYERS):
            p = f"blk.{layer}."
            part = 0.22 if self.arch.startswith("granite") else 1.0  # of each layer, that is added
            normed = self._optional_norm(p + "attn_norm", x)
            mixed = self._optional_norm(p + "post_attention_norm", self._attention(p, normed))
            x = x + part * mixed
            if p + "laurel_l.weight" in self.tensors:
                more = self._product(p + "laurel_r", self._product(p + "laurel_l", normed))
                x = (x + normed + self._norm(p + "laurel_post_norm", more)) / np.sqrt(2)
            fed = self._ffn(p, self._optional_norm(p + "ffn_norm", x))
            x = x + part * self._optional_norm(p + "post_ffw_norm", fed)
            if p + "layer_output_scale.weight" in self.tensors:
                x = x * self.tensors[p + "layer_output_scale.weight"]
        x = self._norm("output_norm" if "output_norm.weight" in self.tensors else "token_embd_norm", x)
        name = "output" if "output.weight" in self.tensors else "token_embd"
        return self._product(name, x)

    def _product(self, name: str, x: Any, expert: int | None = None) -> Any:
        weight = self.tensors[f"{name}.weight"]
        seen = self.inputs.setdefault(f"{name}.weight", {})
        seen.setdefault(expert or 0, []).extend(np.atleast_2d(x).astype(np.float32))
        y = x @ (weight if expert is None else weight[expert]).T
        return y + self.tensors[f"{name}.bias"] if f"{name}.bias" in self.tensors else y

    def _norm(self, name: str, x: Any) -> Any:
        bias = self.tensors.get(f"{name}.bias")
        if bias is not None:
            x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * self.tensors[f"{name}.weight"]
        return x if bias is None else x + bias

    def _optional_norm(self, name: str, x: Any) -> Any:
        return self._norm(name, x) if f"{name}.weight" in self.tensors else x

    def _attention(self, p: str, x: Any) -> Any:
        if p + "shortconv.conv.weight" in self.tensors:
            return self._short_convolution(p, x)
        kv = HEADS if self.arch in ("gpt2", "deepseek2") else KV
        n = len(x)
        if self.arch == "deepseek2":
            q, k, v = self._latent(p, x)
        elif p + "attn_qkv.weight" in self.tensors:
            qkv = self._product(p + "attn_qkv", x)
            q, k, v = np.split(qkv, [HEADS * DIM, (HEADS + kv) * DIM], axis=1)
        else:
            q, k, v = (self._product(p + name, x) for name in ("attn_q", "attn_k", "attn_v"))
        if self.arch == "olmo2":
            q, k = self._norm(p + "attn_q_norm", q), self._norm(p + "attn_k_norm", k)
        q, k, v = q.reshape(n, HEADS, DIM), k.reshape(n, kv, DIM), v.reshape(n, kv, DIM)
        if self.arch in ("gemma3n", "gemma4"):
            v = v / np.sqrt((v * v).mean(-1, keepdims=True) + 1e-6)
        if self.arch != "olmo2":
            q, k = self._optional_norm(p + "attn_q_norm", q), self._optional_norm(p + "attn_k_norm", k)
        if self.arch not in ("gpt2", "deepseek2"):
            q, k = _rope(q), _rope(k)
        out = np.empty((n, HEADS, DIM))
        mask = np.triu(np.full((n, n), -np.inf), 1)
        for head in range(HEADS):
            group = head // (HEADS // kv)
            scores = q[:, head] @ k[:, group].T / np.sqrt(DIM) + mask
            weights = np.exp(scores - scores.max(1, keepdims=True))
            out[:, head] = weights / weights.sum(1, keepdims=True) @ v[:, group]
        return self._product(p + "attn_output", out.reshape(n, -1))

    def _short_convolution(self, p: str, x: Any) -> Any:
        b, c, y = np.split(self._product(p + "shortconv.in_proj", x), 3, axis=1)
        kernel = self.tensors[p + "shortconv.conv.weight"]
        padded = np.concatenate([np.zeros((2, EMBD)), b * y])
        mixed = sum(padded[i : i + len(x)] * kernel[:, i] for i in range(3))
        return self._product(p + "shortconv.out_proj", c * mixed)

    def _latent(self, p: str, x: Any) -> tuple[Any, Any, Any]:
        """Queries, keys and values of DeepSeek's attention; half of each key is shared, and turned by place."""
        half = DIM // 2
        q = self._product(p + "attn_q_b", self._norm(p + "attn_q_a_norm", self._product(p + "attn_q_a", x)))
        both = self._product(p + "attn_kv_a_mqa", x)
        small, shared = both[:, :LATENT_KV], _rope(both[:, None, LATENT_KV:])
        kv = self._product(p + "attn_kv_b", self._norm(p + "attn_kv_a_norm", small)).reshape(
            -1, HEADS, half + DIM
        )
        q = q.reshape(-1, HEADS, DIM)
        q = np.concatenate([q[..., :half], _rope(q[..., half:])], -1)
        k = np.concatenate([kv[..., :half], np.repeat(shared, HEADS, 1)], -1)
        return q, k, kv[..., half:]

    def _ffn(self, p: str, x: Any) -> Any:
        if p + "ffn_gate_inp.weight" in self.tensors:
            return self._experts(p, x)
        act = _gelu if self.arch in ("gpt2", "starcoder2") or self.arch.startswith("gemma") else _silu
        up = self._product(p + "ffn_up", x)
        if self.arch == "phi3":
            hidden = act(up[:, :FF]) * up[:, FF:]
        elif p + "ffn_gate.weight" in self.tensors:
            hidden = act(self._product(p + "ffn_gate", x)) * up
        else:
            hidden = act(up)
        return self._product(p + "ffn_down", hidden)

    def _experts(self, p: str, x: Any) -> Any:
        router = self._product(p + "ffn_gate_inp", x)
        odds = np.exp(router - router.max(1, keepdims=True))
        router = router + self.tensors.get(p + "exp_probs_b.bias", 0.0)
        out = np.zeros_like(x)
        for token in range(len(x)):
            for expert in np.argsort(-router[token])[:2]:
                gate = self._product(p + "ffn_gate_exps", x[token], int(expert))
                hidden = _silu(gate) * self._product(p + "ffn_up_exps", x[token], int(expert))
                out[token] += odds[token, expert] * self._product(p + "ffn_down_exps", hidden, int(expert))
        if p + "ffn_up_shexp.weight" in self.tensors:
            share = np.ones(len(x))
            if p + "ffn_gate_inp_shexp.weight" in self.tensors:
                share = 1 / (1 + np.exp(-self._product(p + "ffn_gate_inp_shexp", x)))
            hidden = _silu(self._product(p + "ffn_gate_shexp", x)) * self._product(p + "ffn_up_shexp", x)
            out += share[:, None] * self._product(p + "ffn_down_shexp", hidden)
        return out

    def write_stats(self, path: Path, model_hash: str, *, rows: int = 16, text: str = "t") -> Path:
        """What the calibration tool would have written."""
        tensors: dict[str, tuple[npt.NDArray[Any], str]] = {}
        for weight, by_expert in self.inputs.items():
            shape: list[int] = list(self.tensors[weight].shape)
            experts = shape[0] if len(shape) == 3 else 1
            n = shape[-1]
            seen = [np.array(by_expert.get(e, np.zeros((0, n))), np.float32) for e in range(experts)]
            keys = np.full((experts, max(rows, 1)), (1 << 63) - 1)
            kept = np.zeros((experts, max(rows, 1), n), np.float32)
            for e, x in enumerate(seen):
                count = min(rows, len(x))
                keys[e, :count], kept[e, :count] = np.arange(count), x[:count]

            def each(function: Callable[[F32], Any], seen: list[F32] = seen, n: int = n) -> F32:
                return np.array([function(x) if len(x) else np.zeros(n) for x in seen], np.float32)

            tensors[f"{weight}.max"] = each(lambda x: np.abs(x).max(0)), "F32"
            tensors[f"{weight}.mean"] = each(lambda x: np.abs(x).mean(0)), "F32"
            tensors[f"{weight}.square"] = each(lambda x: np.square(x).mean(0)), "F32"
            tensors[f"{weight}.count"] = np.array([len(x) for x in seen]), "I64"
            if rows:
                tensors[f"{weight}.rows"] = kept, "F16"
                tensors[f"{weight}.keys"] = keys, "I64"
        return write_gguf(path, stats_metadata(model_hash, rows, text), tensors)


def stats_metadata(model_hash: str, rows: int = 16, text: str = "t", version: int = 1) -> dict[str, Value]:
    """The metadata of a statistics file."""
    return {
        "general.type": make_value(ValueType.STRING, "q8a8-stats"),
        "q8a8-stats.version": make_value(ValueType.UINT32, version),
        "q8a8-stats.model_hash": make_value(ValueType.STRING, model_hash),
        "q8a8-stats.architecture": make_value(ValueType.STRING, "llama"),
        "q8a8-stats.chunk_size": make_value(ValueType.UINT32, 24),
        "q8a8-stats.rows": make_value(ValueType.UINT32, rows),
        "q8a8-stats.texts": make_array(ValueType.STRING, [text]),
        "q8a8-stats.chunks": make_array(ValueType.UINT32, [1]),
    }


def relative_error(found: Any, wanted: Any) -> float:
    """Greatest difference, as a part of the greatest value."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def _rope(x: Any) -> Any:
    n, dim = x.shape[0], x.shape[2]
    angle = np.arange(n)[:, None] * 10000.0 ** (-np.arange(0, dim, 2) / dim)
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    y = np.empty_like(x)
    y[..., 0::2], y[..., 1::2] = x[..., 0::2] * c - x[..., 1::2] * s, x[..., 0::2] * s + x[..., 1::2] * c
    return y


def _silu(x: Any) -> Any:
    return x / (1 + np.exp(-x))


def _gelu(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
