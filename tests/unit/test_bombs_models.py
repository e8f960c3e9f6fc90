"""GGUF files that claim much, or something else than was meant: refused in one line."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patcher import cli
from patcher.model.fold import Scaling
from patcher.model.gguf import GgufError, TensorInfo, read
from patcher.model.gguf_cursor import MAX_TENSORS
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_head import read_head
from patcher.model.gguf_writer import make_array, make_value
from patcher.model.rewrite import _scaled, _Worst
from patcher.model.stats import open_stats
from patcher.model.tensor_data import load
from patcher.programs.q8a8_stats import merge
from tests.growth import LINEAR, exponent
from tests.tiny_models import stats_metadata, write_gguf

SPARSE = 1 << 40  # bytes that a file claims; it takes none on the disk


def head(tensors: int, *entries: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, len(entries)) + b"".join(entries)


def key(name: bytes, kind: int, rest: bytes) -> bytes:
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + rest


@pytest.mark.parametrize(("data", "message"), [
    (head(0, key(b"a", 9, struct.pack("<IQ", 0, 1 << 35))), "'a' has more than"),
    (head(0, key(b"a", 8, struct.pack("<Q", 1 << 35))), "the value of 'a' has 34359738368 bytes"),
    (head(0, struct.pack("<Q", 1 << 35)), "a metadata key has 34359738368 bytes"),
    (head(0, key(b"a", 9, struct.pack("<IQ", 8, 1 << 36))), "'a' has more than"),
    (head(MAX_TENSORS + 1), "1048577 tensors announced"),
], ids=["array", "string", "key", "strings", "tensors"])  # fmt: skip
def test_a_sparse_file_takes_no_memory(
    data: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patcher.model.gguf_cursor.MAX_VALUE", 1 << 20)
    path = tmp_path / "m.gguf"
    with path.open("wb") as file:
        file.write(data)
        file.truncate(SPARSE)
    tracemalloc.start()
    try:
        with pytest.raises(GgufError, match=message):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_sparse_tensor_is_not_held(tmp_path: Path) -> None:
    info = TensorInfo("w", (1 << 20, 1 << 12), 0, tmp_path / "m.gguf", 0)
    with pytest.raises(GgufError, match="has 4294967296 elements"):
        load(info)


def test_tensors_in_one_place_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = [struct.pack("<Q", 2) + b"t%d" % n + struct.pack("<IQIQ", 1, 32, 39, 0) for n in range(3)]
    path = tmp_path / "m.gguf"
    path.write_bytes((head(3) + b"".join(row)).ljust(4096, b"\0"))
    assert cli.run(["gguf", "retag", str(path), "-o", str(tmp_path / "o.gguf")]) == 2
    assert "two tensors begin at the same byte" in capsys.readouterr().err


def test_spans_grow_with_the_tensors(tmp_path: Path) -> None:
    def make(count: int) -> Path:
        rows = b"".join(
            struct.pack("<Q", 8) + b"t%07d" % n + struct.pack("<IQIQ", 1, 32, 39, 64 * n)
            for n in range(count)
        )
        path = tmp_path / f"{count}.gguf"
        with path.open("wb") as file:
            file.write(head(count) + rows)
            file.truncate(64 * count + (1 << 24))
        return path

    assert exponent(make, lambda path: read_head(path).spans(), 3000) < LINEAR


X = np.ones((1, 4, 8), np.float32)
SOUND: dict[str, tuple[Any, str]] = {
    "w.max": (np.ones((1, 8)), "F32"), "w.mean": (np.ones((1, 8)), "F32"), "w.square": (np.ones((1, 8)), "F32"),
    "w.count": (np.array([4]), "I64"), "w.rows": (X, "F16"), "w.keys": (np.array([[1, 2, 3, 4]]), "I64"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [
    ("texts", make_value(ValueType.UINT32, 3)), ("texts", make_array(ValueType.UINT32, [3])),
    ("chunks", make_value(ValueType.STRING, "a")), ("chunks", make_array(ValueType.STRING, ["a"])),
    ("chunks", make_array(ValueType.INT64, [-1])), ("rows", make_value(ValueType.STRING, "a")),
    ("rows", make_value(ValueType.UINT64, 1 << 40)), ("rows", make_array(ValueType.UINT32, [1])),
    ("model_hash", make_value(ValueType.UINT32, 3)), ("architecture", make_value(ValueType.FLOAT32, 3)),
    ("chunk_size", make_value(ValueType.STRING, "a")), ("version", make_array(ValueType.UINT32, [1])),
])  # fmt: skip
def test_statistics_with_other_metadata(name: str, value: Any, tmp_path: Path) -> None:
    bad = write_gguf(tmp_path / "a", stats_metadata("h") | {f"q8a8-stats.{name}": value}, SOUND)
    good = write_gguf(tmp_path / "b", stats_metadata("h", text="b"), SOUND)
    with pytest.raises(GgufError):
        merge([bad, good], tmp_path / "o")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(("name", "array", "kind"), [
    ("w.rows", np.ones((1, 3, 8)), "F16"), ("w.rows", np.ones((1, 4, 4)), "F16"),
    ("w.rows", np.full((1, 4, 8), np.nan), "F16"), ("w.keys", np.ones((1, 3)), "I64"), ("w.keys", np.ones((4, 1)), "I64"),
    ("w.keys", np.ones((1, 4)), "F32"), ("w.count", np.array([-1]), "I64"), ("w.count", np.array([1 << 62]), "I64"),
    ("w.count", np.array([1, 2]), "I64"), ("w.count", np.array([1.0]), "F32"), ("w.max", np.ones((2, 8)), "F32"),
    ("w.mean", np.ones((1, 4)), "F32"), ("w.square", np.full((1, 8), np.inf), "F32"),
])  # fmt: skip
def test_statistics_that_contradict_themselves(name: str, array: Any, kind: str, tmp_path: Path) -> None:
    bad = write_gguf(tmp_path / "a", stats_metadata("h"), SOUND | {name: (array, kind)})
    good = write_gguf(tmp_path / "b", stats_metadata("h", text="b"), SOUND)
    with pytest.raises(GgufError):
        merge([bad, good], tmp_path / "o")


@pytest.mark.parametrize("gone", ["w.keys", "w.count", "w.mean"])
def test_statistics_that_lack_a_part(gone: str, tmp_path: Path) -> None:
    bad = write_gguf(tmp_path / "a", stats_metadata("h"), {k: v for k, v in SOUND.items() if k != gone})
    with pytest.raises(GgufError, match=f"looked for '{gone}'"):
        merge([bad], tmp_path / "o")
    assert open_stats(bad).weights == ["w"]


def test_no_weight_becomes_no_number(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m", {}, {"w": (np.ones((2, 8)), "F32")})
    tensor = read(path).tensors[0]
    scaling = Scaling(np.full((1, 2), np.inf, np.float32))
    with pytest.raises(GgufError, match="16 weights of 'w' are infinite once they are scaled"):
        list(_scaled(tensor, scaling, _Worst()))
