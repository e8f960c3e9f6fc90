"""GGUF in and out; every hostile file is one clear error."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from patcher.model.evidence import placed
from patcher.model.gguf import GgufError, read
from patcher.model.gguf_format import TYPE_NUMBERS, ValueType
from patcher.model.gguf_writer import GgufWriter, NewTensor, make_array, make_value, tensors_like
from patcher.model.model_file import model_hash, open_model, part_path
from patcher.model.rewrite import copied
from patcher.model.tensor_data import decode, encode, load, load_integers, pieces
from tests.tiny_models import metadata_of, write_gguf, write_model

A = np.arange(12, dtype=np.float32).reshape(3, 4) - 5.5


def header(entries: int = 0, tensors: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def tensor_info(
    name: bytes = b"t",
    dims: tuple[int, ...] = (4, 3),
    kind: int = 0,
    offset: int = 0,
    rank: int | None = None,
) -> bytes:
    rank = len(dims) if rank is None else rank
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", rank, *dims, kind, offset)


@pytest.mark.parametrize("big", [False, True])
def test_what_is_written_is_read(tmp_path: Path, big: bool) -> None:
    metadata = {
        kind.name.lower(): make_value(kind, 1.5 if kind.name.startswith("FLOAT") else 1, big_endian=big)
        for kind in ValueType
        if kind not in (ValueType.ARRAY, ValueType.STRING)
    }
    metadata["text"] = make_value(ValueType.STRING, "añb", big_endian=big)
    metadata["texts"] = make_array(ValueType.STRING, ["", "xyz"], big_endian=big)
    metadata["numbers"] = make_array(ValueType.INT16, [-1, 300], big_endian=big)
    tensors = {"f32": (A, "F32"), "f16": (A, "F16"), "bf16": (A, "BF16"), "i64": (A.astype(np.int64), "I64")}
    path = write_gguf(tmp_path / "x.gguf", metadata, tensors, big_endian=big)
    file = read(path)
    assert (file.big_endian, file.version, file.alignment) == (big, 3, 32)
    assert file.get("text") == "añb"
    assert file.get("texts") == ["", "xyz"]
    assert file.get("numbers") == [-1, 300]
    assert file.get("float64") == 1.5
    assert file.get("uint64") == 1
    assert file.get("bool") is True
    assert {key: value.raw for key, value in file.metadata.items()} == {k: v.raw for k, v in metadata.items()}
    by_name = {tensor.name: tensor for tensor in file.tensors}
    for name in ("f32", "f16", "bf16"):
        assert (load(by_name[name]) == A).all()
    assert (load_integers(by_name["i64"]) == A.astype(np.int64)).all()
    assert [first for first, _ in pieces(by_name["f16"], budget=32)] == [0, 2]
    with pytest.raises(GgufError, match="looked for the string 'numbers'"):
        file.text("numbers")


def test_bf16_rounds_to_nearest_even_and_keeps_nan(tmp_path: Path) -> None:
    info = read(write_gguf(tmp_path / "x.gguf", {}, {"t": (np.zeros((1, 5)), "BF16")})).tensors[0]
    values = np.array([[1.0, 1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8 + 2**-20), np.nan]], np.float32)
    found = decode(encode(values, info), info)[0]
    assert found[:4].tolist() == [1.0, 1.0, 1 + 2**-6, -(1 + 2**-7)]
    assert np.isnan(found[4])


@pytest.mark.parametrize(("kind", "large"), [("F16", 70000.0), ("BF16", 3.4e38)])
def test_an_overflow_is_an_error_and_not_infinity(tmp_path: Path, kind: str, large: float) -> None:
    info = read(write_gguf(tmp_path / "x.gguf", {}, {"t": (np.zeros((1, 2)), kind)})).tensors[0]
    with pytest.raises(GgufError, match=f"'t' reaches .* too large for {kind}"):
        encode(np.array([[1.0, large]], np.float32), info)


def test_every_cut_is_an_error(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "whole.gguf", "llama").read_bytes()
    size = read(tmp_path / "whole.gguf").tensors[0].offset
    cut = tmp_path / "cut.gguf"
    for length in [*range(0, size, 7), size, len(whole) - 4096, len(whole) // 2]:
        cut.write_bytes(whole[:length])
        with pytest.raises(GgufError, match=r"cut\.gguf"):
            read(cut)


def test_no_change_of_a_byte_is_more_than_an_error(tmp_path: Path) -> None:
    whole = bytearray(write_model(tmp_path / "whole.gguf", "llama").read_bytes())
    start = read(tmp_path / "whole.gguf").tensors[0].offset
    rng = np.random.default_rng(3)
    broken = tmp_path / "broken.gguf"
    refused = 0
    for _ in range(400):
        changed = bytearray(whole)
        for place in rng.integers(0, start, rng.integers(1, 4)):
            changed[place] = rng.integers(0, 256)
        broken.write_bytes(changed)
        try:
            file = read(broken)
            for value in file.metadata.values():
                assert value.value is not None
            open_model(broken)
        except GgufError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGML" + bytes(40), "starts with b'GGML'"),
        (b"", "found 0 bytes"),
        (header(version=1) + bytes(40), "version 1, supported are 2 and 3"),
        (header(version=0) + bytes(40), "version 0"),
        (header(tensors=1 << 60) + bytes(40), "1152921504606846976 tensors announced"),
        (header(entries=1 << 60) + bytes(40), "metadata entries announced"),
        (header(1) + text(b"k") + struct.pack("<I", 13) + bytes(40), "type of 'k' is 13"),
        (header(1) + struct.pack("<Q", 1 << 62) + bytes(40), "ends within a metadata key"),
        (header(1) + text(b"\xff") + bytes(40), "not UTF-8"),
        (header(1) + text(b"k") + struct.pack("<IIQ", 9, 9, 1) + bytes(40), "array of arrays"),
        (header(1) + text(b"k") + struct.pack("<IIQ", 9, 6, 1 << 61) + bytes(40), "elements of 'k' announced"),
        (header(1) + text(b"k") + struct.pack("<IIQ", 9, 8, 1 << 61) + bytes(40), "strings of 'k' announced"),
        (header(2) + (text(b"k") + struct.pack("<IB", 0, 1)) * 2 + bytes(40), "'k' is there twice"),
        (header(1) + text(b"general.alignment") + struct.pack("<II", 4, 24) + bytes(40), "no power of two"),
        (header(1) + text(b"general.alignment") + struct.pack("<II", 4, 0) + bytes(40), "no power of two"),
        (header(0, 1) + tensor_info(kind=77) + bytes(400), "type 77, whose size is not known"),
        (header(0, 1) + tensor_info(dims=(0, 3)) + bytes(400), "can't have the shape"),
        (header(0, 1) + tensor_info(dims=(1 << 40, 1 << 40)) + bytes(400), "can't have the shape"),
        (header(0, 1) + tensor_info(dims=(33,), kind=8) + bytes(400), "can't have the shape"),
        (header(0, 1) + tensor_info(rank=5) + bytes(400), "5 dimensions"),
        (header(0, 1) + tensor_info(name=b"n" * 64) + bytes(400), "has 64 bytes"),
        (header(0, 1) + tensor_info(offset=1) + bytes(400), "not aligned"),
        (header(0, 1) + tensor_info(offset=1 << 40) + bytes(400), "ends at byte"),
        (header(0, 2) + tensor_info() + tensor_info(b"u") + bytes(400), "overlaps"),
        (header(0, 2) + tensor_info() + tensor_info(offset=64) + bytes(400), "'t' is there twice"),
    ],
)  # fmt: skip
def test_hostile_files(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(GgufError, match=rf"bad\.gguf.*{message}"):
        read(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match="No such file"):
        read(tmp_path / "none.gguf")
    with pytest.raises(GgufError, match="directory"):
        read(tmp_path)


def test_a_writer_refuses_too_much_and_too_little(tmp_path: Path) -> None:
    tensors = [NewTensor("t", (4, 3), TYPE_NUMBERS["F32"])]
    with GgufWriter(tmp_path / "x", {}, tensors) as writer:
        for wrong in (47, 49):
            with pytest.raises(GgufError, match=f"looked for 48 bytes of tensor 't' to write, found {wrong}"):
                writer.write("t", [bytes(wrong)])


def split(path: Path, count: int = 3) -> Path:
    """The model at ``path`` in ``count`` parts, as llama-gguf-split makes them."""
    file = read(path)
    shares = np.array_split(np.arange(len(file.tensors)), count)
    for number, share in enumerate(shares):
        metadata = dict(file.metadata) if number == 0 else {}
        metadata["split.no"] = make_value(ValueType.UINT16, number)
        metadata["split.count"] = make_value(ValueType.UINT16, count)
        metadata["split.tensors.count"] = make_value(ValueType.INT32, len(file.tensors))
        own = [file.tensors[index] for index in share]
        with GgufWriter(part_path(path, number + 1, count), metadata, tensors_like(own)) as writer:
            for info in own:
                writer.write(info.name, copied(info))
    return part_path(path, 1, count)


def test_parts_are_one_model_with_the_same_hash(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "m.gguf", "llama")
    first = split(whole)
    assert first.name == "m-00001-of-00003.gguf"
    parts = open_model(first)
    assert parts.tensors.keys() == open_model(whole).tensors.keys()
    assert model_hash(parts) == model_hash(open_model(whole))
    other = write_model(tmp_path / "n.gguf", "llama", seed=1)
    assert model_hash(open_model(other)) != model_hash(open_model(whole))


def test_parts_that_are_wrong(tmp_path: Path) -> None:
    first = split(write_model(tmp_path / "m.gguf", "llama"))
    second, third = (first.with_name(f"m-0000{n}-of-00003.gguf") for n in (2, 3))
    with pytest.raises(GgufError, match=r"looked for the first one, NAME-00001-of-00003\.gguf"):
        open_model(second)
    kept = third.read_bytes()
    third.unlink()
    with pytest.raises(GgufError, match=r"m-00003-of-00003\.gguf: No such file"):
        open_model(first)
    third.write_bytes(second.read_bytes())
    with pytest.raises(GgufError, match="says that it is part 2 of 3"):
        open_model(first)
    third.write_bytes(kept)
    tensors = {"token_embd.weight": (np.ones((2, 32), np.float32), "F32")}
    metadata = {
        "split.no": make_value(ValueType.UINT16, 2),
        "split.count": make_value(ValueType.UINT16, 3),
    }
    write_gguf(third, metadata, tensors)
    with pytest.raises(GgufError, match=r"'token_embd\.weight' is in m-00001"):
        open_model(first)


def test_numbers_of_the_metadata(tmp_path: Path) -> None:
    metadata = metadata_of("llama")
    metadata["llama.attention.head_count_kv"] = make_array(ValueType.INT32, [2, 4])
    path = write_gguf(tmp_path / "m.gguf", metadata, {"t": (A, "F32")})
    model = open_model(path)
    assert [model.by_layer("attention.head_count_kv", layer) for layer in (0, 1)] == [2, 4]
    assert model.by_layer("attention.head_count", 1) == 4
    with pytest.raises(GgufError, match="no number for layer 2"):
        model.by_layer("attention.head_count_kv", 2)
    with pytest.raises(GgufError, match=r"llama\.nothing"):
        model.number("nothing")


def test_zeros_stay_holes(tmp_path: Path) -> None:
    tensors = [NewTensor("t", (1 << 20, 16), TYPE_NUMBERS["F32"]), NewTensor("u", (4,), TYPE_NUMBERS["F32"])]
    with GgufWriter(tmp_path / "x", {}, tensors) as writer:
        writer.write("t", [bytes(1 << 24)] * 4)
        writer.write("u", [b"\0\0\0\0" * 3 + b"\0\0\x80?"])
    file = read(tmp_path / "x")
    assert load(file.tensors[1]).tolist() == [[0, 0, 0, 1]]
    assert (tmp_path / "x").stat().st_size > 1 << 26
    assert (tmp_path / "x").stat().st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("kind", [ValueType.UINT8, ValueType.UINT64, ValueType.INT32, ValueType.BOOL])
def test_an_alignment_of_another_type_is_refused_as_llama_cpp_refuses_it(
    kind: ValueType, tmp_path: Path
) -> None:
    metadata = {"general.alignment": make_value(kind, 1 if kind is ValueType.BOOL else 32)}
    with GgufWriter(tmp_path / "m.gguf", metadata, []):
        pass
    with pytest.raises(GgufError, match=f"as a uint32, found a {kind.name.lower()}"):
        read(tmp_path / "m.gguf")


def test_a_merged_model_is_whole_and_a_part_that_denies_it_isnt(tmp_path: Path) -> None:
    """``llama-gguf-split --merge`` leaves a split.count of 0."""
    whole = write_model(tmp_path / "m.gguf", "llama")
    count = len(open_model(whole).tensors)

    def counted(parts: int, tensors: int) -> Path:
        file = read(whole)
        keys = {
            "split.no": make_value(ValueType.UINT16, 0),
            "split.count": make_value(ValueType.UINT16, parts),
            "split.tensors.count": make_value(ValueType.INT32, tensors),
        }
        path = tmp_path / "c.gguf"
        with GgufWriter(path, {**file.metadata, **keys}, tensors_like(file.tensors)) as writer:
            for tensor in file.tensors:
                writer.write(tensor.name, copied(tensor))
        return path

    hashed = model_hash(open_model(whole))
    assert model_hash(open_model(counted(0, count))) == hashed
    assert model_hash(open_model(counted(1, count))) == hashed
    with pytest.raises(GgufError, match=f"{count + 9} tensors announced over all parts, found {count}"):
        open_model(counted(1, count + 9))
    with pytest.raises(GgufError, match=f"{count + 9} tensors announced over all parts, found {count}"):
        placed(counted(1, count + 9))
