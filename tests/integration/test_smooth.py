"""Calibration and smoothing on a real model: the same function, a smaller divergence, what the loader says."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from patcher.model.gguf import read
from patcher.model.model_file import model_hash, open_model
from patcher.model.stats import open_stats
from patcher.model.tensor_data import load
from tests.integration.conftest import Work, q8a8_patch

pytestmark = [pytest.mark.llama, pytest.mark.network, pytest.mark.compiler, pytest.mark.slow]


@pytest.fixture(scope="module")
def stats(tool: Path, f16: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Statistics over two chunks, gathered in two runs."""
    place = tmp_path_factory.mktemp("stats") / "model.stats"
    for chunks in ("1", "2"):
        done = q8a8_patch(
            "calibrate", f16, "-f", text, "-o", place, "--tool", tool, "--chunks", chunks, "--json"
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["chunks"] == [2]
    return place


@pytest.fixture(scope="module")
def smoothed(f16: Path, stats: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, smoothed."""
    place = tmp_path_factory.mktemp("smoothed") / "smooth.gguf"
    done = q8a8_patch("smooth", f16, "--stats", stats, "-o", place, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["error_ratio"] < 0.6
    return place


def divergence(work: Work, model: Path, text: Path, base: Path, *more: str) -> str:
    arguments: tuple[str | Path, ...] = ("-m", model, "-f", text, "-c", "512", "--chunks", "2", *more)
    return work.run("llama-perplexity", *arguments, "--kl-divergence-base", base)


def mean_kld(said: str) -> float:
    found = re.search(r"Mean\s+KLD:\s+(-?[\d.]+)", said)
    assert found, said
    return float(found[1])


def test_a_resumed_run_is_a_whole_one(tool: Path, f16: Path, text: Path, stats: Path, tmp_path: Path) -> None:
    done = q8a8_patch("calibrate", f16, "-f", text, "-o", tmp_path / "s", "--tool", tool, "--chunks", "2")
    assert done.returncode == 0, done.stderr
    whole, resumed = open_stats(tmp_path / "s"), open_stats(stats)
    assert whole.weights == resumed.weights
    assert len(whole.weights) == 30 * 7 + 1
    assert whole.model_hash == resumed.model_hash == model_hash(open_model(f16))
    for weight in whole.weights:
        one, other = whole.input(weight), resumed.input(weight)
        assert (one.max == other.max).all()
        assert (one.count == other.count).all()
        assert one.count[0] == 1024
        assert np.allclose(one.mean, other.mean, rtol=1e-5)
        assert np.allclose(one.square, other.square, rtol=1e-5)
        assert (one.mean <= one.max).all()
        for rows, again in zip(whole.rows(weight), resumed.rows(weight), strict=True):
            assert (rows == again).all()
            assert (np.abs(rows).max(0) <= one.max[0] * 1.001).all()
    # q, k and v read one input, and so do gate and up: one of each keeps its rows
    kept = [weight for weight in whole.weights if weight.startswith("blk.3.") and whole.rows(weight)]
    assert len(kept) == 4, kept


def test_the_tool_refuses_to_mix(tool: Path, f16: Path, stats: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("Something else entirely. " * 300, encoding="utf-8")
    before = stats.read_bytes()
    done = q8a8_patch("calibrate", f16, "-f", other, "-o", stats, "--tool", tool)
    assert done.returncode == 2
    assert "holds statistics of another model, text" in done.stderr
    assert stats.read_bytes() == before
    short = tmp_path / "short.txt"
    short.write_text("Three words only", encoding="utf-8")
    done = q8a8_patch("calibrate", f16, "-f", short, "-o", tmp_path / "s", "--tool", tool)
    assert done.returncode == 2
    assert "wanted is at least one chunk of 512" in done.stderr


def test_the_function_is_the_same_and_int8_is_nearer(
    work: Work, f16: Path, smoothed: Path, text: Path, tool: Path, tmp_path: Path
) -> None:
    many = tmp_path / "many.stats"  # as many rows as the text has tokens
    done = q8a8_patch("calibrate", f16, "-f", text, "-o", many, "--tool", tool, "--rows", "2048")
    assert done.returncode == 0, done.stderr
    base = tmp_path / "base"
    divergence(work, f16, text, base)
    same = mean_kld(divergence(work, smoothed, text, base, "--kl-divergence"))
    assert abs(same) < 1e-4  # F16's own rounding
    found = {}
    for name, model in (("plain", f16), ("smooth", smoothed), ("rounded", smoothed)):
        made = tmp_path / f"{name}.gguf"
        more = ("--stats", many) if name == "rounded" else ()
        done = q8a8_patch("quantize", model, made, "Q8_A8", "--bin", work.bin, *more, "--json")
        assert done.returncode == 0, done.stderr
        found[name] = mean_kld(divergence(work, made, text, base, "--kl-divergence"))
    assert found["smooth"] < 0.8 * found["plain"], found
    said = json.loads(done.stdout)
    assert len(said["rounded"]["tensors"]) == 30 * 7  # all but the embeddings
    assert said["rounded"]["error_ratio"] < 0.9
    assert abs(made.stat().st_size - (tmp_path / "smooth.gguf").stat().st_size) < 1024
    assert found["rounded"] < found["smooth"], found


def test_f32_logits_agree_to_1e_4(
    work: Work, f16: Path, text: Path, stats: Path, tool: Path, tmp_path: Path
) -> None:
    """In F32 nothing hides behind rounding: the smoothed model's logits are the model's."""
    f32 = tmp_path / "f32.gguf"
    work.run("llama-quantize", f16, f32, "F32")
    done = q8a8_patch("calibrate", f32, "-f", text, "-o", tmp_path / "s", "--tool", tool, "--chunks", "1")
    assert done.returncode == 0, done.stderr
    done = q8a8_patch("smooth", f32, "--stats", tmp_path / "s", "-o", tmp_path / "smooth.gguf", "--json")
    assert done.returncode == 0, done.stderr
    assert max(json.loads(done.stdout)["rounding"].values()) < 1e-7
    for name, model in (("a", f32), ("b", tmp_path / "smooth.gguf")):
        again = q8a8_patch(
            "calibrate", model, "-f", text, "-o", tmp_path / name, "--tool", tool, "--chunks", "1"
        )
        assert again.returncode == 0, again.stderr
    a, b = open_stats(tmp_path / "a"), open_stats(tmp_path / "b")
    # the input of the output matrix is where the whole model's differences have gathered
    rows = [stats.rows("token_embd.weight")[0] for stats in (a, b)]
    assert np.abs(rows[0] - rows[1]).max() / np.abs(rows[0]).max() < 1e-3  # rows are kept in F16
    one, other = (stats.input("token_embd.weight").mean for stats in (a, b))
    assert np.abs(one - other).max() / np.abs(one).max() < 1e-4


def test_the_loader_says_it(work: Work, smoothed: Path, text: Path, tmp_path: Path) -> None:
    command = [
        str(work.bin / "llama-perplexity"),
        "-m",
        str(smoothed),
        "-f",
        str(text),
        "-c",
        "64",
        "--chunks",
        "1",
        "-v",
    ]
    said = subprocess.run(command, capture_output=True, text=True, errors="replace")
    alpha = read(smoothed).get("smoothquant.alpha")
    assert re.search(r"smoothquant\.enabled\s+= true", said.stdout + said.stderr)
    assert re.search(rf"smoothquant\.alpha\s+= {alpha:.4f}", said.stdout + said.stderr)


def test_undo_restores_the_original(f16: Path, smoothed: Path, tmp_path: Path) -> None:
    done = q8a8_patch("smooth", smoothed, "--undo", "-o", tmp_path / "u.gguf")
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "u.gguf").metadata == read(f16).metadata
    original, restored = open_model(f16).tensors, open_model(tmp_path / "u.gguf").tensors
    for name in (
        "blk.0.attn_norm.weight",
        "blk.7.attn_v.weight",
        "blk.29.ffn_down.weight",
        "token_embd.weight",
    ):
        assert np.allclose(load(restored[name]), load(original[name]), rtol=2**-10, atol=2e-6), name
