"""The proof of a type: what is compared, what is told apart, what is refused before anything is built."""

from __future__ import annotations

import json
import platform
import re
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from patcher import cli
from patcher.build import BuildFailedError, Diagnosis
from patcher.engine.patchset import load
from patcher.prove import ArchitectureProof, Part, Proof, architecture, beside, proving, running
from patcher.prove.proof import compared
from patcher.prove.rows import COUNT, patterns
from patcher.prove.running import Called
from tests import schemas
from tests.conftest import FIXTURES, snapshot

Q6_X = Path(__file__).parents[2] / "docs" / "examples" / "q6_x"


def floats(*values: float) -> tuple[str, bytes]:
    return "f32", struct.pack(f"<{len(values)}f", *values)


def test_one_bit_is_told_apart_and_how_far_it_is() -> None:
    tree = Called({"vec_dot.32": floats(1.0, 2.0, float("nan")), "quantize.32": ("u8", b"\1\2\3\4")})
    same = Called({"vec_dot.32": floats(1.0, 2.0, -float("nan")), "quantize.32": ("u8", b"\1\2\3\4")})
    assert [part.differing for part in compared("random rows", tree, same)] == [0, 0]
    other = Called({"vec_dot.32": floats(1.0, 2.5, float("nan")), "quantize.32": ("u8", b"\1\2\7\4")})
    dot, blocks = compared("random rows", tree, other)
    assert (dot.differing, dot.numbers, dot.first) == (1, 3, 1)
    assert dot.worst == pytest.approx(0.2)
    assert (blocks.differing, blocks.first, blocks.worst) == (1, 2, None)
    assert [
        part.differing for part in compared("z", Called({"a": floats(0.0)}), Called({"a": floats(-0.0)}))
    ] == [1]


def test_an_end_that_both_come_to_is_the_same_and_one_alone_is_not() -> None:
    dies, lives = Called({}, "ended by signal 6", "GGML_ASSERT(...) failed"), Called({"add": floats(1.0)})
    assert [part.differing for part in compared("by a graph", dies, dies)] == [0]
    (part,) = compared("by a graph", dies, lives)
    assert part.differing == 1
    assert part.text() == (
        "end (by a graph): tree: ended by signal 6; base: ends well (GGML_ASSERT(...) failed)"
    )
    (lacks,) = compared("random rows", lives, Called({}))
    assert lacks.detail == "only the tree has it"
    number = Called({"facts.number": ("text", b"39")}), Called({"facts.number": ("text", b"121")})
    assert next(compared("random rows", *number)).detail == "39 in the tree, 121 in the base"


def test_what_a_program_wrote_before_it_died_is_read() -> None:
    whole = b"facts.name text 4\nq6_xvec_dot.64 f32 8\n12345678"
    assert running._records(whole) == {"facts.name": ("text", b"q6_x"), "vec_dot.64": ("f32", b"12345678")}
    assert list(running._records(whole[:-1])) == ["facts.name"]


def test_the_rows_are_the_same_every_time() -> None:
    for (name, weights, activations), (again, *others) in zip(patterns(), patterns(), strict=True):
        assert name == again
        assert weights.shape == activations.shape == (COUNT,)
        assert weights.dtype == activations.dtype == np.float32
        assert np.isfinite(weights).all()
        assert (weights == others[0]).all()
        assert (activations == others[1]).all()


def test_what_is_lacking_is_said_and_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, **_: name if "qemu" not in name else None)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "platform", "linux")
    home, arm, risc = architecture.architectures()
    assert (home.name, home.way, home.lacking) == ("x86_64", "native", "")
    assert arm.lacking.startswith("no qemu-aarch64")
    proof = Proof("Q6_X", "tree", "base", "work", [ArchitectureProof("riscv64", "", lacking=risc.lacking)])
    assert not proof.is_equal
    assert "riscv64  not proved: no qemu-riscv64" in proof.text()
    assert schemas.errors("type-prove", proof.document()) == []
    # a program that ends alike in both has computed nothing
    ended = ArchitectureProof("x86_64", "native", compared=[Part("random rows", "end", 1, 0)])
    assert not Proof("Q6_X", "tree", "base", "work", [ended]).is_equal
    ended.compared.append(Part("any bytes as blocks", "dequantize.64", 4096, 0))
    assert Proof("Q6_X", "tree", "base", "work", [ended]).is_equal


@pytest.fixture
def callable_mini(mini: Path) -> Path:
    """The pocket-sized tree, with what makes two libraries of it that can be called."""
    shutil.copytree(FIXTURES / "callable", mini, dirs_exist_ok=True)
    header = mini / "ggml/include/ggml.h"
    defined = "#include <stddef.h>\n#define GGML_API extern\n#define GGML_DEPRECATED(what, hint) what"
    text = header.read_text(encoding="utf-8").replace("#include <stddef.h>", defined)
    header.write_text(f'{text}#include "../../fake/more.h"\n', encoding="utf-8")
    return mini


@pytest.fixture
def fork(callable_mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That tree with the example's type put in; what is built of either is the test's own."""
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    fork = tmp_path / "fork"
    shutil.copytree(callable_mini, fork)
    assert cli.run(["apply", str(fork), "--type", str(Q6_X / "q6_x.toml")]) == 0
    return fork


def prove_command(fork: Path, base: Path) -> list[str]:
    """The command that compares both on this machine's architecture."""
    words = ["type", "prove", str(Q6_X), "--tree", str(fork), "--base", str(base)]
    return [*words, "--arch", architecture.native()]


@pytest.mark.compiler
def test_the_whole_way_on_libraries_of_a_pocket_size(
    callable_mini: Path, fork: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [snapshot(place) for place in (callable_mini, fork)]
    words = prove_command(fork, callable_mini)

    def proof(code: int) -> dict[str, list[str]]:
        capsys.readouterr()
        assert cli.run([*words, "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        assert schemas.errors("type-prove", document) == []
        (one,) = document["architectures"]
        assert one["comparisons"] > 300
        return {
            "differing": sorted({part["what"].split(".")[0] for part in one["differing"]}),
            "rows": sorted({part["rows"] for part in one["differing"]}),
            "ended": one["ended"],
        }

    same = proof(0)
    assert same["differing"] == []
    assert "mul_mat by a graph" in same["ended"]  # an operator that neither has
    assert [snapshot(place) for place in (callable_mini, fork)] == before

    # one bit in the dot product alone, then another number: files of one can't be read by the other
    quants = fork / "ggml/src/ggml-cpu/quants.c"
    text = quants.read_text(encoding="utf-8")
    assert text.count("(h & 0x30)") == 1
    quants.write_text(text.replace("(h & 0x30)", "(h & 0x10)"), encoding="utf-8")
    assert proof(1)["differing"] == ["vec_dot"]
    quants.write_text(text, encoding="utf-8")
    header = fork / "ggml/include/ggml.h"
    text = header.read_text(encoding="utf-8")
    for old, new in (
        ("GGML_TYPE_Q6_X    = 121", "GGML_TYPE_Q6_X    = 122"),
        ("COUNT   = 122", "COUNT   = 123"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    header.write_text(text, encoding="utf-8")
    other = proof(1)
    assert other["differing"] == ["facts", "reading"]
    assert {"a GGUF, tree to base", "a GGUF, base to tree"} < set(other["rows"])


@pytest.mark.compiler
def test_what_is_not_the_types_stands_beside_it(
    callable_mini: Path, fork: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = prove_command(fork, callable_mini)

    def changed(name: str, old: str, new: str) -> None:
        file = fork / "fake" / name
        assert file.read_text(encoding="utf-8").count(old) == 1
        file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    changed("base.c", "    had = ggml_new", "    abort();\n    had = ggml_new")  # no rows are had there
    capsys.readouterr()
    assert cli.run(words) == 0
    said = capsys.readouterr().out
    assert "computes the same in both" in said
    assert "beside the type: get_rows by a graph: the tree has no such operator" in said
    # what the fork does to its partner isn't the type's, what comes out of the product is
    changed("cpu.c", "half_of(0.5f)", "half_of(0.25f)")
    assert cli.run([*words, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert schemas.errors("type-prove", document) == []
    (one,) = document["architectures"]
    assert {part["what"].split(".")[0] for part in one["differing"]} == {"vec_dot"}
    assert {part["what"].split(".")[0] for part in one["beside"]} == {"end", "activations"}
    assert {part["why"] for part in one["beside"] if part["what"] != "end"} == {
        "the tree quantizes q8_0 differently, which isn't the type's"
    }


def test_only_an_operator_that_gives_up_by_itself_is_refused() -> None:
    lives = Called({"add": floats(1.0)})

    def counted(what: str, tree: Called, base: Called = lives) -> list[str]:
        made = beside.judged(compared("by a graph", tree, base), what, tree, base, "")
        return [part.what for part in made if part.differing and not part.beside]

    assert counted("op:add", Called({}, "ended by signal 6", "ops.cpp:702: fatal error")) == []
    assert counted("rows", Called({}, "ended by signal 6", "ops.cpp:702: fatal error")) == ["end"]
    assert counted("op:add", Called({}, "ended by signal 6", "GGML_ASSERT(x) failed")) == ["end"]
    assert counted("op:add", Called({}, "ended by signal 11", "")) == ["end"]
    assert counted("op:add", lives, Called({}, "ended by signal 6", "fatal error")) == ["end"]


class _Stubborn(architecture.Architecture):
    """This machine's own compilers, as those of another architecture that lacks a type of the language."""

    def toolchain(self, folder: Path) -> Path | None:
        return None


_LACKING = "#ifdef STUBBORN\n    unknown_t lacking;\n#endif\n"


@pytest.mark.compiler
@pytest.mark.slow  # two builds each, of which one fails
@pytest.mark.parametrize(("side", "text", "code"), [("tree", "own", 0), ("base", "type", 1)])
def test_the_others_are_proved_where_one_is_not_compiled(
    side: str, text: str, code: int, callable_mini: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    home = architecture.architectures((architecture.native(),))[0]
    more = (*home.cmake_args, "-DCMAKE_C_FLAGS=-DSTUBBORN")
    both = [_Stubborn("stubborn", home.compiler, (), more), home]
    monkeypatch.setattr(proving, "architectures", lambda wanted: [one for one in both if one.name in wanted])
    fork, folder = tmp_path / "fork", tmp_path / "q6_x"
    shutil.copytree(callable_mini, fork)
    shutil.copytree(Q6_X, folder)
    assert cli.run(["apply", str(fork), "--type", str(folder)]) == 0
    root = {"tree": fork, "base": callable_mini}[side]
    quants, line = root / "ggml/src/ggml-cpu/quants.c", "void quantize_row_q8_0_generic("
    if text == "type":
        line = "const block_q6_x * GGML_RESTRICT x = vx;\n"
        quants = quants if side == "tree" else folder / "vec-dot.c"
    content = quants.read_text(encoding="utf-8")
    assert content.count(line) == 1
    quants.write_text(content.replace(line, f"{_LACKING}{line}"), encoding="utf-8")

    def proof(code: int, *wanted: str) -> tuple[str, str]:
        words = ["type", "prove", str(folder), "--tree", str(fork), "--base", str(callable_mini), "--json"]
        capsys.readouterr()
        assert cli.run([*words, *(word for name in wanted for word in ("--arch", name))]) == code
        return capsys.readouterr()

    document = json.loads(proof(code, "stubborn", home.name)[0])
    assert schemas.errors("type-prove", document) == []
    stubborn, native = document["architectures"]
    assert (native["differing"], native["not_compiled"], native["comparisons"] > 300) == ([], None, True)
    failed = stubborn["not_compiled"]
    assert (failed["side"], failed["text"]) == (side, text)
    assert re.fullmatch(r"ggml/src/ggml-cpu/quants.c:\d+: unknown type name .unknown_t.", failed["error"])
    assert stubborn["lacking"].startswith(f"not compiled: {failed['error']} (the ")
    assert stubborn["comparisons"] == 0
    if code == 0:  # alone, it leaves nothing that was proved
        assert "nothing was proved: stubborn: not compiled" in proof(5, "stubborn")[1]


def test_only_what_the_type_breaks_in_the_base_is_a_difference(mini: Path, tmp_path: Path) -> None:
    assert cli.run(["apply", str(mini), "--type", str(Q6_X)]) == 0
    quants = mini / "ggml/src/ggml-cpu/quants.c"
    lines = quants.read_text(encoding="utf-8").splitlines()
    (first,) = [
        number for number, line in enumerate(lines, 1) if "const block_q6_x * GGML_RESTRICT x" in line
    ]
    ran = ArchitectureProof("x86_64", "native", compared=[Part("any bytes", "dequantize.64", 4096, 0)])

    def verdict(side: str, file: Path | None, line: int | None) -> tuple[str, str, bool]:
        diagnosis = Diagnosis("compile" if file else "link", "wrong", file, line)
        failed = BuildFailedError(diagnosis, tmp_path / "log")
        found = proving._not_compiled(proving._Side(side, mini.resolve()), failed, load(Q6_X))
        other = ArchitectureProof("riscv64", "qemu", lacking=found.said(), not_compiled=found)
        return found.error, found.text, Proof("Q6_X", "tree", "base", "work", [ran, other]).is_equal

    place = f"ggml/src/ggml-cpu/quants.c:{first}: wrong"
    assert verdict("tree", quants, first) == (place, "type", True)
    assert verdict("base", quants, first) == (place, "type", False)
    assert verdict("base", quants, 1) == ("ggml/src/ggml-cpu/quants.c:1: wrong", "own", True)
    assert verdict("base", None, None) == ("wrong", "unknown", False)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["{empty}", "--tree", "{mini}", "--base", "{mini}"],
            2,
            "looked for one .toml file in the folder, found none",
        ),
        (["{own}", "--tree", "{mini}", "--base", "{mini}"], 2, "looked for GGML_TYPE_Q6_X, found none"),
        (["{own}", "--tree", "{empty}", "--base", "{mini}"], 2, "looked for ggml/include/ggml.h"),
        (["{own}", "--tree", "{with}", "--base", "{with}"], 2, "has Q6_X already"),
        (["{own}", "--tree", "{with}", "--base", "{mini}", "--arch", "pdp11"], 2, "--arch pdp11: looked for"),
        (["{own}", "--tree", "{with}", "--base", "{mini}", "--work", "{with}/w"], 2, "lies in the tree"),
        (["{own}", "--tree", "{with}", "--base", "{gone}"], 3, "1 edit can't be placed"),
    ],
)
def test_what_is_wrong_is_one_line_and_the_trees_stay(
    words: list[str], code: int, said: str, mini: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    places = {
        "mini": mini,
        "own": Q6_X,
        "empty": tmp_path / "empty",
        "with": tmp_path / "with",
        "gone": tmp_path / "gone",
    }
    places["empty"].mkdir()
    for name in ("with", "gone"):
        shutil.copytree(mini, places[name])
    (places["gone"] / "include/llama.h").write_text("gone\n", encoding="utf-8")
    if said == "has Q6_X already":
        assert cli.run(["apply", str(places["with"]), "--type", str(Q6_X / "q6_x.toml")]) == 0
    else:  # all that is looked at before the base is
        with (places["with"] / "ggml/include/ggml.h").open("a", encoding="utf-8") as header:
            header.write("// GGML_TYPE_Q6_X\n")
    before = {name: snapshot(places[name]) for name in ("mini", "with")}
    capsys.readouterr()
    assert cli.run(["type", "prove", *(word.format(**places) for word in words)]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert said in lines[0]
    assert {name: snapshot(places[name]) for name in before} == before
