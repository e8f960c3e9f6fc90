"""A LoRA adapter folded for a smoothed model does to it what it did to the model before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patcher import cli
from patcher.base.errors import ExitCode, UsageError
from patcher.model.choose import Strength
from patcher.model.gguf import GgufError
from patcher.model.gguf_format import TYPE_NUMBERS, ValueType
from patcher.model.gguf_writer import GgufWriter, NewTensor, make_value
from patcher.model.lora import smooth_adapter
from patcher.model.model_file import open_model
from patcher.model.smooth import smooth
from patcher.model.tensor_data import load
from tests import tiny_models
from tests.tiny_models import Forward, architecture_of, relative_error, write_gguf, write_model
from tests.unit.test_model_refine import calibrated, quantized

RANK = 4
TOKENS = np.random.default_rng(2).integers(0, tiny_models.VOCAB, 24)


def arrays(path: Path) -> dict[str, Any]:
    return {
        name: load(info).reshape(tuple(reversed(info.dims)))
        for name, info in open_model(path).tensors.items()
    }


def write_adapter(path: Path, model: Path, *, kind: str = "F32", **more: Any) -> Path:
    """An adapter of every matrix of the layers, and of the output where it has one of its own."""
    rng = np.random.default_rng(8)
    tensors: dict[str, Any] = {}
    for name, weight in arrays(model).items():
        if weight.ndim < 2 or name.startswith(("token_embd", "position_embd")):
            continue
        *experts, outputs, inputs = weight.shape
        a = rng.normal(0, inputs**-0.5, (*experts, RANK, inputs)).astype(np.float32)
        b = rng.normal(0, 0.1, (*experts, outputs, RANK)).astype(np.float32)
        tensors |= {f"{name}.lora_a": (a, kind), f"{name}.lora_b": (b, kind)}
    metadata = {
        "general.type": make_value(ValueType.STRING, "adapter"),
        "adapter.type": make_value(ValueType.STRING, "lora"),
        "adapter.lora.alpha": make_value(ValueType.FLOAT32, RANK),
        "general.architecture": make_value(ValueType.STRING, open_model(model).architecture),
        **more,
    }
    return write_gguf(path, metadata, tensors)


def merged(model: Path, adapter: Path, out: Path) -> Path:
    """The model with the adapter added to its weights, as llama-export-lora does it."""
    factors = arrays(adapter)
    tensors = {}
    for name, weight in arrays(model).items():
        added: Any = 0.0
        if f"{name}.lora_a" in factors:
            added = factors[f"{name}.lora_b"] @ factors[f"{name}.lora_a"]
        tensors[name] = weight + added, "F32"
    return write_gguf(out, open_model(model).head.metadata, tensors)


@pytest.mark.parametrize("variant", [name for name in tiny_models.VARIANTS if name != "mistral3"])
def test_it_computes_the_same_as_before(variant: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", variant)
    adapter = write_adapter(tmp_path / "a.gguf", model)
    head = variant not in ("gemma", "gemma2") and "output.weight" in arrays(model)
    smooth(model, calibrated(model), tmp_path / "s.gguf", Strength(), head=head)
    done = smooth_adapter(adapter, tmp_path / "s.gguf", tmp_path / "sa.gguf")
    wanted = Forward(merged(model, adapter, tmp_path / "1.gguf")).logits(TOKENS)
    found = Forward(merged(tmp_path / "s.gguf", done.outputs[0], tmp_path / "2.gguf")).logits(TOKENS)
    unfolded = Forward(merged(tmp_path / "s.gguf", adapter, tmp_path / "3.gguf")).logits(TOKENS)
    assert relative_error(found, wanted) < 1e-4
    assert relative_error(unfolded, wanted) > 100 * relative_error(found, wanted)
    made = open_model(done.outputs[0])
    assert made.head.get("smoothquant.base") == open_model(tmp_path / "s.gguf").head.get("smoothquant.id")
    assert list(made.tensors) == list(open_model(adapter).tensors)
    assert architecture_of(variant) == made.architecture


def test_a_quantized_model_will_do_and_older_ones_are_known_by_their_hash(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    adapter = write_adapter(tmp_path / "a.gguf", model)
    smooth(model, calibrated(model), tmp_path / "s.gguf", Strength())
    smooth_adapter(adapter, tmp_path / "s.gguf", tmp_path / "one.gguf")
    like = quantized(tmp_path / "s.gguf", tmp_path / "q.gguf")
    smooth_adapter(adapter, like, tmp_path / "two.gguf")
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "two.gguf").read_bytes()
    plain = open_model(tmp_path / "s.gguf")
    metadata = {key: value for key, value in plain.head.metadata.items() if key != "smoothquant.id"}
    write_gguf(tmp_path / "old.gguf", metadata, {name: (a, "F32") for name, a in arrays(plain.path).items()})
    smooth_adapter(adapter, tmp_path / "old.gguf", tmp_path / "three.gguf")
    base = open_model(tmp_path / "three.gguf").head.get("smoothquant.base")
    assert base == plain.head.get("smoothquant.model_hash")


def test_another_strength_is_another_smoothing(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    stats = calibrated(model)
    found = set()
    for alpha in (0.3, 0.5):
        smooth(model, stats, tmp_path / f"{alpha}.gguf", Strength(alpha))
        found.add(open_model(tmp_path / f"{alpha}.gguf").head.get("smoothquant.id"))
    assert len(found) == 2


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    adapter = write_adapter(tmp_path / "a.gguf", model)
    smooth(model, calibrated(model), tmp_path / "s.gguf", Strength())
    like, out = tmp_path / "s.gguf", tmp_path / "out.gguf"
    folded = smooth_adapter(adapter, like, tmp_path / "f.gguf").outputs[0]
    other = write_adapter(tmp_path / "o.gguf", write_model(tmp_path / "g.gguf", "gpt2"))
    arch: dict[str, Any] = {"general.architecture": make_value(ValueType.STRING, "llama")}
    wide = write_adapter(tmp_path / "w.gguf", tmp_path / "g.gguf", **arch)
    for path, base, said in (
        (adapter, model, "found a model that isn't smoothed"),
        (model, like, "looked for a LoRA adapter, found general.type = None"),
        (folded, like, "is folded for a smoothed model already"),
        (other, like, "is for 'gpt2', .* is 'llama'"),
        (wide, like, "is for a weight that .* hasn't|doesn't fit"),
    ):
        with pytest.raises(UsageError, match=said):
            smooth_adapter(path, base, out)
    with pytest.raises((UsageError, GgufError), match="is there already"):
        smooth_adapter(adapter, like, folded)
    assert not out.exists()
    assert not list(tmp_path.glob("*.part*"))


def test_factors_that_make_no_weight_are_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    like, out = tmp_path / "s.gguf", tmp_path / "out.gguf"
    smooth(model, calibrated(model), like, Strength())
    whole = write_adapter(tmp_path / "a.gguf", model)
    factors, metadata = arrays(whole), open_model(whole).head.metadata
    weight = "blk.0.ffn_down.weight"
    a, b = factors[f"{weight}.lora_a"], factors[f"{weight}.lora_b"]

    def changed(**by: Any) -> Path:
        tensors = {**factors, **{f"{weight}.{name}": array for name, array in by.items()}}
        kept = {name: (array, "F32") for name, array in tensors.items() if array is not None}
        return write_gguf(tmp_path / "changed.gguf", metadata, kept)

    for by, said in (
        ({"lora_a": None}, rf"looked for '{weight}\.lora_a' beside '{weight}\.lora_b', found none"),
        ({"lora_b": None}, rf"looked for '{weight}\.lora_b' beside '{weight}\.lora_a', found none"),
        ({"lora_a": a[:2]}, "don't make the shape"),
        ({"lora_b": b[:, :2]}, "don't make the shape"),
    ):
        with pytest.raises(UsageError, match=said):
            smooth_adapter(changed(**by), like, out)
    read = like.read_bytes()
    with pytest.raises(UsageError, match="read beside the model"):
        smooth_adapter(whole, like, like, force=True)
    assert like.read_bytes() == read
    assert not out.exists()
    assert not list(tmp_path.glob("*.part*"))


def test_factors_that_are_rounded_to_blocks_are_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    like, adapter = tmp_path / "s.gguf", tmp_path / "a.gguf"
    smooth(model, calibrated(model), like, Strength())
    of = open_model(model).tensors["blk.0.ffn_gate.weight"]
    shapes = {"lora_a": (of.dims[0], RANK), "lora_b": (RANK, of.dims[1])}
    new = [
        NewTensor(f"{of.name}.{name}", dims, TYPE_NUMBERS["Q8_0" if name == "lora_a" else "F32"])
        for name, dims in shapes.items()
    ]
    metadata = open_model(write_adapter(tmp_path / "w.gguf", model)).head.metadata
    with GgufWriter(adapter, metadata, new) as writer:
        for one in new:
            count = one.dims[0] * one.dims[1]
            writer.write(one.name, [bytes(count // 32 * 34 if one.type == 8 else 4 * count)])
    with pytest.raises(UsageError, match=r"lora_a' is Q8_0, wanted are .*; convert the adapter again"):
        smooth_adapter(adapter, like, tmp_path / "out.gguf")
    assert not list(tmp_path.glob("*.part*"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    adapter = write_adapter(tmp_path / "a.gguf", model)
    smooth(model, calibrated(model), tmp_path / "s.gguf", Strength())
    line = ["smooth", "--lora", str(adapter), "-o", str(tmp_path / "out.gguf")]
    assert cli.run([*line, "--like", str(tmp_path / "s.gguf")]) == ExitCode.OK
    assert "an adapter, 18 of its tensors folded" in capsys.readouterr().out
    assert cli.run(line) == ExitCode.USAGE
    assert "looked for --lora with --like and nothing else to smooth" in capsys.readouterr().err
    assert cli.run(["smooth", "-o", str(tmp_path / "x.gguf")]) == ExitCode.USAGE
    assert "looked for a MODEL, found none" in capsys.readouterr().err
