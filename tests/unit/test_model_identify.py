"""Which tree wrote a file: right on synthetic files of every type that shares its number, else unknown."""

from __future__ import annotations

import http.client
import io
import json
import os
import struct
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patcher import cli
from patcher.base.errors import ExitCode, UsageError
from patcher.engine.patchset import load
from patcher.model import number_registry, partial_read
from patcher.model.gguf_format import ValueType
from patcher.model.gguf_writer import GgufWriter, NewTensor, make_array
from patcher.model.identify import LIMIT, Identified, identify
from patcher.model.number_registry import NumberedType
from patcher.model.retag import retag
from tests.unit.test_model_retag import Q8_A8, gguf, text

KIND = load().type
REGISTRY = number_registry.load()


def looked_at(path: Path) -> Identified:
    return identify(partial_read.of_file(path, LIMIT), KIND)


def made_of(one: NumberedType, path: Path, *, seed: int = 0) -> Path:
    """A file of two tensors of the type: random bytes, and scales where it has them."""
    rng = np.random.default_rng(seed)
    columns = one.block * max(1, 256 // one.block)
    blocks = columns // one.block * 8
    made = gguf(
        path,
        [(name, (columns, 8), one.number, (one.block, one.size)) for name in ("a.weight", "b.weight")],
    )
    raw = made.read_bytes()
    data = rng.integers(0, 256, (2, blocks, one.size), dtype=np.uint8)
    for offset in one.halves:
        scales = rng.uniform(0.001, 0.1, (2, blocks, 1)).astype(np.float16)
        data[:, :, offset : offset + 2] = scales.view(np.uint8)
    bodies = b"".join(part.tobytes() + bytes(-part.nbytes % 32) for part in data)
    start = (
        len(raw) - sum(len(part.tobytes()) + (-part.nbytes % 32) for part in data) + (-data[1].nbytes % 32)
    )
    path.write_bytes(raw[:start] + bodies)
    return path


@pytest.mark.parametrize("one", REGISTRY.types, ids=lambda one: f"{one.number}-{one.name}")
def test_every_type_is_recognized_and_never_taken_for_another(one: NumberedType, tmp_path: Path) -> None:
    found = looked_at(made_of(one, tmp_path / "m.gguf", seed=one.number))
    (number,) = found.numbers
    assert one in number.fits  # and so are the trees that have it
    assert set(one.trees) <= set(found.trees)
    assert found.read <= LIMIT
    alike = {other.name for other in REGISTRY.of(one.number) if other.layout == one.layout}
    if number.verdict not in ("ambiguous", "unknown"):
        assert set(number.verdict.split(" or ")) == alike
    elif number.verdict == "ambiguous":  # only where another type of the number has blocks of the same size
        assert any(
            other.layout != one.layout and (one.size * other.block == other.size * one.block)
            for other in REGISTRY.of(one.number)
        )
    else:
        raise AssertionError(found.verdict)


def test_numbers_that_several_trees_gave_away_are_told_apart() -> None:
    """The registry knows the collisions that made this command needed."""
    names = {number: {one.layout for one in REGISTRY.of(number)} for number in (39, 42, 43, 45)}
    assert all(len(layouts) > 1 for layouts in names.values())
    assert len({tree for one in REGISTRY.types for tree in one.trees if "upstream" not in tree}) >= 8


def test_ours_and_a_hand_numbered_one(tmp_path: Path) -> None:
    ours = looked_at(gguf(tmp_path / "o.gguf", [("a.weight", (64, 3), 120, Q8_A8)]))
    assert ours.verdict == "q8a8-patch"
    assert ours.retag.startswith("not needed")
    by_hand = made_of(NumberedType(77, "?", 32, 34, (0,)), tmp_path / "h.gguf")
    found = looked_at(by_hand)
    assert found.verdict.startswith("unknown")
    assert found.retag.startswith("safe: 77 is Q8_A8 by size and scales")
    taken = looked_at(made_of(next(one for one in REGISTRY.of(97)), tmp_path / "x.gguf"))
    assert taken.retag == "not safe: 97 may be Q8_0_X4"
    flat = made_of(NumberedType(77, "?", 32, 34, (0,)), tmp_path / "f.gguf")
    raw = bytearray(flat.read_bytes())
    for block in range(128):
        at = len(raw) - 34 * (block + 1)
        raw[at + 2 : at + 34] = bytes([1] * 32)
    flat.write_bytes(raw)
    assert looked_at(flat).retag == "not safe: the blocks of 77 have another layout than Q8_A8's"
    zero = gguf(tmp_path / "z.gguf", [("a.weight", (64, 3), 77, Q8_A8)])
    data = bytearray(zero.read_bytes())
    data[-204:] = bytes(204)
    zero.write_bytes(data)
    assert "nothing but zeros" in looked_at(zero).retag


def test_sizes_that_fit_nothing_are_unknown(tmp_path: Path) -> None:
    found = looked_at(gguf(tmp_path / "m.gguf", [("a.weight", (256, 3), 42, (32, 29))]))
    assert found.verdict.startswith("unknown: no tree here gives its numbers")
    assert found.numbers[0].verdict == "unknown"
    assert found.trees == ()


def test_scales_that_are_none_rule_a_type_out(tmp_path: Path) -> None:
    one = next(one for one in REGISTRY.types if one.name == "TURBO3_0" and one.number == 43)
    path = made_of(one, tmp_path / "m.gguf")
    assert one in looked_at(path).numbers[0].fits
    raw = bytearray(path.read_bytes())
    for block in range(32):
        at = len(raw) - one.size * (block + 1)
        raw[at : at + 2] = struct.pack("<H", 0x7E00)  # not a number
    path.write_bytes(raw)
    assert one not in looked_at(path).numbers[0].fits


def test_a_vocabulary_of_megabytes_is_stepped_over(tmp_path: Path) -> None:
    """Strings, kinds and scores of 150,000 tokens, then three tensors: most of it is never read."""
    rng = np.random.default_rng(1)
    words = ["".join(chr(97 + c) for c in rng.integers(0, 26, rng.integers(1, 12))) for _ in range(150_000)]
    plain = gguf(tmp_path / "p.gguf", [(f"blk.{n}.w", (256, 64), 120, Q8_A8) for n in range(3)])
    raw, start = plain.read_bytes(), plain.read_bytes().index(text("blk.0.w"))
    pairs = {
        "tokenizer.ggml.tokens": make_array(ValueType.STRING, words),
        "tokenizer.ggml.scores": make_array(ValueType.FLOAT32, [-float(n) for n in range(len(words))]),
        "tokenizer.ggml.token_type": make_array(ValueType.INT32, [1] * len(words)),
    }
    more = b"".join(text(key) + struct.pack("<I", value.type) + value.raw for key, value in pairs.items())
    end = raw.rindex(text("blk.2.w")) + 8 + 7 + 4 + 16 + 12
    head = raw[:16] + struct.pack("<Q", 6) + raw[24:start] + more + raw[start:end]
    data = raw[end + (-end % 32) :]
    path = tmp_path / "m.gguf"
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    assert path.stat().st_size > 3 << 20
    found = looked_at(path)
    assert (found.verdict, found.numbers[0].tensors) == ("q8a8-patch", 3)
    assert found.read <= LIMIT


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = gguf(tmp_path / "o.gguf", [("a.weight", (64, 3), 120, Q8_A8), ("n", (64,), 0, (1, 4))])
    assert cli.run(["gguf", "identify", str(path), "--json"]) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert document["written_by"] == "q8a8-patch"
    assert document["common_tensors"] == 1
    assert document["bytes_read"] <= 1 << 20
    for wrong, said in (
        (str(tmp_path / "none.gguf"), "No such file"),
        ("http://example.invalid/m.gguf", "looked for a file or an https address"),
        (__file__, "looked for a GGUF file"),
    ):
        assert cli.run(["gguf", "identify", wrong]) == ExitCode.USAGE
        assert said in capsys.readouterr().err


def test_an_address_is_read_in_parts(tmp_path: Path) -> None:
    path = gguf(tmp_path / "o.gguf", [("a.weight", (64, 3), 120, Q8_A8)])
    data, asked = path.read_bytes(), []

    def fetch(start: int, count: int) -> bytes:
        asked.append((start, count))
        return data[start : start + count]

    source = partial_read.PartialRead("https://example.org/m.gguf", len(data), fetch, LIMIT)
    assert identify(source, KIND).verdict == "q8a8-patch"
    assert sum(count for _, count in asked) == source.spent <= LIMIT
    short = partial_read.PartialRead("m", len(data) + 100, fetch, LIMIT)
    with pytest.raises(
        UsageError, match=rf"looked for {len(data) + 100} bytes, found the end at byte {len(data)}"
    ):
        identify(short, KIND)


def test_retag_says_the_same(tmp_path: Path) -> None:
    """What is called safe is taken by ``gguf retag``, what is called not safe isn't."""
    ours, cut = NumberedType(77, "?", 32, 34, (0,)), tmp_path / "cut.gguf"
    both = gguf(tmp_path / "b.gguf", [("a.weight", (64, 3), 77, Q8_A8), ("b.weight", (64, 3), 78, Q8_A8)])
    beside = gguf(tmp_path / "o.gguf", [("a.weight", (64, 3), 77, Q8_A8), ("b.weight", (64, 3), 120, Q8_A8)])
    cut.write_bytes(made_of(NumberedType(120, "?", 32, 34, (0,)), tmp_path / "m.gguf").read_bytes()[:-40])
    for path, said in (
        (both, "not safe: 77 and 78 could each be Q8_A8: name one with --from-id"),
        (beside, "safe: 77 is Q8_A8 by size and scales"),
        (cut, "not safe: the tensors of 120 have the size of no type that is known here"),
        (made_of(ours, tmp_path / "h.gguf"), "safe: 77 is Q8_A8 by size and scales"),
    ):
        assert looked_at(path).retag == said
        try:
            done = retag(path, KIND, destination=None, dry_run=True)
        except UsageError:
            assert said.startswith("not safe")
        else:
            assert done.tensors
            assert said.startswith("safe")


def test_scales_of_the_other_byte_order(tmp_path: Path) -> None:
    tensors = [NewTensor("a.weight", (64, 8), 120)]
    for big in (False, True):
        path = tmp_path / f"{big}.gguf"
        blocks = [struct.pack(">e" if big else "<e", 0.003) + bytes(range(96, 128)) for _ in range(16)]
        with GgufWriter(path, {}, tensors, big_endian=big) as writer:
            writer.write("a.weight", [b"".join(blocks)])
        data = bytearray(path.read_bytes())
        at = data.index(b"a.weight") + 8 + 4 + 16
        data[at : at + 4] = struct.pack(">I" if big else "<I", 77)
        path.write_bytes(data)
        assert looked_at(path).retag == "safe: 77 is Q8_A8 by size and scales"


def test_no_byte_is_counted_twice(tmp_path: Path) -> None:
    path = gguf(tmp_path / "o.gguf", [("a.weight", (64, 3), 120, Q8_A8)])
    assert looked_at(path).read == path.stat().st_size


def test_a_head_that_leaves_too_little_for_its_many_types_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = gguf(tmp_path / "m.gguf", [("a.weight", (256, 1 << 10), 120, Q8_A8)])
    source = partial_read.of_file(path, partial_read.CHUNK + 100)
    monkeypatch.setattr("patcher.model.identify.HEAD_LIMIT", partial_read.CHUNK)
    with pytest.raises(UsageError, match="has more kinds of tensors than can be told apart by 1048576 bytes"):
        identify(source, KIND)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    for command in (["gguf", "identify"], ["gguf", "retag", "--dry-run"]):
        assert cli.run([*command, str(pipe)]) == ExitCode.USAGE
        assert "looked for a GGUF file, found something that is no file" in capsys.readouterr().err


class _Answer(io.BytesIO):
    def __init__(self, body: bytes, said: str, status: int = 206, url: str = "https://h/m.gguf") -> None:
        super().__init__(body)
        self.status, self.url, self.headers = status, url, {"Content-Range": said}


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (lambda start, end: _Answer(b"GGUF", "", 200), "the server gives no part of the file"),
        (lambda start, end: _Answer(b"G", "bytes 0-0/4", url="http://h/m"), "gives no part of the file"),
        (lambda start, end: _Answer(b"G", f"bytes {start}-{end}/*"), "doesn't say how long the file is"),
        (lambda start, end: _Answer(b"G", f"bytes {start}-{end}/{'9' * 30}"), "does not say where it lies"),
        (lambda start, end: _Answer(b"G" * 64, "bytes 0-0/1000"), "the server gives bytes 0-0/1000"),
        (
            lambda start, end: _Answer(b"G", f"bytes {start}-{end}/1000"),
            "looked for 1000 bytes, found the end",
        ),
        (http.client.BadStatusLine("no HTTP"), "can't be read (no HTTP)"),
        (http.client.IncompleteRead(b""), "can't be read (IncompleteRead"),
        (http.client.InvalidURL("nonnumeric port: 'x'"), "can't be read (nonnumeric port: 'x')"),
        (TimeoutError("timed out"), "can't be read (timed out)"),
    ],
)
def test_servers_that_lie(
    lie: Any, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def urlopen(request: urllib.request.Request, timeout: float) -> _Answer:
        if isinstance(lie, Exception):
            raise lie
        start, end = str(request.get_header("Range")).removeprefix("bytes=").split("-")
        found: _Answer = lie(int(start), int(end))
        return found

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    assert cli.run(["gguf", "identify", "https://h/m.gguf"]) in (ExitCode.SOURCE, ExitCode.USAGE)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
