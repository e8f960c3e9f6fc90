"""``smooth`` from the command line to the file: metadata, undo, parts, resuming, refusals."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patcher.base.errors import UsageError
from patcher.commands import smooth as command_module
from patcher.model import rewrite as rewrite_module
from patcher.model import smooth as smooth_module
from patcher.model.choose import Strength, choose
from patcher.model.gguf import GgufError, read
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_writer import make_array, make_value
from patcher.model.model_file import model_hash, open_model
from patcher.model.smooth import smooth, undo
from patcher.model.tensor_data import Array
from patcher.model.worklog import Worklog
from tests import tiny_models
from tests.tiny_models import VARIANTS, Forward, relative_error, write_gguf, write_model
from tests.unit.test_model_gguf import split

TOKENS = np.random.default_rng(7).integers(0, tiny_models.VOCAB, 20)


def calibrated(model: Path) -> Path:
    """Statistics of a tiny model, beside it."""
    forward = Forward(model)
    forward.logits(TOKENS)
    return forward.write_stats(model.with_suffix(".stats"), model_hash(open_model(model)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_smoothed_model_computes_the_same_and_undo_restores_it(variant: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", variant)
    before = Forward(model)
    wanted = before.logits(TOKENS)
    done = smooth(model, calibrated(model), tmp_path / "s.gguf", Strength())
    assert done.error_ratio is not None
    assert done.error_ratio < 0.9
    after = Forward(tmp_path / "s.gguf")
    assert relative_error(after.logits(TOKENS), wanted) < 1e-4
    assert 0 < max(done.rounding.values()) < 1e-7
    undo(tmp_path / "s.gguf", tmp_path / "u.gguf")
    restored = Forward(tmp_path / "u.gguf")
    for name, tensor in before.tensors.items():
        assert np.allclose(restored.tensors[name], tensor, rtol=1e-6, atol=0), name
    assert read(tmp_path / "u.gguf").metadata == read(model).metadata
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", "m.stats", "s.gguf", "u.gguf"]


@pytest.mark.parametrize(("kind", "rounding"), [("F16", 2**-11), ("BF16", 2**-8)])
def test_half_precision_agrees_to_its_rounding(kind: str, rounding: float, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama", kind=kind)
    done = smooth(model, calibrated(model), tmp_path / "s.gguf", Strength())
    assert max(done.rounding.values()) <= rounding
    wanted = Forward(model).logits(TOKENS)
    assert relative_error(Forward(tmp_path / "s.gguf").logits(TOKENS), wanted) < 8 * rounding
    undo(tmp_path / "s.gguf", tmp_path / "u.gguf")
    restored = Forward(tmp_path / "u.gguf").tensors
    for name, tensor in Forward(model).tensors.items():
        # what becomes smaller than F16's least normal number loses bits: half of 2^-24, times the factor
        assert np.allclose(restored[name], tensor, rtol=2.1 * rounding, atol=2**-25 * 50), name
    kinds = {tensor.name: tensor.type for tensor in read(tmp_path / "s.gguf").tensors}
    assert kinds == {tensor.name: tensor.type for tensor in read(model).tensors}


def test_a_big_endian_model_stays_one(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama", big_endian=True)
    smooth(model, calibrated(model), tmp_path / "s.gguf", Strength(0.5))
    assert read(tmp_path / "s.gguf").big_endian
    wanted = Forward(model).logits(TOKENS)
    assert relative_error(Forward(tmp_path / "s.gguf").logits(TOKENS), wanted) < 1e-4


def test_parts_stay_parts(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "m.gguf", "qwen3moe")
    stats, first = calibrated(whole), split(whole)
    done = smooth(first, stats, tmp_path / "s.gguf", Strength())
    assert [path.name for path in done.outputs] == [f"s-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    smooth(whole, stats, tmp_path / "t.gguf", Strength())
    assert model_hash(open_model(done.outputs[0])) == model_hash(open_model(tmp_path / "t.gguf"))
    assert read(done.outputs[0]).get("smoothquant.enabled") is True
    assert read(done.outputs[1]).metadata == read(tmp_path / "m-00002-of-00003.gguf").metadata
    back = undo(done.outputs[0], tmp_path / "u.gguf")
    names = Forward(whole).tensors
    assert all(np.allclose(Forward(back.outputs[0]).tensors[n], names[n], rtol=1e-6, atol=0) for n in names)


class _KilledError(BaseException):
    """No error of ours: nothing tidies up behind it."""


@pytest.mark.parametrize("older", [False, True])
def test_parts_of_two_models_never_lie_beside_each_other(
    older: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off at each step of putting them in place, and once by the disk: no mixture is read."""
    whole = write_model(tmp_path / "m.gguf", "qwen3moe")
    stats, first = calibrated(whole), split(whole)
    wanted = model_hash(open_model(smooth(whole, stats, tmp_path / "t.gguf", Strength()).outputs[0]))
    before = write_model(tmp_path / "old.gguf", "qwen3moe", seed=1)
    out, head = tmp_path / "s.gguf", tmp_path / "s-00001-of-00003.gguf"
    for turn in range(3):
        for part in tmp_path.glob("s-*"):
            part.unlink()
        if older:
            shutil.copy(before, out)
            split(out)
            out.unlink()
        with monkeypatch.context() as patch:
            left = [turn]
            replace = Path.replace

            def struck(self: Path, to: Path, left: list[int] = left, replace: Any = replace) -> Path:
                left[0] -= 1
                if left[0] < 0:
                    raise _KilledError
                return replace(self, to)  # type: ignore[no-any-return]

            patch.setattr(Path, "replace", struck)
            with pytest.raises(_KilledError):
                smooth(first, stats, out, Strength(), force=older)
        with pytest.raises(GgufError):
            open_model(head)
        smooth(first, stats, out, Strength())  # goes on: what lies there is its own
        assert model_hash(open_model(head)) == wanted
    with monkeypatch.context() as patch:
        refusal = OSError(errno.EIO, "the disk")
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(refusal))
        with pytest.raises(
            GgufError, match=r"s-00001-of-00003\.gguf: the model's parts are between two states"
        ):
            smooth(first, stats, out, Strength(), force=True)


def test_metadata_say_what_was_done(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    done = smooth(model, calibrated(model), tmp_path / "s.gguf", Strength(0.5, None, {1: 0.7}))
    file = read(tmp_path / "s.gguf")
    assert file.get("smoothquant.enabled") is True
    assert file.metadata["smoothquant.alpha"].type is ValueType.FLOAT32
    assert file.get("smoothquant.alpha") == pytest.approx(0.6)
    assert file.get("smoothquant.fold_alphas") == pytest.approx([0.5] * 4 + [0.7] * 4)
    assert file.get("smoothquant.folds")[:4] == ["blk.0.attn", "blk.0.value", "blk.0.ffn", "blk.0.down"]
    factors = file.get("smoothquant.scaling_factors")
    assert len(factors) == sum(file.get("smoothquant.fold_sizes")) == done.document()["factors"]
    assert file.get("smoothquant.model_hash") == model_hash(open_model(model))
    assert len(file.get("smoothquant.calibration_hash")) == 64
    assert file.get("smoothquant.tool").startswith("q8a8-patch ")
    assert file.get("tokenizer.ggml.tokens") == ["a", "b"]


def test_a_stopped_run_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "m.gguf", "llama", kind="F16")
    stats = calibrated(model)
    smooth(model, stats, tmp_path / "whole.gguf", Strength())
    wanted = (tmp_path / "whole.gguf").read_bytes()
    monkeypatch.setattr(rewrite_module, "_SYNC_EVERY", 1)
    out = tmp_path / "s.gguf"

    class Killed(BaseException):
        pass

    real_choose, real_scaled = choose, rewrite_module._scaled
    calls = 0

    def stop_after(limit: int, function: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > limit:
                raise Killed
            return function(*arguments)

        return counted

    for limit in (3, 2):
        calls = 0
        monkeypatch.setattr(smooth_module, "choose", stop_after(limit, real_choose))
        with pytest.raises(Killed):
            smooth(model, stats, out, Strength())
    monkeypatch.setattr(smooth_module, "choose", stop_after(3, real_choose))
    calls = 0
    monkeypatch.setattr(rewrite_module, "_scaled", stop_after(9, real_scaled))
    with pytest.raises(Killed):
        smooth(model, stats, out, Strength())
    assert not out.exists()
    # a line that the kill cut in half
    with (tmp_path / "s.gguf.part.log").open("a", encoding="utf-8") as log:
        log.write('{"done": {"token_')
    calls = 0
    monkeypatch.setattr(smooth_module, "choose", stop_after(0, real_choose))
    monkeypatch.setattr(rewrite_module, "_scaled", stop_after(14, real_scaled))
    done = smooth(model, stats, out, Strength())
    assert 0 < calls <= 14
    assert out.read_bytes() == wanted
    assert len(done.rounding) == 20
    assert not list(tmp_path.glob("s.gguf.part*"))


def test_a_log_of_other_work_is_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    stats = calibrated(model)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(smooth_module, "rewrite", fail)
    with pytest.raises(RuntimeError):
        smooth(model, stats, tmp_path / "s.gguf", Strength(0.9))
    monkeypatch.undo()
    smooth(model, stats, tmp_path / "s.gguf", Strength(0.3))
    smooth(model, stats, tmp_path / "t.gguf", Strength(0.3))
    assert (tmp_path / "s.gguf").read_bytes() == (tmp_path / "t.gguf").read_bytes()


def test_two_runs_on_one_output_are_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    stats, log = calibrated(model), tmp_path / "s.gguf.part.log"
    refused = pytest.raises(UsageError, match="another run writes the same output")
    with Worklog(log, {"of": "another run"}), refused:
        smooth(model, stats, tmp_path / "s.gguf", Strength(0.5))
    smooth(model, stats, tmp_path / "s.gguf", Strength(0.5))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", "m.stats", "s.gguf"]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    stats, out = calibrated(model), tmp_path / "s.gguf"
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"s\.gguf: is there already; --force"):
        smooth(model, stats, out, Strength(0.5))
    assert out.read_bytes() == b"mine"
    with pytest.raises(UsageError, match="is the model that is read"):
        smooth(model, stats, model, Strength(0.5), force=True)
    smooth(model, stats, out, Strength(0.5), force=True)
    with pytest.raises(UsageError, match=r"is smoothed already.*--undo"):
        smooth(out, stats, tmp_path / "t.gguf", Strength(0.5))
    with pytest.raises(UsageError, match="isn't smoothed"):
        undo(model, tmp_path / "t.gguf")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", make_value(ValueType.UINT32, 9), "'smoothquant.version': looked for 1, found 9"),
        ("scaling_factors", make_array(ValueType.FLOAT32, [1.0]), "contradict each other"),
        ("fold_sizes", make_array(ValueType.UINT32, [32] * 8), "contradict each other"),
        ("folds", make_array(ValueType.STRING, [f"blk.9.{n}" for n in range(8)]), "names 'blk.9.0'"),
        ("folds", make_value(ValueType.UINT8, 3), "looked for an array of text"),
        ("folds", make_array(ValueType.UINT32, [1] * 8), "found an array of uint32"),
        ("fold_sizes", make_array(ValueType.STRING, ["32"] * 8), "looked for an array of numbers"),
        ("scaling_factors", make_array(ValueType.STRING, ["1"]), "looked for an array of numbers"),
        ("folds", make_array(ValueType.STRING, []), "found not all of them"),
    ],
)  # fmt: skip
def test_hostile_metadata_are_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    smooth(model, calibrated(model), tmp_path / "s.gguf", Strength(0.5))
    file = read(tmp_path / "s.gguf")
    metadata = dict(file.metadata) | {f"smoothquant.{key}": value}
    tensors = {
        name: (array.astype(np.float32), "F32")
        for name, array in Forward(tmp_path / "s.gguf").tensors.items()
    }
    bad = write_gguf(tmp_path / "bad.gguf", metadata, tensors)
    with pytest.raises(GgufError, match=message):
        undo(bad, tmp_path / "u.gguf")


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf"), 1e-45, 1e-30, 1e30, 3e38])
def test_factors_that_are_none_are_refused(tmp_path: Path, factor: float) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    smooth(model, calibrated(model), tmp_path / "s.gguf", Strength(0.5))
    file = read(tmp_path / "s.gguf")
    factors = file.get("smoothquant.scaling_factors")
    values = make_array(ValueType.FLOAT32, [factor, *factors[1:]])
    tensors = {
        name: (array.astype(np.float32), "F32")
        for name, array in Forward(tmp_path / "s.gguf").tensors.items()
    }
    bad = write_gguf(
        tmp_path / "bad.gguf", dict(file.metadata) | {"smoothquant.scaling_factors": values}, tensors
    )
    with pytest.raises(GgufError, match=r"scaling_factors': looked for factors from 1/4096 to"):
        undo(bad, tmp_path / "u.gguf")


def test_only_some_folds(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    stats = calibrated(model)
    done = smooth(model, stats, tmp_path / "s.gguf", Strength(0.5), only=("down",))
    assert set(done.rounding) == {
        f"blk.{n}.{name}" for n in (0, 1) for name in ("ffn_up.weight", "ffn_up.bias", "ffn_down.weight")
    }
    with pytest.raises(
        UsageError,
        match=r"looked for the fold 'up', found none .*; name one of attn, down, ffn, value with --fold",
    ):
        smooth(model, stats, tmp_path / "t.gguf", Strength(0.5), only=("up",))


@pytest.mark.parametrize(
    "variant", ["llama", "llama-moe", "qwen3", "mistral3", "gemma3", "phi3", "gpt2", "starcoder2"]
)
def test_the_head_too(variant: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", variant)
    stats = calibrated(model)
    wanted = Forward(model).logits(TOKENS)
    done = smooth(model, stats, tmp_path / "s.gguf", Strength(), head=True)
    assert {"output.weight", "output_norm.weight"} <= set(done.rounding)
    assert relative_error(Forward(tmp_path / "s.gguf").logits(TOKENS), wanted) < 1e-4
    before, after = Forward(model).tensors, Forward(tmp_path / "s.gguf").tensors
    assert (before["token_embd.weight"] == after["token_embd.weight"]).all()
    assert not np.allclose(before.get("output.weight", before["token_embd.weight"]), after["output.weight"])
    undo(tmp_path / "s.gguf", tmp_path / "u.gguf")
    restored = Forward(tmp_path / "u.gguf").tensors
    assert restored.keys() == before.keys()
    assert all(np.allclose(restored[name], before[name], rtol=1e-6, atol=0) for name in before)


def test_a_head_in_parts_is_counted(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "m.gguf", "qwen3")
    stats, first = calibrated(whole), split(whole)
    done = smooth(first, stats, tmp_path / "s.gguf", Strength(), head=True)
    parts = open_model(done.outputs[0])
    assert len(parts.tensors) == len(open_model(whole).tensors) + 1
    assert {read(path).get("split.tensors.count") for path in done.outputs} == {len(parts.tensors)}
    back = undo(done.outputs[0], tmp_path / "u.gguf")
    assert open_model(back.outputs[0]).tensors.keys() == open_model(whole).tensors.keys()


def test_a_head_that_the_graph_does_not_take_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "gemma2")
    with pytest.raises(UsageError, match="head of a 'gemma2' model can't be smoothed"):
        smooth(model, calibrated(model), tmp_path / "s.gguf", Strength(), head=True)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    stats = calibrated(model)
    arguments = [
        str(model),
        "--stats",
        str(stats),
        "-o",
        str(tmp_path / "s.gguf"),
        "--json",
        "--layer-alpha",
        "0=0.4",
    ]
    command_module.command.main(arguments, standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert document["outputs"] == [str(tmp_path / "s.gguf")]
    assert {fold["alpha"] for fold in document["folds"] if fold["name"].startswith("blk.0.")} == {0.4}
    assert document["error_ratio"] < 1
    assert set(document["rounding"]) >= {"blk.0.attn_norm.weight", "blk.1.ffn_down.weight"}
    command_module.command.main(
        [str(tmp_path / "s.gguf"), "--undo", "-o", str(tmp_path / "u.gguf")], standalone_mode=False
    )
    assert "smoothing undone in 20 tensors" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--alpha", "1.5", "--stats", "s"], "'auto' or a number from 0 to 1, found '1.5'"),
        (["--alpha", "nan", "--stats", "s"], "found 'nan'"),
        (["--layer-alpha", "x=1", "--stats", "s"], "N=ALPHA"),
        (["--layer-alpha", "1=1.5", "--stats", "s"], "N=ALPHA"),
        ([], "--stats is needed"),
        (["--undo", "--stats", "s"], "leave --stats out"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    import click

    model = write_model(tmp_path / "m.gguf", "llama")
    with pytest.raises((UsageError, click.UsageError), match=message):
        command_module.command.main(
            [str(model), "-o", str(tmp_path / "o"), *arguments], standalone_mode=False
        )


def test_weights_that_would_leave_their_types_range_are_an_error(tmp_path: Path) -> None:
    tensors: dict[str, tuple[Array, str]] = {
        name: (array, "F16" if array.ndim > 1 else "F32")
        for name, array in tiny_models.tensors_of("llama").items()
    }
    tensors["blk.0.ffn_down.weight"][0][:, 0] = 60000
    model = write_gguf(tmp_path / "m.gguf", tiny_models.metadata_of("llama"), tensors)
    stats = calibrated(model)
    with pytest.raises(GgufError, match=r"'blk\.0\.ffn_down\.weight' reaches .* too large for F16"):
        smooth(model, stats, tmp_path / "s.gguf", Strength(1.0))
    assert not (tmp_path / "s.gguf").exists()


def test_what_is_read_and_what_is_no_file_stays(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    stats, pipe = calibrated(model), tmp_path / "pipe"
    os.mkfifo(pipe)
    before = stats.read_bytes()
    for out, said in (
        (stats, "is read beside the model; name another output"),
        (pipe, "it is no plain file"),
        (tmp_path / "none" / "s.gguf", "looked for the folder"),
    ):
        with pytest.raises(UsageError, match=said):
            smooth(model, stats, out, Strength(), force=True)
    assert stats.read_bytes() == before
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["blk.0.attn_norm.weight", "blk.0.attn_q.weight"])
def test_a_model_with_a_nan_is_refused_and_nothing_is_left(name: str, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    info = open_model(model).tensors[name]
    data = bytearray(model.read_bytes())
    value = {"F32": b"\0\0\xc0\x7f", "F16": b"\0\x7e"}[info.type_name]
    data[info.offset : info.offset + len(value)] = value
    stats = calibrated(model)
    model.write_bytes(data)
    old, new = (model_hash(open_model(path)) for path in (write_model(tmp_path / "o.gguf", "llama"), model))
    stats.write_bytes(stats.read_bytes().replace(old.encode(), new.encode()))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(GgufError, match=f"'{name}' holds values that are not finite"):
        smooth(model, stats, tmp_path / "s.gguf", Strength())
    assert sorted(tmp_path.iterdir()) == before
