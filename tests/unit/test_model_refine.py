"""Weights of a quantized model rounded anew: nearer products, the same file else, nothing left of a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patcher import cli
from patcher.base.errors import ExitCode, UsageError
from patcher.evaluate.measure import models, smoothing, variant
from patcher.model import architecture
from patcher.model import refine as refine_module
from patcher.model.choose import Strength
from patcher.model.gguf import GgufError
from patcher.model.gguf_format import TYPE_NUMBERS
from patcher.model.gguf_writer import GgufWriter, NewTensor, tensors_like
from patcher.model.material import LEAST_ROWS, Material, material
from patcher.model.model_file import model_hash, open_model
from patcher.model.refine import refine
from patcher.model.rewrite import copied
from patcher.model.rounding import BLOCK_TYPE, nearest, values
from patcher.model.smooth import smooth
from patcher.model.smooth_metadata import is_smoothed
from patcher.model.stats import open_stats
from patcher.model.tensor_data import is_float, load
from patcher.programs.folder import Programs
from tests import tiny_models
from tests.tiny_models import Forward, write_gguf, write_model
from tests.unit.evaluate_fakes import calls, fake_programs
from tests.unit.test_model_gguf import split

RNG = np.random.default_rng(11)
TOKENS = RNG.integers(0, tiny_models.VOCAB, 500)
OTHERS = RNG.integers(0, tiny_models.VOCAB, 100)


def read_by(forward: Forward, tokens: Any) -> Any:
    """The logits of some tokens, in windows that every variant has positions for."""
    return np.concatenate([forward.logits(window) for window in tokens.reshape(-1, 25)])


def calibrated(model: Path, *, rows: int = 500) -> Path:
    """Statistics of a tiny model, beside it."""
    forward = Forward(model)
    read_by(forward, TOKENS)
    return forward.write_stats(model.with_suffix(".stats"), model_hash(open_model(model)), rows=rows)


def quantized(source: Path, out: Path, *, as_q8_0: tuple[str, ...] = ()) -> Path:
    """What llama-quantize would make: matrices of floats in Q8_A8, to nearest; vectors and routers stay."""
    model = open_model(source)
    q8_a8, q8_0 = TYPE_NUMBERS["Q8_A8"], TYPE_NUMBERS["Q8_0"]
    chosen = {
        name: len(info.dims) > 1 and not info.row % 32 and is_float(info) and "gate_inp" not in name
        for name, info in model.tensors.items()
    }
    new = [
        NewTensor(name, info.dims, (q8_0 if name.endswith(as_q8_0) else q8_a8) if chosen[name] else info.type)
        for name, info in model.tensors.items()
    ]
    with GgufWriter(out, model.head.metadata, new) as writer:
        for name, info in model.tensors.items():
            raw = nearest(load(info)).tobytes() if chosen[name] else raw_bytes(info)
            writer.write(name, [raw])
    return out


def raw_bytes(info: Any) -> bytes:
    with info.path.open("rb") as file:
        file.seek(info.offset)
        return bytes(file.read(info.nbytes))


def computed(path: Path, folder: Path) -> Any:
    """The logits of a quantized model, for tokens that no statistics have seen."""
    model = open_model(path)
    tensors = {}
    for name, info in model.tensors.items():
        if info.type_name == "Q8_A8":
            blocks = np.frombuffer(raw_bytes(info), BLOCK_TYPE).reshape(info.rows, -1)
            data = values(blocks).reshape(tuple(reversed(info.dims)))
        else:
            data = load(info).reshape(tuple(reversed(info.dims)))
        tensors[name] = data, "F32"
    plain = write_gguf(folder / "plain.gguf", model.head.metadata, tensors)
    return read_by(Forward(plain), OTHERS)


def error(path: Path, wanted: Any, folder: Path) -> float:
    return float(np.square(computed(path, folder) - wanted).mean())


@pytest.mark.parametrize("variant", ["llama", "llama-moe", "qwen2moe", "gpt2", "gemma3", "phi3"])
@pytest.mark.parametrize("smoothed", [False, True])
def test_products_are_nearer_and_the_rest_stays(variant: str, smoothed: bool, tmp_path: Path) -> None:
    source = write_model(tmp_path / "m.gguf", variant)
    stats = calibrated(source)
    wanted = read_by(Forward(source), OTHERS)
    if smoothed:
        smooth(source, stats, tmp_path / "s.gguf", Strength(), head=variant == "llama")
        source = tmp_path / "s.gguf"
    path = quantized(source, tmp_path / "q.gguf")
    plain, before, size = open_model(path), error(path, wanted, tmp_path), path.stat().st_size
    bytes_before = {name: raw_bytes(info) for name, info in plain.tensors.items()}
    done = refine(path, material(source, stats))
    after = open_model(path)
    assert error(path, wanted, tmp_path) < before
    assert done.error_ratio < 0.95
    assert max(done.errors.values()) <= 1
    assert abs(path.stat().st_size - size) < 256  # only the metadata grew
    assert after.head.get("q8_a8.rounding") == "compensated"
    assert {**plain.head.metadata, "q8_a8.rounding": None} == {
        **after.head.metadata,
        "q8_a8.rounding": None,
    }
    described = [(name, info.dims, info.type) for name, info in plain.tensors.items()]
    assert [(name, info.dims, info.type) for name, info in after.tensors.items()] == described
    same = {name for name, info in after.tensors.items() if raw_bytes(info) == bytes_before[name]}
    quantized_names = {name for name, info in after.tensors.items() if info.type_name == "Q8_A8"}
    assert set(done.errors) == quantized_names - {"token_embd.weight", "position_embd.weight"}
    assert not same & set(done.errors) - {name for name, ratio in done.errors.items() if ratio == 1}
    assert same >= set(after.tensors) - set(done.errors)


def test_what_eight_experts_make_q8_0_is_rounded_too(tmp_path: Path) -> None:
    """The same blocks under another number: the bytes are those that Q8_A8 would have."""
    source = write_model(tmp_path / "m.gguf", "llama-moe")
    stats, attention = calibrated(source), ("attn_k.weight", "attn_v.weight")
    all_ours = quantized(source, tmp_path / "q.gguf")
    mixed = quantized(source, tmp_path / "mixed.gguf", as_q8_0=attention)
    done = [refine(path, material(source, stats)) for path in (all_ours, mixed)]
    assert done[0].errors == done[1].errors
    one, other = open_model(all_ours).tensors, open_model(mixed).tensors
    assert {name for name, info in other.items() if info.type_name == "Q8_0"} == {
        name for name in other if name.endswith(attention)
    }
    assert all(raw_bytes(one[name]) == raw_bytes(other[name]) for name in one)


def test_each_expert_is_rounded_with_the_tokens_it_saw(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m.gguf", "llama-moe")
    forward = Forward(source)
    read_by(forward, TOKENS)
    name = "blk.0.ffn_down_exps.weight"
    few = forward.inputs[name][1] = forward.inputs[name][1][:20]
    assert len(few) < LEAST_ROWS < len(forward.inputs[name][0])
    stats = forward.write_stats(tmp_path / "stats", model_hash(open_model(source)), rows=500)
    path = quantized(source, tmp_path / "q.gguf")
    before = raw_bytes(open_model(path).tensors[name])
    refine(path, material(source, stats))
    after, third = raw_bytes(open_model(path).tensors[name]), len(before) // 3
    changed = [before[n : n + third] != after[n : n + third] for n in range(0, len(before), third)]
    assert changed == [True, False, True]


def test_an_expert_that_saw_nothing_is_no_error(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m.gguf", "llama-moe")
    forward = Forward(source)
    read_by(forward, TOKENS)
    name = "blk.0.ffn_down_exps.weight"
    del forward.inputs[name][2]
    stats = forward.write_stats(tmp_path / "stats", model_hash(open_model(source)), rows=500)
    done = refine(quantized(source, tmp_path / "q.gguf"), material(source, stats))
    assert done.errors[name] < 1


def test_a_model_in_parts_is_a_source(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m.gguf", "llama", kind="F16")
    stats = calibrated(source)
    whole, parts = (quantized(source, tmp_path / name) for name in ("a.gguf", "b.gguf"))
    refine(whole, material(source, stats))
    refine(parts, material(split(source), stats))
    assert parts.read_bytes() == whole.read_bytes()


@pytest.fixture
def ready(tmp_path: Path) -> tuple[Path, Material]:
    """A quantized model and what it can be rounded with."""
    source = write_model(tmp_path / "m.gguf", "llama")
    return quantized(source, tmp_path / "q.gguf"), material(source, calibrated(source))


def refused(path: Path, of: Material, kind: type[Exception], said: str) -> None:
    """It is refused with these words, and nothing changed."""
    before, names = path.read_bytes(), sorted(path.parent.iterdir())
    with pytest.raises(kind, match=said):
        refine(path, of)
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == names


def test_quantized_parts_are_rounded_alike(ready: tuple[Path, Material], tmp_path: Path) -> None:
    whole, of = ready
    first = split(quantized(of.model.path, tmp_path / "p.gguf"), 3)
    refine(first, of)
    refine(whole, of)
    parts, one = open_model(first), open_model(whole)
    assert len(parts.parts) == 3
    assert {name: raw_bytes(info) for name, info in parts.tensors.items()} == {
        name: raw_bytes(info) for name, info in one.tensors.items()
    }
    assert parts.head.get("q8_a8.rounding") == "compensated"
    assert not list(tmp_path.glob("*.part"))


def test_a_model_of_another_type_is_refused(ready: tuple[Path, Material], tmp_path: Path) -> None:
    model = write_model(tmp_path / "f16.gguf", "llama", kind="F16")
    refused(model, ready[1], UsageError, "no rows were kept for any Q8_A8 tensor of")


def test_another_shape_is_refused(ready: tuple[Path, Material], tmp_path: Path) -> None:
    other = write_model(tmp_path / "o.gguf", "phi3")  # its ffn_up is twice as large
    path = quantized(other, tmp_path / "oq.gguf")
    refused(path, ready[1], GgufError, "'blk.0.ffn_up.weight' has another shape than in")


def test_an_interruption_leaves_nothing(
    ready: tuple[Path, Material], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = refine_module._rounded, []

    def stop(*arguments: Any) -> Any:
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt("at the third")
        return real(*arguments)

    monkeypatch.setattr(refine_module, "_rounded", stop)
    refused(*ready, KeyboardInterrupt, "at the third")  # type: ignore[arg-type]
    assert len(done) == 3


def test_statistics_of_another_model_or_without_rows_are_refused(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m.gguf", "llama")
    other = write_model(tmp_path / "o.gguf", "llama", seed=1)
    with pytest.raises(UsageError, match="made with another model"):
        material(source, calibrated(other))
    with pytest.raises(UsageError, match="holds no rows of activations; calibrate without '--rows 0'"):
        material(source, calibrated(source, rows=0))
    with pytest.raises(GgufError, match="looked for activation statistics"):
        material(source, other)
    smooth(source, calibrated(source), tmp_path / "s.gguf", Strength())
    with pytest.raises(UsageError, match="made with another model"):
        material(tmp_path / "s.gguf", calibrated(other))


def test_a_smoothed_model_s_own_statistics_serve_as_well(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m.gguf", "llama")
    smooth(source, calibrated(source), tmp_path / "s.gguf", Strength())
    one, other = (quantized(tmp_path / "s.gguf", tmp_path / name) for name in ("a.gguf", "b.gguf"))
    before = refine(one, material(tmp_path / "s.gguf", tmp_path / "m.stats"))
    own = refine(other, material(tmp_path / "s.gguf", calibrated(tmp_path / "s.gguf")))
    # rows are kept in F16, before or after they were divided
    assert own.errors == pytest.approx(before.errors, rel=0.05)


def test_evaluate_compares_rounded_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, text = write_model(tmp_path / "m.gguf", "llama"), tmp_path / "text.txt"
    text.write_text("words", encoding="utf-8")

    def made(programs: Programs, source: Path, out: Path, kind: str, **more: Any) -> None:
        quantized(source, out)
        if more["finish"] is not None:
            more["finish"](out)

    monkeypatch.setattr(models, "quantize", made)
    monkeypatch.setattr(smoothing, "lacking", lambda *_: "")
    monkeypatch.setattr(smoothing, "identity", lambda *_: ["this"])
    monkeypatch.setattr(smoothing, "calibrate", lambda *_: calibrated(source).rename(_[3]))
    monkeypatch.setattr(Programs, "digest", "d")
    factory = models.Factory(source, Programs(tmp_path), tmp_path / "home", calibration=text)
    names = "Q8_A8+smooth,Q8_A8+round,Q8_A8+smooth+round"
    heads = [open_model(factory.make(one).path).head for one in variant.parse(names)]
    assert [is_smoothed(head) for head in heads] == [True, False, True]
    assert [head.get("q8_a8.rounding") for head in heads] == [None, "compensated", "compensated"]
    assert [one.label for one in variant.parse("q8_a8+ROUND,q8_0+Smooth")] == ["Q8_A8+round", "Q8_0+smooth"]
    with pytest.raises(UsageError, match=r"Q8_0\+round: looked for Q8_A8"):
        variant.parse("F16,Q8_0+round")


@pytest.mark.skipif("sys.platform == 'win32'", reason="the fakes are scripts")
def test_the_command_looks_at_the_statistics_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write_model(tmp_path / "m.gguf", "llama"), tmp_path / "out.gguf"
    other = write_model(tmp_path / "o.gguf", "llama", seed=1)
    folder = fake_programs(tmp_path / "bin")
    out.write_bytes(b"mine")
    line = ["quantize", str(source), str(out), "Q8_A8", "--bin", str(folder), "--stats"]
    assert cli.run([*line, str(calibrated(other)), "--force"]) == ExitCode.USAGE
    assert "made with another model" in capsys.readouterr().err
    assert cli.run([*line, str(calibrated(source))]) == ExitCode.USAGE
    assert "is there already" in capsys.readouterr().err
    assert calls(folder) == []
    assert out.read_bytes() == b"mine"
    assert cli.run([*line[:3], "Q8_0", *line[4:], str(calibrated(source))]) == ExitCode.USAGE
    assert "--stats: is for Q8_A8 alone, found Q8_0" in capsys.readouterr().err


def test_too_few_rows_are_refused_and_a_few_are_said(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m.gguf", "llama-moe")
    with pytest.raises(UsageError, match=r"holds 63 rows of an input at most, rounding takes 64"):
        material(source, calibrated(source, rows=21))  # of each of three experts
    forward = Forward(source)
    read_by(forward, TOKENS)
    name = "blk.0.ffn_down_exps.weight"
    for expert in range(3):
        forward.inputs[name][expert] = forward.inputs[name][expert][:20]
    stats = forward.write_stats(tmp_path / "stats", model_hash(open_model(source)), rows=500)
    done = refine(quantized(source, tmp_path / "q.gguf"), material(source, stats))
    assert done.nearest == (name,)
    assert done.errors[name] == 1
    assert any("1 of " in line and "stay rounded to nearest" in line for line in done.doubts())


def test_a_narrow_sample_is_said_and_another_text_judges(tmp_path: Path) -> None:
    source = write_model(tmp_path / "m.gguf", "llama")
    forward = Forward(source)
    digits = RNG.integers(0, 4, 500)  # four tokens, over and over
    read_by(forward, digits)
    hashed = model_hash(open_model(source))
    narrow = forward.write_stats(tmp_path / "narrow.stats", hashed, rows=500, text="digits")
    done = refine(quantized(source, tmp_path / "a.gguf"), material(source, narrow))
    assert done.is_narrow
    assert done.different == 4
    assert done.document()["narrow"] is True
    wide = calibrated(source)
    judged = refine(quantized(source, tmp_path / "b.gguf"), material(source, narrow, judge=wide))
    assert judged.judged == "the text of m.stats"
    assert done.error_ratio < judged.error_ratio <= 1  # what the same text says is too good
    assert max(judged.errors.values()) <= 1
    with pytest.raises(UsageError, match="was made with a text that"):
        material(source, narrow, judge=narrow)


def test_nearest_is_llama_quantize_s_to_the_bit() -> None:
    """Halves go away from zero, as C's roundf has it."""
    weights = np.zeros((1, 32), np.float32)
    weights[0, :6] = 127, 0.5, -0.5, 1.5, 2.5, np.nextafter(np.float32(0.5), np.float32(0))
    assert nearest(weights)["values"][0, 0, :6].tolist() == [127, 1, -1, 2, 3, 0]


def test_an_architecture_that_nobody_declared_is_rounded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folds are needed: which products share an input, the statistics tell."""
    source = write_model(tmp_path / "m.gguf", "llama")
    forward = Forward(source)
    read_by(forward, TOKENS)
    stats = forward.write_stats(tmp_path / "m.stats", model_hash(open_model(source)), rows=500)
    shared = open_stats(stats)
    metadata = shared.file.metadata
    owners = {"attn_k", "attn_v", "ffn_up"}  # as the tool writes it, the first of each input alone keeps rows
    kept = {
        name: info
        for name, info in shared.tensors.items()
        if not (name.endswith((".rows", ".keys")) and name.split(".")[2] in owners)
    }
    with GgufWriter(tmp_path / "s.stats", metadata, tensors_like(kept.values())) as writer:
        for name, info in kept.items():
            writer.write(name, copied(info))
    one, other = (quantized(source, tmp_path / name) for name in ("a.gguf", "b.gguf"))
    wanted = refine(one, material(source, tmp_path / "s.stats"))
    monkeypatch.setattr(architecture, "load", dict)
    found = refine(other, material(source, tmp_path / "s.stats"))
    assert found.errors == wanted.errors
    assert "blk.0.attn_v.weight" in found.errors
    assert one.read_bytes() == other.read_bytes()
