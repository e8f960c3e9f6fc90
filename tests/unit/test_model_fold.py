"""Every fold leaves the function as it was: checked in numpy, with a forward pass of the tests' own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from patcher.base.errors import PatcherError, UsageError
from patcher.model import architecture
from patcher.model.fold import Fold, find_folds, scalings
from patcher.model.gguf import GgufError
from patcher.model.model_file import ModelFile, open_model
from patcher.model.rewrite import output_paths, rewrite
from patcher.model.tensor_data import Array
from patcher.model.worklog import Worklog
from tests import tiny_models
from tests.tiny_models import VARIANTS, Forward, relative_error, write_model

TOKENS = np.random.default_rng(7).integers(0, tiny_models.VOCAB, 20)


def folds_of(path: Path) -> tuple[ModelFile, tuple[Fold, ...]]:
    model = open_model(path)
    return model, find_folds(model, architecture.find(model.architecture, path))


def folded(path: Path, factors: dict[Fold, Array], *, undo: bool = False) -> Path:
    model = open_model(path)
    out = path.with_name("undone.gguf" if undo else "folded.gguf")
    with Worklog(path.with_name("log"), {}) as log:
        rewrite(
            model,
            output_paths(model, out, force=True),
            scalings(factors, undo=undo),
            model.head.metadata,
            log,
        )
        log.remove()
    return out


def random_factors(folds: tuple[Fold, ...], seed: int = 1) -> dict[Fold, Array]:
    rng = np.random.default_rng(seed)
    return {
        fold: np.exp(rng.normal(0, 1.5, (fold.experts, fold.channels))).astype(np.float32) for fold in folds
    }


EXPECTED = {
    "llama": {"attn", "value", "ffn", "down"},
    "llama-moe": {"attn", "value", "ffn", "down_exps"},
    "qwen2moe": {"attn", "value", "ffn", "down_exps", "down_shexp"},
    "gpt2": {"attn", "value", "ffn"},
    "starcoder2": {"attn", "value", "ffn"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_fold_alone_and_all_together_keep_the_function(variant: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", variant)
    wanted = Forward(path).logits(TOKENS)
    _, folds = folds_of(path)
    kinds = {fold.name.split(".")[2] for fold in folds}
    if variant in EXPECTED:
        assert kinds == EXPECTED[variant]
    factors = random_factors(folds)
    for kind in kinds:
        some = {fold: value for fold, value in factors.items() if fold.name.endswith("." + kind)}
        assert relative_error(Forward(folded(path, some)).logits(TOKENS), wanted) < 1e-5, kind
    out = folded(path, factors)
    assert relative_error(Forward(out).logits(TOKENS), wanted) < 1e-5
    changed = {
        name for name, tensor in Forward(out).tensors.items() if (tensor != Forward(path).tensors[name]).any()
    }
    assert len(changed) >= 4 * tiny_models.LAYERS
    back = Forward(folded(out, factors, undo=True))
    for name, tensor in Forward(path).tensors.items():
        assert np.allclose(back.tensors[name], tensor, rtol=1e-5, atol=0), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fold_that_misses_one_reader_is_noticed(variant: str, tmp_path: Path) -> None:
    """The check above can fail: leave out any one consumer, or the group's sharing, and the function changes."""
    path = write_model(tmp_path / "m.gguf", variant)
    wanted = Forward(path).logits(TOKENS)
    _, folds = folds_of(path)
    for fold in folds[: len(folds) // tiny_models.LAYERS]:
        for consumer in fold.consumers:
            broken = replace(fold, consumers=tuple(c for c in fold.consumers if c is not consumer))
            out = folded(path, random_factors((broken,)))
            assert relative_error(Forward(out).logits(TOKENS), wanted) > 1e-4, (fold.name, consumer.name)


def test_heads_of_a_group_share_a_factor(tmp_path: Path) -> None:
    _, folds = folds_of(write_model(tmp_path / "m.gguf", "llama"))
    value = next(fold for fold in folds if fold.producer_role == "value")
    assert (value.heads, value.group, value.channels) == (2, 2, 32)
    spread = value.spread(np.arange(32, dtype=np.float32)[None])[0].reshape(4, 16)
    assert (spread[0] == spread[1]).all()
    assert (spread[2] == spread[3]).all()
    assert (spread[0] == np.arange(16)).all()
    assert (spread[2] == np.arange(16, 32)).all()
    assert (value.gather(spread.reshape(1, -1), np.maximum)[0] == np.arange(32)).all()


def test_an_unknown_architecture_is_refused_with_its_name_and_what_to_declare(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'mamba' is not declared, known are .*gemma.*\[\[architecture\]\]"):
        architecture.find("mamba", tmp_path / "m.gguf")


def test_a_tensor_that_is_not_declared_is_refused(tmp_path: Path) -> None:
    tensors = {name: (array, "F32") for name, array in tiny_models.tensors_of("llama").items()}
    tensors["blk.1.attn_gate.weight"] = (np.ones((64, 64), np.float32), "F32")
    path = tiny_models.write_gguf(tmp_path / "m.gguf", tiny_models.metadata_of("llama"), tensors)
    with pytest.raises(
        UsageError, match=r"blk\.1\.attn_gate\.weight' is not declared for architecture 'llama'"
    ):
        folds_of(path)


def test_a_clamp_within_a_fold_is_refused(tmp_path: Path) -> None:
    tensors = {name: (array, "F32") for name, array in tiny_models.tensors_of("llama").items()}
    metadata = tiny_models.metadata_of("llama", {"attention.clamp_kqv": 8})
    path = tiny_models.write_gguf(tmp_path / "m.gguf", metadata, tensors)
    with pytest.raises(UsageError, match=r"clamp_kqv"):
        folds_of(path)


def test_a_quantized_model_is_refused(tmp_path: Path) -> None:
    tensors = {
        name: (array, "Q8_0" if name == "blk.0.attn_k.weight" else "F32")
        for name, array in tiny_models.tensors_of("llama").items()
    }
    path = tiny_models.write_gguf(tmp_path / "m.gguf", tiny_models.metadata_of("llama"), tensors)
    with pytest.raises(UsageError, match=r"attn_k\.weight' is Q8_0.*before it is quantized"):
        folds_of(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("attn_q", (64, 96)), ("attn_output", (64, 60)), ("ffn_up", (90, 64)), ("attn_v", (30, 64))],
)
def test_shapes_that_contradict_each_other_are_refused(
    tmp_path: Path, name: str, shape: tuple[int, int]
) -> None:
    tensors = {key: (array, "F32") for key, array in tiny_models.tensors_of("llama").items()}
    tensors[f"blk.0.{name}.weight"] = (np.ones(shape, np.float32), "F32")
    path = tiny_models.write_gguf(tmp_path / "m.gguf", tiny_models.metadata_of("llama"), tensors)
    with pytest.raises(GgufError, match=r"blk\.0\."):
        folds_of(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[architecture]]\nnames = ["x"]\n[[architecture.fold]]\nid = "a"\nkind = "product"\n'
         'producer = "attn_q"\nconsumers = ["attn_k"]', "can't be a producer"),
        ('[[architecture]]\nnames = ["x"]\n[[architecture.fold]]\nid = "a"\nkind = "rope"\n'
         'producer = "attn_norm"\nconsumers = ["attn_k"]', "unknown kind"),
        ('[[architecture]]\nnames = ["x", "x"]\nfold = []', "declared twice"),
        ('[[architecture]]\nnames = ["x"]\nfold = []\nfolds = 1', "unknown key 'folds'"),
        ("[[architecture]", "malformed"),
        ("[[architecture]]", "malformed"),
    ],
)  # fmt: skip
def test_a_malformed_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "architectures.toml"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(PatcherError, match=message):
        architecture.load(table)
