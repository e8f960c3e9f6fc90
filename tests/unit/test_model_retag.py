"""Files with other numbers become files with the reserved ones; what is not ours is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patcher import cli
from patcher.base.errors import UsageError
from patcher.engine.patchset import load
from patcher.model import retag as retagging
from patcher.model.evidence import placed
from patcher.model.gguf import read
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_head import GgufHead, read_head
from patcher.model.gguf_writer import GgufWriter, make_value
from patcher.model.retag import retag

KIND = load().type
Q8_A8, MXFP4 = (32, 34), (32, 17)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(
    path: Path,
    tensors: list[tuple[str, tuple[int, ...], int, tuple[int, int]]],
    file_type: int = 38,
    alignment: int = 32,
) -> Path:
    """A small file: (name, dims, type number, (weights, bytes) of its blocks)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 3)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("general.alignment") + struct.pack("<II", 4, alignment)
    head += text("general.file_type") + struct.pack("<II", 4, file_type)
    data = b""
    for number, (name, dims, kind, (weights, size)) in enumerate(tensors):
        data += b"\0" * (-len(data) % alignment)
        head += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        head += struct.pack("<IQ", kind, len(data))
        elements = 1
        for dim in dims:
            elements *= dim
        block = struct.pack("<e", 0.25 + number) + bytes((7 * i + number) % 256 for i in range(size - 2))
        data += block * (elements // weights)
    head += b"\0" * (-len(head) % alignment)
    path.write_bytes(head + data)
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return gguf(tmp_path / "old.gguf", [
        ("a.weight", (64, 3), 39, Q8_A8), ("norm", (64,), 0, (1, 4)), ("b.weight", (32, 5), 39, Q8_A8), ("c.weight", (32, 2), 8, Q8_A8),
    ])  # fmt: skip


def numbers(path: Path) -> list[int]:
    return [one.entry.type for one in placed(path)]


def test_only_the_numbers_change(old: Path, tmp_path: Path) -> None:
    before = old.read_bytes()
    done = retag(old, KIND, destination=tmp_path / "new.gguf")
    after = (tmp_path / "new.gguf").read_bytes()
    assert numbers(tmp_path / "new.gguf") == [120, 0, 120, 8]
    assert (done.from_id, done.tensors, done.file_type) == (39, ("a.weight", "b.weight"), (38, 120))
    assert len(after) == len(before)
    assert sum(a != b for a, b in zip(after, before, strict=True)) == 3  # two types, one file type
    assert old.read_bytes() == before
    assert set(done.sha256) == {"a.weight", "norm", "b.weight", "c.weight"}
    head = read_head(old)
    offset = head.entries[0].offset
    data = before[offset : offset + head.spans()["a.weight"]]
    assert done.sha256["a.weight"] == hashlib.sha256(data).hexdigest()


def test_a_second_time_there_is_nothing_to_do(old: Path, tmp_path: Path) -> None:
    retag(old, KIND, destination=tmp_path / "new.gguf")
    again = retag(tmp_path / "new.gguf", KIND, destination=tmp_path / "newer.gguf")
    assert again.tensors == ()
    assert not (tmp_path / "newer.gguf").exists()


def test_in_place_only_where_asked(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = old.read_bytes()
    assert cli.run(["gguf", "retag", str(old)]) == 2
    assert cli.run(["gguf", "retag", str(old), "--dry-run", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["written"] is None
    assert document["tensors"] == ["a.weight", "b.weight"]
    assert old.read_bytes() == before
    assert cli.run(["gguf", "retag", str(old), "--in-place"]) == 0
    assert numbers(old) == [120, 0, 120, 8]
    assert [path.name for path in old.parent.iterdir()] == ["old.gguf"]


def test_a_file_that_is_there_stays_unless_forced(old: Path, tmp_path: Path) -> None:
    (tmp_path / "there.gguf").write_bytes(b"precious")
    with pytest.raises(UsageError, match="is there already"):
        retag(old, KIND, destination=tmp_path / "there.gguf")
    assert (tmp_path / "there.gguf").read_bytes() == b"precious"
    retag(old, KIND, destination=tmp_path / "there.gguf", force=True)
    assert numbers(tmp_path / "there.gguf") == [120, 0, 120, 8]


def test_mxfp4_is_refused_by_its_size(tmp_path: Path) -> None:
    path = gguf(tmp_path / "mxfp4.gguf", [("a.weight", (256, 3), 39, MXFP4)])
    for said in (None, 39):
        with pytest.raises(UsageError, match="MXFP4 has this size, so that is what it is"):
            retag(path, KIND, destination=tmp_path / "new.gguf", from_id=said)
    assert not (tmp_path / "new.gguf").exists()


def test_ours_beside_mxfp4_is_left_alone(tmp_path: Path) -> None:
    path = gguf(
        tmp_path / "both.gguf", [("a.weight", (256, 3), 39, MXFP4), ("b.weight", (64, 3), 120, Q8_A8)]
    )
    assert retag(path, KIND, destination=tmp_path / "new.gguf").tensors == ()


def test_ours_under_another_number_beside_mxfp4(tmp_path: Path) -> None:
    path = gguf(tmp_path / "both.gguf", [("a.weight", (256, 3), 39, MXFP4), ("b.weight", (64, 3), 77, Q8_A8)])
    assert retag(path, KIND, destination=tmp_path / "new.gguf").tensors == ("b.weight",)
    assert numbers(tmp_path / "new.gguf") == [39, 120]


def test_a_number_that_upstream_never_had(tmp_path: Path) -> None:
    path = gguf(tmp_path / "own.gguf", [("a.weight", (64, 3), 77, Q8_A8)], file_type=1024 + 55)
    done = retag(path, KIND, destination=tmp_path / "new.gguf")
    assert done.from_id == 77
    assert done.file_type == (1024 + 55, 1024 + 120)
    assert numbers(tmp_path / "new.gguf") == [120]


def test_scales_that_are_none_are_refused(tmp_path: Path) -> None:
    path = gguf(tmp_path / "odd.gguf", [("a.weight", (64, 3), 77, Q8_A8)])
    entry = read_head(path).entries[0]
    data = bytearray(path.read_bytes())
    data[entry.offset : entry.offset + 2] = struct.pack("<e", -1.0)
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"the scale -1\.0 is none of Q8_A8's"):
        retag(path, KIND, destination=tmp_path / "new.gguf")


def test_two_that_could_be_meant(tmp_path: Path) -> None:
    path = gguf(tmp_path / "two.gguf", [("a.weight", (64, 3), 77, Q8_A8), ("b.weight", (64, 3), 78, Q8_A8)])
    with pytest.raises(UsageError, match=r"the types 77, 78 could each be Q8_A8"):
        retag(path, KIND, destination=tmp_path / "new.gguf")
    assert retag(path, KIND, destination=tmp_path / "new.gguf", from_id=78).tensors == ("b.weight",)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_are_refused_or_read(old: Path, data: st.DataObject) -> None:
    raw = bytearray(old.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 400))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw
    broken = old.with_name("broken.gguf")
    broken.write_bytes(raw)
    said = ""
    try:
        retag(broken, KIND, destination=None, dry_run=True)
    except UsageError as why:  # GgufError is one
        said = str(why)
    assert not said or (str(broken) in said and "\n" not in said)


def test_padding_is_no_data_and_a_known_type_that_fits_is_that_type(tmp_path: Path) -> None:
    """F32 norms that came from BF16, padded to 4096: their room would do for Q8_A8 too."""
    path = gguf(
        tmp_path / "a.gguf",
        [("norm", (256,), 0, (1, 4)), ("a.weight", (256, 8), 120, Q8_A8)],
        alignment=4096,
    )
    data = bytearray(path.read_bytes())
    offset = read_head(path).entries[0].offset
    data[offset : offset + 1024] = struct.pack("<f", 1.5) * 256
    path.write_bytes(data)
    assert retag(path, KIND, destination=tmp_path / "new.gguf").tensors == ()
    with pytest.raises(UsageError, match="F32 has this size, so that is what it is"):
        retag(path, KIND, destination=tmp_path / "new.gguf", from_id=0)
    assert not (tmp_path / "new.gguf").exists()


@pytest.mark.parametrize("alignment", [1, 8, 64, 4096])
def test_alignments(tmp_path: Path, alignment: int) -> None:
    path = gguf(
        tmp_path / "old.gguf", [("a.weight", (256, 8), 39, Q8_A8), ("b.weight", (64, 3), 39, Q8_A8)],
        alignment=alignment,
    )  # fmt: skip
    done = retag(path, KIND, destination=tmp_path / "new.gguf")
    assert (done.from_id, done.tensors) == (39, ("a.weight", "b.weight"))


@pytest.mark.parametrize("number", [39, 77])
def test_zeros_are_no_evidence(tmp_path: Path, number: int) -> None:
    path = gguf(tmp_path / "zero.gguf", [("a.weight", (64, 3), number, Q8_A8)])
    data = bytearray(path.read_bytes())
    offset = read_head(path).entries[0].offset
    data[offset:] = bytes(len(data) - offset)
    path.write_bytes(data)
    with pytest.raises(UsageError, match="nothing but zeros"):
        retag(path, KIND, destination=tmp_path / "new.gguf", from_id=number)


def test_a_size_that_padding_hides_is_refused(tmp_path: Path) -> None:
    """Blocks of 17 bytes under a number that nobody knows, padded to what Q8_A8 would take."""
    path = gguf(tmp_path / "own.gguf", [("a.weight", (256, 8), 77, MXFP4)], alignment=4096)
    with pytest.raises(UsageError, match=r"can't be told from their padding|Q8_A8 would take"):
        retag(path, KIND, destination=tmp_path / "new.gguf", from_id=77)
    with pytest.raises(UsageError, match=r"can't be told from their padding|Q8_A8 would take"):
        retag(path, KIND, destination=tmp_path / "new.gguf")


def test_integers_without_a_peak_are_another_types(tmp_path: Path) -> None:
    """Blocks of our size whose scale isn't their largest integer's: another tree's layout."""
    path = gguf(tmp_path / "own.gguf", [("a.weight", (64, 3), 77, Q8_A8)])
    data = bytearray(path.read_bytes())
    offset = read_head(path).entries[0].offset
    for block in range(6):
        data[offset + 34 * block + 2 : offset + 34 * (block + 1)] = bytes([1, 2, 3, 4] * 8)
    path.write_bytes(data)
    with pytest.raises(UsageError, match="it is no Q8_A8"):
        retag(path, KIND, destination=tmp_path / "new.gguf")


def split(whole: list[tuple[str, tuple[int, ...], int, tuple[int, int]]], folder: Path) -> Path:
    """A model in parts of one tensor each; the first part's path."""
    for number, tensor in enumerate(whole):
        keys = {
            "split.no": make_value(ValueType.UINT16, number),
            "split.count": make_value(ValueType.UINT16, len(whole)),
            "split.tensors.count": make_value(ValueType.INT32, len(whole)),
        }
        path = gguf(folder / f"m-{number + 1:05}-of-{len(whole):05}.gguf", [tensor])
        raw = path.read_bytes()
        head = read_head(path)
        more = b"".join(text(key) + struct.pack("<I", value.type) + value.raw for key, value in keys.items())
        first = raw[:16] + struct.pack("<Q", 6) + raw[24 : head.entries[0].type_at]  # metadata and the info
        at = len(b"GGUF") + 20
        start = first.index(text(tensor[0]))
        made = first[:at] + first[at:start] + more + first[start:] + raw[head.entries[0].type_at :][:12]
        path.write_bytes(made + b"\0" * (-len(made) % 32) + raw[head.start :])
    return folder / f"m-00001-of-{len(whole):05}.gguf"


def test_a_model_in_parts(tmp_path: Path) -> None:
    first = split([("a.weight", (64, 3), 39, Q8_A8), ("b.weight", (64, 3), 39, Q8_A8)], tmp_path)
    done = retag(first, KIND, destination=tmp_path / "new.gguf")
    assert [path.name for path in done.written] == ["new-00001-of-00002.gguf", "new-00002-of-00002.gguf"]
    assert set(done.sha256) == {"a.weight", "b.weight"}
    assert numbers(done.written[0]) == [120, 120]
    assert numbers(first) == [39, 39]
    retag(first, KIND, destination=first)
    assert numbers(first) == [120, 120]
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    with pytest.raises(UsageError, match=r"m-00002-of-00002\.gguf: No such file: looked for part 2 of 2"):
        retag(first, KIND, destination=None, dry_run=True)


def test_a_first_part_without_tensors_stays_a_part(tmp_path: Path) -> None:
    """``llama-gguf-split --no-tensor-first-split`` makes such parts."""
    first = split([("a.weight", (64, 3), 39, Q8_A8), ("b.weight", (64, 3), 39, Q8_A8)], tmp_path)
    head = read_head(first)
    keys = {**head.metadata, "split.tensors.count": make_value(ValueType.INT32, 1)}
    with GgufWriter(first, keys, []):
        pass
    second = tmp_path / "m-00002-of-00002.gguf"
    data = second.read_bytes()
    counted = text("split.tensors.count") + struct.pack("<I", 5)
    at = data.index(counted) + len(counted)
    second.write_bytes(data[:at] + struct.pack("<i", 1) + data[at + 4 :])
    done = retag(first, KIND, destination=tmp_path / "new.gguf")
    assert [path.name for path in done.written] == ["new-00001-of-00002.gguf", "new-00002-of-00002.gguf"]
    assert done.file_type == (38, 120)
    assert numbers(done.written[0]) == [120]


def test_parts_appear_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = split([("a.weight", (64, 3), 39, Q8_A8), ("b.weight", (64, 3), 39, Q8_A8)], tmp_path)
    write = retagging._write

    def fails(head: GgufHead, *rest: Any) -> dict[str, str]:
        if "00002" in head.path.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(head, *rest)

    monkeypatch.setattr(retagging, "_write", fails)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match="No space left on device"):
        retag(first, KIND, destination=tmp_path / "new.gguf")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("number", "extra"), [(42, -40), (42, 100), (120, -40), (120, 100), (200, -40)])
def test_what_is_of_no_size_is_never_called_done(
    number: int, extra: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cut off or grown: nobody can tell whether it is ours, so 'nothing to do' would be false."""
    path = gguf(tmp_path / "m.gguf", [("n", (32,), 0, (1, 4)), ("a.weight", (64, 8), number, Q8_A8)])
    data = path.read_bytes()
    path.write_bytes(data[:extra] if extra < 0 else data + bytes(extra))
    assert cli.run(["gguf", "retag", str(path), "-o", str(tmp_path / "o.gguf")]) == 2
    assert f"tensor 'a.weight' of type {number} takes {544 + extra} bytes" in capsys.readouterr().err


def test_the_model_itself_and_what_is_no_file_stay(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, pipe, folder = old.read_bytes(), tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    (tmp_path / "link.gguf").symlink_to(old)
    for output, said in (
        (old, "is the model that is read; name another output, or use --in-place"),
        (tmp_path / "link.gguf", "is the model that is read"),
        (pipe, "can't be replaced, it is no plain file"),
        (folder, "it is a folder; name a file"),
    ):
        assert cli.run(["gguf", "retag", str(old), "-o", str(output), "--force"]) == 2
        assert said in capsys.readouterr().err
    assert old.read_bytes() == before
    assert pipe.is_fifo()
    assert cli.run(["gguf", "retag", str(old), "--from-id", "77", "--dry-run"]) == 2
    assert "looked for tensors of type 77, found" in capsys.readouterr().err


def test_a_type_of_ones_own_goes_from_the_number_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Q6_X: 64 weights in 50 bytes, 121; whatever its scales are."""
    own = str(Path(__file__).parents[2] / "docs" / "examples" / "q6_x")
    old, new = (
        gguf(tmp_path / "old.gguf", [("a", (64, 3), 45, (64, 50)), ("b", (64, 2), 8, (32, 34))]),
        tmp_path / "new.gguf",
    )
    words = ["gguf", "retag", str(old), "--type", own, "-o", str(new)]
    assert cli.run(words) == 2
    assert "looked for --from-id, the number that it has for Q6_X" in capsys.readouterr().err
    assert cli.run([*words, "--from-id", "8"]) == 2
    assert "Q6_X would take" in capsys.readouterr().err
    assert not new.exists()
    assert cli.run([*words, "--from-id", "45"]) == 0
    assert numbers(new) == [121, 8]
    head, before = read_head(new), read_head(old)
    assert head.metadata["general.file_type"].value == load(own).type.ftype
    assert new.read_bytes()[-head.spans()["a"] :] == old.read_bytes()[-before.spans()["a"] :]
    both = gguf(tmp_path / "both.gguf", [("a", (64, 3), 45, (64, 50)), ("b", (64, 2), 121, (32, 34))])
    assert (
        cli.run(["gguf", "retag", str(both), "--type", own, "-o", str(tmp_path / "n"), "--from-id", "45"])
        == 2
    )
    assert "tensor 'b' has the number 121, and isn't Q6_X by its size" in capsys.readouterr().err


def test_a_reader_of_models_points_at_retag(old: Path) -> None:
    with pytest.raises(
        UsageError, match=r"'a\.weight' takes 2\d\d bytes, as MXFP4 .*Q8_A8 takes 204, .*gguf retag"
    ):
        read(old)
