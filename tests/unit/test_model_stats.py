"""Statistics files: read with suspicion, merged as one run would have given them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patcher.base.errors import UsageError
from patcher.model.gguf import GgufError
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_writer import make_value
from patcher.model.model_file import model_hash, open_model
from patcher.model.stats import check_belongs, open_stats
from patcher.programs.q8a8_stats import CalibrationRequest, calibrate, find_tool, merge
from tests.tiny_models import stats_metadata, write_gguf, write_model

RNG = np.random.default_rng(5)
X = RNG.normal(0, 1, (2, 40, 8)).astype(np.float32)  # two experts
KEYS = RNG.permutation(40)


def seen(x: Any, keys: Any, rows: int) -> dict[str, tuple[Any, str]]:
    """What the tool would write of these rows."""
    order = np.argsort(keys)[:rows]
    return {
        "w.max": (np.abs(x).max(1), "F32"),
        "w.mean": (np.abs(x).mean(1), "F32"),
        "w.square": (np.square(x).mean(1), "F32"),
        "w.count": (np.full(2, x.shape[1]), "I64"),
        "w.rows": (x[:, order], "F16"),
        "w.keys": (np.stack([keys[order]] * 2), "I64"),
    }


def test_a_merge_is_what_one_run_over_all_texts_gives(tmp_path: Path) -> None:
    whole = open_stats(write_gguf(tmp_path / "all", stats_metadata("h", 6), seen(X, KEYS, 6)))
    a = write_gguf(tmp_path / "a", stats_metadata("h", 6, "a"), seen(X[:, :10], KEYS[:10], 6))
    b = write_gguf(tmp_path / "b", stats_metadata("h", 6, "b"), seen(X[:, 10:], KEYS[10:], 6))
    joined = merge([a, b], tmp_path / "ab")
    for part in ("max", "mean", "square", "count"):
        found, wanted = getattr(joined.input("w"), part), getattr(whole.input("w"), part)
        assert np.allclose(found, wanted, rtol=1e-6), part
    for found, wanted in zip(joined.rows("w"), whole.rows("w"), strict=True):
        assert (found == wanted).all()
    assert (joined.texts, joined.chunks, joined.model_hash) == (["a", "b"], [1, 1], "h")
    with pytest.raises(UsageError, match="there already"):
        merge([a, b], tmp_path / "ab")
    with pytest.raises(UsageError, match="same text"):
        merge([a, a], tmp_path / "aa")
    other = write_gguf(tmp_path / "c", stats_metadata("other", 6, "c"), seen(X, KEYS, 6))
    with pytest.raises(UsageError, match="another model"):
        merge([a, other], tmp_path / "ac")
    assert not (tmp_path / "ac").exists()


def test_only_rows_that_are_there_are_given_in_the_order_of_their_keys(tmp_path: Path) -> None:
    tensors = seen(X, KEYS, 4)
    keys = np.array([[9, 3, (1 << 63) - 1, 5]] * 2)
    tensors["w.keys"] = (keys, "I64")
    rows = open_stats(write_gguf(tmp_path / "s", stats_metadata("h", 4), tensors)).rows("w")
    kept = X[0][np.argsort(KEYS)[:4]].astype(np.float16).astype(np.float32)
    assert (rows[0] == kept[[1, 3, 0]]).all()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("w.max", np.full((2, 8), np.inf), "negative or infinite"),
        ("w.mean", np.full((2, 8), -1.0), "negative or infinite"),
        ("w.square", np.ones((2, 9)), "another shape"),
        ("w.count", np.ones(3), "doesn't fit"),
        ("w.count", np.full(2, -1), "doesn't fit"),
    ],
)
def test_statistics_that_make_no_sense_are_refused(
    tmp_path: Path, name: str, value: Any, message: str
) -> None:
    tensors = seen(X, KEYS, 4)
    tensors[name] = (value, tensors[name][1])
    stats = open_stats(write_gguf(tmp_path / "s", stats_metadata("h"), tensors))
    with pytest.raises(GgufError, match=message):
        stats.input("w")


def test_another_kind_of_file_or_version_or_a_missing_part_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    with pytest.raises(GgufError, match=r"looked for activation statistics, found general\.type = None"):
        open_stats(model)
    newer = write_gguf(tmp_path / "n", stats_metadata("h", version=2), seen(X, KEYS, 4))
    with pytest.raises(GgufError, match="version 2, this tool reads 1"):
        open_stats(newer)
    tensors = seen(X, KEYS, 4)
    del tensors["w.mean"]
    with pytest.raises(GgufError, match=r"looked for 'w\.mean', found none"):
        open_stats(write_gguf(tmp_path / "s", stats_metadata("h"), tensors)).input("w")


def test_statistics_of_another_model_are_refused(tmp_path: Path) -> None:
    stats = open_stats(write_gguf(tmp_path / "s", stats_metadata("a" * 64), seen(X, KEYS, 4)))
    check_belongs(stats, tmp_path / "m.gguf", "a" * 64)
    with pytest.raises(UsageError, match=r"another model \(hash aaaaaaaaaaaa\).*bbbbbbbbbbbb"):
        check_belongs(stats, tmp_path / "m.gguf", "b" * 64)
    nameless = write_gguf(tmp_path / "n", stats_metadata(""), seen(X, KEYS, 4))
    with pytest.raises(UsageError, match="hash missing"):
        check_belongs(open_stats(nameless), tmp_path / "m.gguf", "b" * 64)


def fake_tool(folder: Path, body: str) -> Path:
    """A program in the tool's place: it gets the tool's arguments as $@."""
    place = folder / "llama-q8a8-stats"
    place.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    place.chmod(0o755)
    return place


def test_calibrate_hands_the_hash_on_and_reads_what_was_written(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    hashed = model_hash(open_model(model))
    made = write_gguf(tmp_path / "made", stats_metadata(hashed), seen(X, KEYS, 4))
    (tmp_path / "text").write_text("words", encoding="utf-8")
    tool = fake_tool(tmp_path, f'echo "$@" > "{tmp_path}/args"; echo chunk 1 of 1 >&2; cp "{made}" "$6"')
    request = CalibrationRequest(tool, model, tmp_path / "text", tmp_path / "out", threads=3)
    assert calibrate(request).model_hash == hashed
    arguments = (tmp_path / "args").read_text(encoding="utf-8").split()
    assert arguments[arguments.index("--model-hash") + 1] == hashed
    assert arguments[arguments.index("-t") + 1] == "3"
    assert "--chunks" not in arguments


def test_the_tools_own_words_are_the_error(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.gguf", "llama")
    (tmp_path / "text").write_text("words", encoding="utf-8")
    tool = fake_tool(tmp_path, "echo noise >&2; echo 'error: too short a text' >&2; exit 1")
    request = CalibrationRequest(tool, model, tmp_path / "text", tmp_path / "out")
    with pytest.raises(
        UsageError, match=r"^too short a text; run llama-q8a8-stats by hand on the same files"
    ):
        calibrate(request)
    missing = CalibrationRequest(tool, model, tmp_path / "none", tmp_path / "out")
    with pytest.raises(UsageError, match="none: looked for a file"):
        calibrate(missing)


def test_what_is_read_and_what_is_no_file_stays(tmp_path: Path) -> None:
    """The tool says of a text that is in its way: remove it."""
    model, text, pipe = write_model(tmp_path / "m.gguf", "llama"), tmp_path / "text", tmp_path / "pipe"
    text.write_text("words", encoding="utf-8")
    os.mkfifo(pipe)
    tool = fake_tool(tmp_path, 'echo lost > "$6"')
    for output, said in (
        (model, "is read; choose another name"),
        (text, "is read; choose another name"),
        (pipe, "it is no plain file"),
    ):
        with pytest.raises(UsageError, match=said):
            calibrate(CalibrationRequest(tool, model, text, output))
    assert text.read_text(encoding="utf-8") == "words"
    stats = write_gguf(tmp_path / "s", stats_metadata("h"), seen(X, KEYS, 4))
    with pytest.raises(UsageError, match="it is no plain file"):
        merge([stats], pipe, force=True)
    assert pipe.is_fifo()


def test_the_tool_finds_the_libraries_beside_it(tmp_path: Path) -> None:
    model, text = write_model(tmp_path / "m.gguf", "llama"), tmp_path / "text"
    text.write_text("words", encoding="utf-8")
    tool = fake_tool(tmp_path, 'echo "error: $LD_LIBRARY_PATH" >&2; exit 1')
    with pytest.raises(UsageError, match=str(tmp_path)):
        calibrate(CalibrationRequest(tool, model, text, tmp_path / "out"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("t: 3 tokens, wanted is at least one chunk of 64", "name a longer text"),
        ("s: can't be written", "see with 'df -h' whether its disk is full"),
        ("blk.0.w: an activation is not finite", "the model is damaged, or overflows"),
        ("m.gguf: can't be loaded", "the model is damaged, or of another tree"),
    ],
)
def test_what_can_be_done_is_said(words: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("words", encoding="utf-8")
    tool = fake_tool(tmp_path, f'echo "error: {words}" >&2; exit 1')
    model = write_model(tmp_path / "m.gguf", "llama")
    with pytest.raises(UsageError, match=f"{words}; {said}"):
        calibrate(CalibrationRequest(tool, model, tmp_path / "text", tmp_path / "out"))


def test_a_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    model, text = write_model(tmp_path / "m.gguf", "llama"), tmp_path / "text"
    tool = fake_tool(tmp_path, "exit 0")
    for data in ("a text".encode("utf-16"), "Käse".encode("latin-1"), "말".encode()[:2]):
        text.write_bytes(data)
        with pytest.raises(UsageError, match="looked for a text in UTF-8, found the byte 0x"):
            calibrate(CalibrationRequest(tool, model, text, tmp_path / "out"))


def test_the_tool_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"looked in build/bin/llama-q8a8-stats, found none.*--target"):
        find_tool(None)
    tool = fake_tool(tmp_path, "")
    assert find_tool(tmp_path) == find_tool(tool) == tool
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_tool(None) == tool


def test_a_value_that_is_no_string_is_no_hash(tmp_path: Path) -> None:
    metadata = stats_metadata("h") | {"general.type": make_value(ValueType.UINT8, 1)}
    with pytest.raises(GgufError, match=r"found general\.type = 1"):
        open_stats(write_gguf(tmp_path / "s", metadata, seen(X, KEYS, 4)))
