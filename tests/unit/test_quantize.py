"""``quantize``: whole or not at all, and looked at afterwards."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from patcher import cli
from patcher.base.errors import BuildError, ExitCode, UsageError
from patcher.evaluate.measure.models import Factory
from patcher.model.dequantize import block_of
from patcher.model.gguf_format import TYPE_NUMBERS, ValueType
from patcher.model.gguf_writer import GgufWriter, NewTensor, make_value
from patcher.programs import llama_quantize, quantized_types
from patcher.programs.folder import Programs
from patcher.programs.llama_quantize import quantize
from patcher.programs.measured import Ran
from patcher.programs.q8a8_stats import CalibrationRequest, calibrate
from tests.tiny_models import write_model
from tests.unit.evaluate_fakes import calls, fake_programs, write_gguf

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="the fakes are scripts")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "quantize", ("quantize", "Make a model in another type."))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "model.gguf", "F16")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in (".gguf", ".draft"))


def test_a_model_is_made_and_described(tmp_path: Path, model: Path) -> None:
    programs = Programs(fake_programs(tmp_path / "bin"))
    done = quantize(programs, model, tmp_path / "out.gguf", "q8_a8")
    assert done.header.weights_by_type() == {"Q8_A8": 256, "F32": 64}
    assert done.document()["tensor_bytes"] == 256 // 32 * 34 + 256
    assert done.document()["bytes"] == (tmp_path / "out.gguf").stat().st_size
    assert left(tmp_path) == ["model.gguf", "out.gguf"]


def test_what_is_there_stays(tmp_path: Path, model: Path) -> None:
    programs = Programs(fake_programs(tmp_path / "bin"))
    out = tmp_path / "out.gguf"
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"out\.gguf: is there already; name another file, or use --force"):
        quantize(programs, model, out, "Q8_A8")
    assert out.read_bytes() == b"mine"
    assert calls(programs.folder) == []
    quantize(programs, model, out, "Q8_A8", force=True)
    assert out.read_bytes()[:4] == b"GGUF"
    with pytest.raises(UsageError, match="can't be written over"):
        quantize(programs, model, model, "Q8_A8", force=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cut": 300}, "a file that can't be used"),
        ({"makes": "Q8_0"}, "asked for Q8_A8, the weights are Q8_0 256"),
        ({"makes": "F16"}, "asked for Q8_A8, the weights are F16 256"),
        ({"rows": 8}, "changed the shapes"),
        ({"quantize_dies": True}, "SIGSEGV"),
    ],
)
def test_a_wrong_result_is_refused_and_what_was_there_stays(
    tmp_path: Path, model: Path, settings: dict[str, object], said: str
) -> None:
    programs = Programs(fake_programs(tmp_path / "bin", **settings))
    out = tmp_path / "out.gguf"
    out.write_bytes(b"mine")
    with pytest.raises(BuildError, match=said):
        quantize(programs, model, out, "Q8_A8", force=True)
    assert out.read_bytes() == b"mine"
    assert left(tmp_path) == ["model.gguf", "out.gguf"]


def test_a_quantized_model_is_not_taken_by_accident(tmp_path: Path) -> None:
    programs = Programs(fake_programs(tmp_path / "bin"))
    model = write_gguf(tmp_path / "model.gguf", "Q4_1")
    with pytest.raises(UsageError, match=r"is quantized already \(Q4_1\)"):
        quantize(programs, model, tmp_path / "out.gguf", "Q8_A8")
    quantize(programs, model, tmp_path / "out.gguf", "Q8_A8", allow_requantize=True)


def test_the_other_byte_order_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    """By each command that runs the model; what only rewrites it takes either order."""
    other = write_model(tmp_path / "other.gguf", "llama", big_endian=sys.byteorder == "little")
    programs = Programs(fake_programs(tmp_path / "bin"))
    said = f"other.gguf: is {'big' if sys.byteorder == 'little' else 'little'}-endian, .*gguf_convert_endian"
    with pytest.raises(UsageError, match=said):
        quantize(programs, other, tmp_path / "out.gguf", "Q8_A8")
    with pytest.raises(UsageError, match=said):
        Factory(other, programs, tmp_path, calibration=None)
    text = tmp_path / "text.txt"
    text.write_text("words", encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        calibrate(CalibrationRequest(programs.find("llama-quantize"), other, text, tmp_path / "stats.gguf"))
    assert calls(programs.folder) == []


@pytest.mark.parametrize(("kind", "is_held"), [("IQ4_NL", True), ("MXFP4", True), ("F16", False)])
def test_every_quantized_type_counts_as_quantized(tmp_path: Path, kind: str, is_held: bool) -> None:
    """Indexes in I32 are no weights, IQ4_NL's are."""
    weights, size = block_of(kind)
    made = NewTensor("w", (256, 2), TYPE_NUMBERS[kind]), NewTensor("order", (4,), TYPE_NUMBERS["I32"])
    metadata = {"general.architecture": make_value(ValueType.STRING, "llama")}
    with GgufWriter(tmp_path / "m.gguf", metadata, made) as writer:
        writer.write("w", [bytes(512 // weights * size)])
        writer.write("order", [bytes(16)])
    programs = Programs(fake_programs(tmp_path / "bin"))
    if is_held:
        with pytest.raises(UsageError, match=f"is quantized already .{kind}.; start from the F16 model"):
            quantize(programs, tmp_path / "m.gguf", tmp_path / "out.gguf", "Q8_A8")
        assert calls(programs.folder) == []
    else:
        with pytest.raises(BuildError):  # the fake makes another model
            quantize(programs, tmp_path / "m.gguf", tmp_path / "out.gguf", "Q8_A8")
        assert calls(programs.folder)


def test_a_stock_build_is_told_so(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(fake_programs(tmp_path / "bin"))
    monkeypatch.setattr(llama_quantize, "known_types", lambda programs: ["F16", "Q8_0"])
    with pytest.raises(UsageError, match="stock build: add the type with 'q8a8-patch run'"):
        quantize(programs, model, tmp_path / "out.gguf", "Q8_A8")


@pytest.mark.parametrize(
    ("kind", "name", "right"),
    [
        ("Q8_A8", "Q8_A8", True), ("Q8_0", "Q8_A8", False), ("F16", "Q4_K_M", False), ("Q4_K", "Q4_K_M", True),
        ("Q6_K", "Q4_K_M", True), ("IQ4_NL", "IQ4_NL", True), ("F16", "F16", True), ("F32", "F16", False),
        ("MXFP4", "MXFP4_MOE", True), ("Q4_0", "COPY", True),
    ],
)  # fmt: skip
def test_which_tensors_a_type_is_made_of(kind: str, name: str, right: bool) -> None:
    assert quantized_types.belongs(kind, name) is right


def test_the_command(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fake_programs(tmp_path / "work" / "build" / "bin")
    line = [
        "quantize",
        str(model),
        str(tmp_path / "out.gguf"),
        "Q8_A8",
        "--work",
        str(tmp_path / "work"),
        "--json",
    ]
    assert cli.run(line) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["weights"] == {"Q8_A8": 256, "F32": 64}
    assert cli.run(line) == ExitCode.USAGE
    assert cli.run([*line, "--force"]) == ExitCode.OK
    assert calls(folder) == ["quantize Q8_A8", "quantize Q8_A8"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("none.gguf", "No such file"), ("text.gguf", "GGUF"), ("short.gguf", "short.gguf")],
)
def test_a_model_that_is_none(
    tmp_path: Path, model: Path, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_programs(tmp_path / "bin")
    (tmp_path / "text.gguf").write_text("this is no model, only a text of some length", encoding="utf-8")
    (tmp_path / "short.gguf").write_bytes(model.read_bytes()[:100])
    code = cli.run(
        ["quantize", str(tmp_path / name), str(tmp_path / "o.gguf"), "Q8_A8", "--bin", str(tmp_path / "bin")]
    )
    assert code == ExitCode.USAGE
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "o.gguf").exists()


def test_a_whole_model_stays_one_with_keep_split(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else llama-quantize calls it part 1 of 1, under a name that nobody looks for."""
    given: list[str] = []
    run = Programs.run

    def noted(self: Programs, name: str, arguments: Sequence[str | Path], **more: Any) -> Ran:
        given.extend(map(str, arguments))
        return run(self, name, arguments, **more)

    monkeypatch.setattr(Programs, "run", noted)
    programs = Programs(fake_programs(tmp_path / "bin"))
    quantize(programs, model, tmp_path / "o.gguf", "Q8_A8", arguments=["--keep-split", "--pure"])
    assert "--pure" in given
    assert "--keep-split" not in given


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--bogus", "--bogus: neither 'quantize' nor"),
        ("--dry-run", "with which nothing is written"),
        ("--prune-layers", "with which layers are left out"),
    ],
)
def test_options_that_make_no_such_model_are_refused(
    option: str, said: str, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Programs(fake_programs(tmp_path / "bin"))
    monkeypatch.setattr(Programs, "help", lambda self, name: "[--keep-split]\n 120 or Q8_A8 : x\n")
    with pytest.raises(UsageError, match=said):
        quantize(programs, model, tmp_path / "o.gguf", "Q8_A8", arguments=[option])
    assert left(tmp_path) == ["model.gguf"]


def test_what_takes_no_file_s_place(tmp_path: Path, model: Path) -> None:
    programs, pipe = Programs(fake_programs(tmp_path / "bin")), tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="can't be replaced, it is no plain file"):
        quantize(programs, model, pipe, "Q8_A8", force=True)
    assert pipe.is_fifo()


def test_a_long_name_of_letters_of_three_bytes(tmp_path: Path, model: Path) -> None:
    place = tmp_path / f"{'한' * 83}.gguf"
    quantize(Programs(fake_programs(tmp_path / "bin")), model, place, "Q8_A8")
    assert place.is_file()
