"""The formula, Q8_A8's arithmetic in numpy, and the search for the least int8 error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patcher.base.errors import UsageError
from patcher.model import architecture
from patcher.model.alpha import LIMIT, Sample, relative_error, smoothing_factors
from patcher.model.blockwise import quantized
from patcher.model.choose import Strength, choose
from patcher.model.fold import Fold, find_folds
from patcher.model.gguf import GgufError
from patcher.model.model_file import open_model
from patcher.model.stats import Stats, open_stats
from tests import tiny_models
from tests.tiny_models import Forward, write_gguf, write_model

TOKENS = np.random.default_rng(7).integers(0, tiny_models.VOCAB, 20)


def test_the_formula_is_the_papers_up_to_a_common_factor() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.uniform(0.1, 50, 64).astype(np.float32), rng.uniform(0.01, 2, 64).astype(np.float32)
    for alpha in (0.0, 0.3, 0.5, 1.0):
        literal = x**alpha / w ** (1 - alpha)
        factors = smoothing_factors(x, w, alpha)
        assert np.allclose(factors / factors[0], literal / literal[0], rtol=1e-4)
        assert np.isclose(np.log(factors).mean(), 0, atol=1e-5)


def test_dead_channels_keep_one_and_no_factor_is_beyond_the_limit() -> None:
    x = np.array([0, 1, 4, 1e30, 1e-30], np.float32)
    w = np.array([1, 0, 1, 1e-30, 1e30], np.float32)
    factors = smoothing_factors(x, w, 0.5)
    assert factors[0] == factors[1] == 1
    assert factors[3] == pytest.approx(LIMIT)
    assert factors[4] == pytest.approx(1 / LIMIT)
    assert (smoothing_factors(x * 0, w, 0.5) == 1).all()


def test_blocks_are_quantized_one_by_one_as_the_reference_does() -> None:
    values = np.random.default_rng(1).normal(0, 1, (3, 70)).astype(np.float32)
    values[1, 32:64] = 0
    values[2, 5] = 900
    found = quantized(values)
    assert found.shape == values.shape
    for row in range(3):
        for start in (0, 32, 64):
            block = values[row, start : start + 32]
            top = float(np.abs(block).max())
            scale = float(np.float16(top / 127))
            for value, got in zip(block, found[row, start : start + 32], strict=True):
                wanted = round(float(value) / (top / 127)) * scale if top else 0.0
                assert got == pytest.approx(wanted, rel=1e-6, abs=1e-12)


def test_the_error_is_nought_for_what_int8_holds_and_grows_with_outliers() -> None:
    x = np.repeat(np.array([[127.0, 64.0, -1.0, 5.0]], np.float32), 8, 1)
    exact = Sample(x, (x.copy(),))
    assert relative_error([(exact, np.ones(32, np.float32))]) < 1e-9
    rng = np.random.default_rng(2)
    rough = rng.normal(0, 1, (8, 32)).astype(np.float32)
    plain = np.ones(32, np.float32)
    assert relative_error([(Sample(rough, exact.weights), plain)]) > 1e-6  # activations are quantized,
    assert relative_error([(Sample(exact.x, (rough,)), plain)]) > 1e-6  # and so are weights
    even = rng.normal(0, 1, (8, 64)).astype(np.float32)
    uneven = even.copy()
    uneven[:, 3] *= 50
    rows = (rng.normal(0, 1, (6, 64)).astype(np.float32),)
    one = np.ones(64, np.float32)
    smooth = one.copy()
    smooth[3] = 7
    assert relative_error([(Sample(uneven, rows), smooth)]) < relative_error([(Sample(uneven, rows), one)])


def prepared(tmp_path: Path, variant: str, rows: int = 16) -> tuple[tuple[Fold, ...], Stats]:
    path = write_model(tmp_path / "m.gguf", variant)
    forward = Forward(path)
    forward.logits(TOKENS)
    stats = forward.write_stats(tmp_path / "s.gguf", "hash", rows=rows)
    model = open_model(path)
    return find_folds(model, architecture.find(model.architecture, path)), open_stats(stats)


@pytest.mark.parametrize("variant", ["llama", "qwen2moe", "gpt2"])
def test_the_search_never_takes_what_is_worse_than_nothing(tmp_path: Path, variant: str) -> None:
    folds, stats = prepared(tmp_path, variant)
    for fold in folds:
        found = choose(fold, stats, Strength())
        fixed = choose(fold, stats, Strength(0.5))
        assert found.before is not None
        assert found.after is not None
        assert fixed.after is not None
        assert found.after <= found.before
        assert found.after <= fixed.after
        assert found.factors.shape == fixed.factors.shape == (fold.experts, fold.channels)
        assert (fixed.alpha, fixed.magnitude) == (0.5, "max")
    attn = choose(folds[0], stats, Strength())
    assert attn.after is not None
    assert attn.before is not None
    assert attn.after < 0.5 * attn.before  # the tiny models' norms are uneven


def test_a_fixed_alpha_is_the_formula_on_the_statistics(tmp_path: Path) -> None:
    folds, stats = prepared(tmp_path, "llama")
    attn, value = folds[0], folds[1]
    w = np.concatenate([_matrix(tmp_path, tensor.name) for tensor in attn.consumers])
    x = stats.input("blk.0.attn_q.weight").max[0]
    wanted = smoothing_factors(x, np.abs(w).max(0), 0.7)
    assert np.allclose(choose(attn, stats, Strength(0.7)).factors[0], wanted, rtol=1e-5)
    o = _matrix(tmp_path, "blk.0.attn_output.weight")
    x = stats.input("blk.0.attn_output.weight").max[0]
    grouped = [side.reshape(2, 2, 16).max(1).reshape(-1) for side in (x, np.abs(o).max(0))]
    wanted = smoothing_factors(grouped[0], grouped[1], 0.7)
    assert np.allclose(choose(value, stats, Strength(0.7)).factors[0], wanted, rtol=1e-5)


def _matrix(folder: Path, name: str) -> tiny_models.F32:
    found: tiny_models.F32 = Forward(folder / "m.gguf").tensors[name].astype(np.float32)
    return found


def test_layers_can_have_an_alpha_of_their_own(tmp_path: Path) -> None:
    folds, stats = prepared(tmp_path, "llama")
    strength = Strength(0.5, None, {1: 0.8})
    assert {fold.name: choose(fold, stats, strength).alpha for fold in folds} == {
        fold.name: 0.8 if fold.name.startswith("blk.1.") else 0.5 for fold in folds
    }


def test_experts_are_apart_and_one_that_was_never_chosen_keeps_one(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", "llama-moe")
    forward = Forward(path)
    forward.logits(TOKENS)
    forward.inputs["blk.0.ffn_down_exps.weight"].pop(2, None)
    stats = open_stats(forward.write_stats(tmp_path / "s.gguf", "hash"))
    model = open_model(path)
    folds = find_folds(model, architecture.find("llama", path))
    down = next(fold for fold in folds if fold.name == "blk.0.down_exps")
    factors = choose(down, stats, Strength()).factors
    assert (factors[2] == 1).all()
    assert not np.allclose(factors[0], factors[1])


def test_without_rows_alpha_has_to_be_named(tmp_path: Path) -> None:
    folds, stats = prepared(tmp_path, "llama", rows=0)
    with pytest.raises(UsageError, match=r"no rows were kept for blk\.0\.attn"):
        choose(folds[0], stats, Strength())
    chosen = choose(folds[0], stats, Strength(0.5))
    assert chosen.after is None


def test_statistics_without_the_product_or_of_another_shape_are_refused(tmp_path: Path) -> None:
    folds, _ = prepared(tmp_path, "llama")
    narrow = {
        f"blk.0.attn_q.weight.{part}": (np.ones((1, 32), np.float32), "F32")
        for part in ("max", "mean", "square")
    }
    count = {"blk.0.attn_q.weight.count": (np.ones(1), "I64")}
    path = write_gguf(tmp_path / "n.gguf", tiny_models.stats_metadata("hash"), {**narrow, **count})
    with pytest.raises(GgufError, match=r"blk\.0\.attn: looked for statistics of shape .*, found \(1, 32\)"):
        choose(folds[0], open_stats(path), Strength(0.5))
    with pytest.raises(
        UsageError, match=r"looked for the input of 'blk\.0\.attn_output\.weight', found none"
    ):
        choose(folds[1], open_stats(path), Strength(0.5))
