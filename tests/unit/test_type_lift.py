"""A type out of a fork: its facts, its texts to the byte, its places; and what isn't carried is listed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import ConflictError, UsageError
from patcher.engine.anchors.definitions import branch_define, conditions_of, definition, definitions
from patcher.engine.anchors.site import AnchorError, splice
from patcher.engine.anchors.source import Source
from patcher.engine.patchset import load
from patcher.engine.tree import WorkTree
from patcher.lift import Lift, Origin, lift, types
from patcher.lift.block_sizes import _Values
from patcher.lift.tree_index import TreeIndex
from tests import schemas
from tests.conftest import FIXTURES

Q6_X = Path(__file__).parents[2] / "docs" / "examples" / "q6_x" / "q6_x.toml"
QUANTS, CPU, X86 = (
    "ggml/src/ggml-quants.c",
    "ggml/src/ggml-cpu/quants.c",
    "ggml/src/ggml-cpu/arch/x86/quants.c",
)
CUDA = "ggml/src/ggml-cuda/mmq.cu"
FALLBACK = "ggml/src/ggml-cpu/arch-fallback.h"
COMMON, LLAMA = "ggml/src/ggml-common.h", "src/llama-quant.cpp"

_CHAIN = """#pragma once
#if defined(GGML_CPU_GENERIC)
#define ggml_vec_dot_q8_0_q8_0_generic ggml_vec_dot_q8_0_q8_0
#elif defined(__x86_64__)
#define quantize_row_q8_1_generic quantize_row_q8_1
#elif defined(__riscv)
#define ggml_vec_dot_q8_0_q8_0_generic ggml_vec_dot_q8_0_q8_0
#endif
"""
_LATE = "static inline int late(int a) {\n    return a;\n}\n"
_ROW = "void quantize_row_q8_0(int k) {\n    (void) k;\n}\n"
_HELPERS = """static const float q6_levels[2] = { 0.5f, 2.0f };

#if defined(__AVX2__)
// halves what it is given: {{ not a template }}
static inline float q6_half(float x) {
    return x*q6_levels[0];
}
#endif

"""
_KERNEL = """
#if defined(__AVX2__)
static inline int q6_sum(int a) { return a + 1; }
#endif

void ggml_vec_dot_q6_x_q8_0(int n, float * GGML_RESTRICT s, size_t bs, const void * GGML_RESTRICT vx, size_t bx, const void * GGML_RESTRICT vy, size_t by, int nrc) {
    *s = (float) q6_sum(late(n));
    ggml_vec_dot_q6_x_q8_0_generic(n, s, bs, vx, bx, vy, by, nrc);
}
"""


def changed(root: Path, path: str, *changes: tuple[str, str] | tuple[str, str, int]) -> None:
    text = (root / path).read_text(encoding="utf-8")
    for old, new, *count in changes:
        assert old in text, (path, old)
        text = text.replace(old, new, *count)
    (root / path).write_text(text, encoding="utf-8")


_UP = '#include "../../quants.h"\n'  # a header in a folder above, which is in the tree


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders fork and base: the fork has Q6_X with helpers, a kernel of one architecture, and more than
    is carried; and what was lifted from it, in the folder q6_x."""
    root = tmp_path_factory.mktemp("lift")
    base, fork = root / "base", root / "fork"
    shutil.copytree(FIXTURES / "mini", base)
    for path, text in ((FALLBACK, _CHAIN), (X86, f"{_UP}{_ROW}\n{_LATE}")):
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_text(text, encoding="utf-8")
    shutil.copytree(base, fork)
    assert cli.run(["apply", str(fork), "--type", str(Q6_X), "--quiet"]) == 0
    name = "ggml_vec_dot_q6_x_q8_0"
    changed(fork, CPU, (f"void {name}(", f"void {name}_generic("))
    changed(fork, FALLBACK, ("q8_0_q8_0\n#e", f"q8_0_q8_0\n#define {name}_generic {name}\n#e"))
    header = "ggml/src/ggml-cpu/quants.h"
    declared = next(line for line in (fork / header).read_text(encoding="utf-8").split("\n") if name in line)
    changed(fork, header, (declared, f"{declared}\n{declared.replace(name, name + '_generic')}"))
    (fork / X86).write_text(f"{_UP}{_LATE}\n{_ROW}{_KERNEL}", encoding="utf-8")
    head = "void quantize_row_q6_x_ref("
    changed(
        fork, QUANTS, (head, _HELPERS + head), ("float extreme = 0.0f;", "float extreme = q6_half(0.0f);")
    )
    (fork / "ggml/src/ggml-cuda").mkdir()
    (fork / CUDA).write_text("int a;\nint mul_q6_x(void);\n", encoding="utf-8")
    (fork / "convert.sh").write_text("llama-quantize a.gguf b.gguf Q6_X\n", encoding="utf-8")
    changed(fork, LLAMA, ("\n", "\nbool is_small(ggml_type t) {\n    return t == GGML_TYPE_Q6_X;\n}\n", 1))
    return root


@pytest.fixture(scope="module")
def made(trees: Path) -> Lift:
    """Q6_X, lifted from the fork into the folder q6_x, and applied to a copy of the base in the folder made."""
    done = lifted(trees / "fork", trees / "base", trees / "q6_x")
    shutil.copytree(trees / "base", trees / "made")
    assert cli.run(["apply", str(trees / "made"), "--type", str(trees / "q6_x"), "--quiet"]) == 0
    return done


def lifted(fork: Path, base: Path, folder: Path) -> Lift:
    return lift(WorkTree(fork), WorkTree(base), "q6_x", Origin("fork", "base"), folder)


def texts(root: Path, path: str) -> dict[str, str]:
    source = Source(path, (root / path).read_bytes())
    return {
        one.name: source.text(one.start, one.end)
        for one in definitions(source)
        if one.construct != "declaration"
    }


def test_the_texts_are_the_forks_to_the_byte(trees: Path, made: Lift) -> None:
    fork, base = trees / "fork", trees / "made"
    for path in (QUANTS, CPU, X86, COMMON):
        mine, theirs = texts(base, path), texts(fork, path)
        names = [name for name in theirs if "q6_x" in name or name.startswith("q6_")]
        assert names, path
        assert {name: mine.get(name) for name in names} == {name: theirs[name] for name in names}
    said = (base / QUANTS).read_text(encoding="utf-8")
    assert said.index("q6_levels[2]") < said.index("float q6_half(") < said.index("quantize_row_q6_x_ref(")
    assert "{{ not a template }}" in said
    assert conditions_of(Source(QUANTS, said.encode()), said.index("float q6_half(")) == (
        "defined(__AVX2__)",
    )
    assert (base / FALLBACK).read_bytes() == (fork / FALLBACK).read_bytes()
    kernel = (base / X86).read_text(encoding="utf-8")
    assert kernel.index("int late(") < kernel.index(
        "void ggml_vec_dot_q6_x_q8_0("
    )  # BASE has it further down
    assert made.facts.vec_dot == "ggml_vec_dot_q6_x_q8_0"


def test_what_is_not_carried_is_listed_with_its_lines(trees: Path, made: Lift) -> None:
    left = {one.file: one for one in made.left}
    assert {name: one.lines for name, one in left.items()} == {"convert.sh": "1", CUDA: "2", LLAMA: "3"}
    assert "cuda" in left[CUDA].reason
    assert "not additive" in left[LLAMA].reason
    patchset = load(trees / "q6_x")
    assert [one["file"] for one in patchset.not_lifted] == [one.file for one in made.left]
    waived = {one["file"]: one["reason"] for one in patchset.waivers}
    assert waived[CUDA].startswith("not lifted: ")


def test_nothing_that_names_the_type_is_passed_over(trees: Path, made: Lift) -> None:
    """Every line of the fork that names it is in the tree that it was applied to, or in a line that is listed."""
    fork, base = trees / "fork", trees / "made"
    listed = {(one.file, int(one.lines)) for one in made.left}
    seen = 0
    for path in [*WorkTree(FIXTURES / "mini").files(), FALLBACK, X86, CUDA]:
        there = (base / path).read_text(encoding="utf-8") if (base / path).is_file() else ""
        known = {" ".join(line.partition("//")[0].split()) for line in there.split("\n")}
        for number, line in enumerate((fork / path).read_text(encoding="utf-8").split("\n"), 1):
            if "q6_x" in line.lower() and (path, number) not in listed:
                seen += 1
                assert " ".join(line.partition("//")[0].split()) in known, (path, line)
    assert seen > 60


def test_the_facts_are_the_codes(trees: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = types(WorkTree(trees / "fork"), WorkTree(trees / "base"))
    assert (one.name, one.upper, one.id, one.ftype, one.ggml_ftype) == ("q6_x", "Q6_X", 121, 121, 121)
    assert (one.block, one.block_size, one.type_size, one.activations) == ("block_q6_x", 64, 50, "q8_0")
    assert one.gguf_py
    assert one.gguf_py_class
    assert cli.run(["type", "lift", str(trees / "fork"), "--base", str(trees / "base")]) == 0
    assert "Q6_X: 64 weights in 50 bytes (block_q6_x)" in capsys.readouterr().out


def test_c_and_gguf_py_have_to_agree(trees: Path, tmp_path: Path) -> None:
    shutil.copytree(trees / "fork", tmp_path / "fork")
    changed(tmp_path / "fork", "gguf-py/gguf/constants.py", ("(64, 50)", "(64, 52)"))
    with pytest.raises(ConflictError, match="found 64 weights in 50 bytes in C, 64 in 52 in gguf-py"):
        types(WorkTree(tmp_path / "fork"), WorkTree(trees / "base"))


def test_a_type_that_cannot_be_told_is_listed_beside_the_others(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trees / "fork", tmp_path / "fork")
    changed(
        tmp_path / "fork",
        "ggml/include/ggml.h",
        ("GGML_TYPE_Q6_X ", "GGML_TYPE_I2_Z = 120,\n        GGML_TYPE_Q6_X ", 1),
    )
    assert cli.run(["type", "lift", str(tmp_path / "fork"), "--base", str(trees / "base"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert schemas.errors("type-lift", document) == []
    assert [one["upper"] for one in document["types"]] == ["Q6_X"]
    ((name, reason),) = [one.values() for one in document["unread"]]
    assert name == "I2_Z"
    assert "looked for its name and its block in type_traits" in reason


def test_a_lifted_type_keeps_its_number_and_another_may_not(tmp_path: Path) -> None:
    shutil.copytree(Q6_X.parent, tmp_path / "own")
    place = tmp_path / "own" / "q6_x.toml"
    text = place.read_text(encoding="utf-8").replace("id = 121", "id = 47")
    place.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"q6_x\.toml:\d+: type\.id: found 47; take a number from 64 to 511"):
        load(tmp_path / "own")
    place.write_text(text + '\n[lifted]\ntree = "fork"\nbase = "b1"\n', encoding="utf-8")
    assert load(tmp_path / "own").type.id == 47
    # upstream's number stays upstream's: 39 is MXFP4, whoever lifts it
    place.write_text(place.read_text(encoding="utf-8").replace("id = 47", "id = 39"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"type\.id: found 39, which is upstream's MXFP4"):
        load(tmp_path / "own")


def test_a_base_without_a_place_for_a_text_is_refused(trees: Path, tmp_path: Path) -> None:
    shutil.copytree(trees / "base", tmp_path / "base")
    (tmp_path / "base" / QUANTS).write_text("int nothing;\n", encoding="utf-8")
    with pytest.raises(ConflictError, match="Q6_X has no place here") as caught:
        lifted(trees / "fork", tmp_path / "base", tmp_path / "out")
    assert any(QUANTS in detail for detail in caught.value.details)
    assert not (tmp_path / "out").exists()


_OWN = """// notice of the fork
#include "ggml-quants.h"
#include "of-the-fork.h"
#ifdef _WIN32
#include <windows.h>
#endif

int of_another_type(void) { return 1; }

GGML_API int own_rows = 0;
int of_another = 0;

"""
_HEADER = "#pragma once\n#define OF_BOTH 2\n"
_LISTS = "add_library(ggml-base\n            ggml.c\n            ggml-quants.c\n            {}gguf.cpp)\n"
CMAKE = "ggml/src/CMakeLists.txt"


@pytest.fixture
def apart(trees: Path, tmp_path: Path) -> Path:
    """The folders fork and base: the fork has the quantizers, with what they need, in a file of its own."""
    for name, own in (("fork", "ggml-own.c\n            "), ("base", "")):
        shutil.copytree(trees / name, tmp_path / name)
        (tmp_path / name / CMAKE).write_text(_LISTS.format(own), encoding="utf-8")
    place = tmp_path / "fork" / QUANTS
    text, before = place.read_text(encoding="utf-8"), texts(trees / "base", QUANTS)
    moved = text[text.index("static const float q6_levels") :]
    names = [name for name in texts(trees / "fork", QUANTS) if name not in before]
    bodies = [texts(trees / "fork", QUANTS)[name] for name in names]
    assert len(bodies) > 3
    assert all(body in moved for body in bodies)
    for body in bodies:
        text = text.replace(body, "")
    place.write_text(text.replace("#if defined(__AVX2__)", "#if 0"), encoding="utf-8")
    # a quantizer with a name of its own, which asks a variable that other files see
    for path in ("ggml/src/ggml.c", "ggml/src/ggml-quants.h"):
        said = (tmp_path / "fork" / path).read_text(encoding="utf-8")
        (tmp_path / "fork" / path).write_text(
            re.sub(r"\bquantize_q6_x\b( *\()", r"quantize_q6_x_rows\1", said)
        )
    for at, body in enumerate(bodies):
        head, mark, tail = body.partition("{\n")
        if " quantize_q6_x(" in head:
            own = f"{mark}    extern int own_rows;\n    nrows += own_rows;\n"
            bodies[at] = head.replace("quantize_q6_x(", "quantize_q6_x_rows(") + own + tail
    assert "quantize_q6_x_rows(" in "".join(bodies)
    (tmp_path / "fork/ggml/src/ggml-own.c").write_text(_OWN + "\n\n".join(bodies) + "\n", encoding="utf-8")
    (tmp_path / "fork/ggml/src/of-the-fork.h").write_text(_HEADER, encoding="utf-8")
    return tmp_path


def test_what_lies_in_a_file_of_the_forks_goes_into_one_that_cmake_lists(apart: Path) -> None:
    shutil.copytree(apart / "base", apart / "made")
    made = lifted(apart / "fork", apart / "base", apart / "q6_x")
    assert cli.run(["apply", str(apart / "made"), "--type", str(apart / "q6_x"), "--quiet"]) == 0
    new = apart / "made/ggml/src/ggml-own-q6_x.c"
    text = new.read_text(encoding="utf-8")
    assert text.startswith(_OWN.partition("int of")[0])
    assert "of_another" not in text
    assert text.index("GGML_API int own_rows = 0;") < text.index("quantize_q6_x_rows(")
    mine, theirs = (
        texts(apart / "made", "ggml/src/ggml-own-q6_x.c"),
        texts(apart / "fork", "ggml/src/ggml-own.c"),
    )
    assert mine == {name: body for name, body in theirs.items() if not name.startswith("of_another")}
    lists = (apart / "made" / CMAKE).read_text(encoding="utf-8")
    assert (apart / "made/ggml/src/of-the-fork.h").read_text(encoding="utf-8") == _HEADER
    assert lists == _LISTS.format("ggml-own-q6_x.c\n            ")
    assert "ggml/src/ggml-own.c" not in [one.file for one in made.left]
    assert cli.run(["revert", str(apart / "made"), "--type", "q6_x", "--quiet"]) == 0
    assert not new.exists()


def test_a_folder_of_the_forks_own_is_read_as_what_it_lies_in(apart: Path) -> None:
    """Sources and headers of ggml's base in a folder below it, with the way there."""
    fork, made = apart / "fork", apart / "made"
    folder = fork / "ggml/src/own/deep"
    folder.mkdir(parents=True)
    (fork / "ggml/src/ggml-own.c").rename(folder / "ggml-own.c")
    (fork / "ggml/src/of-the-fork.h").rename(folder / "of-the-fork.h")
    text = (
        (folder / "ggml-own.c")
        .read_text(encoding="utf-8")
        .replace('"ggml-quants.h"', '"../../ggml-quants.h"')
    )
    (folder / "ggml-own.c").write_text(text, encoding="utf-8")
    (fork / CMAKE).write_text(_LISTS.format("own/deep/ggml-own.c\n            "), encoding="utf-8")
    shutil.copytree(apart / "base", made)
    lifted(fork, apart / "base", apart / "q6_x")
    assert cli.run(["apply", str(made), "--type", str(apart / "q6_x"), "--quiet"]) == 0
    new = made / "ggml/src/own/deep/ggml-own-q6_x.c"
    assert new.read_text(encoding="utf-8").startswith(text.partition("int of")[0])
    assert (made / "ggml/src/own/deep/of-the-fork.h").read_text(encoding="utf-8") == _HEADER
    assert (made / CMAKE).read_text(encoding="utf-8") == _LISTS.format(
        "own/deep/ggml-own-q6_x.c\n            "
    )


def test_what_another_file_of_the_forks_defines_goes_along(apart: Path) -> None:
    """Where CMake lists that file; in one that BASE has, too, there is nobody to call."""
    own, beside = apart / "fork/ggml/src/ggml-own.c", apart / "fork/ggml/src/beside.c"
    text = own.read_text(encoding="utf-8")
    own.write_text(text.replace("nrows += own_rows;", "nrows += of_the_forks(own_rows);"), encoding="utf-8")
    beside.write_text(
        '#include "ggml-quants.h"\nint of_the_forks(int a) {\n    return a;\n}\n', encoding="utf-8"
    )
    with pytest.raises(ConflictError, match="of_the_forks lies in it, and no list of"):
        lifted(apart / "fork", apart / "base", apart / "out")
    (apart / "fork" / CMAKE).write_text(_LISTS.format("ggml-own.c beside.c\n            "), encoding="utf-8")
    lifted(apart / "fork", apart / "base", apart / "q6_x")
    shutil.copytree(apart / "base", apart / "made")
    assert cli.run(["apply", str(apart / "made"), "--type", str(apart / "q6_x"), "--quiet"]) == 0
    new = apart / "made/ggml/src/beside-q6_x.c"
    assert new.read_text(encoding="utf-8").split() == beside.read_text(encoding="utf-8").split()
    assert "beside-q6_x.c" in (apart / "made" / CMAKE).read_text(encoding="utf-8")
    beside.unlink()
    with (apart / "fork" / CPU).open("a", encoding="utf-8") as file:
        file.write("int of_the_forks(int a) {\n    return a;\n}\n")
    with pytest.raises(ConflictError, match="1 of its functions can't be lifted") as caught:
        lifted(apart / "fork", apart / "base", apart / "out")
    assert caught.value.details == (f"of_the_forks: defined in {CPU}",)


def test_what_the_fork_declares_first_is_defined_there(trees: Path, tmp_path: Path) -> None:
    """A table between the declaration and the definition names it: BASE has the table before what follows."""
    table, last = "static const int row_sizes[] = { 1, 2 };\n", "int last_of_all(void) {\n    return 2;\n}\n"
    for name in ("fork", "base"):
        shutil.copytree(trees / name, tmp_path / name)
        with (tmp_path / name / QUANTS).open("a", encoding="utf-8") as file:
            file.write(f"int before(void) {{\n    return 1;\n}}\n\n{table}\n{last}")
    own = "static int row_size_q6_x(int n) {\n    return n*50;\n}\n"
    declared = "static int row_size_q6_x(int n);\n"
    changed(tmp_path / "fork", QUANTS, (table, f"{declared}{table}"), (last, f"{last}\n{own}"))
    shown = '#include "of-the-type.h"\n'  # which BASE has, and doesn't include there
    for name, more in (("fork", "int of_q6_x(void);\n"), ("base", "")):
        (tmp_path / name / "ggml/src/of-the-type.h").write_text(f"#pragma once\n{more}", encoding="utf-8")
    place = tmp_path / "fork" / QUANTS
    place.write_text(shown + place.read_text(encoding="utf-8"), encoding="utf-8")
    made = lifted(tmp_path / "fork", tmp_path / "base", tmp_path / "q6_x")
    assert QUANTS not in [one.file for one in made.left]
    assert cli.run(["apply", str(tmp_path / "base"), "--type", str(tmp_path / "q6_x"), "--quiet"]) == 0
    text = (tmp_path / "base" / QUANTS).read_text(encoding="utf-8")
    assert text.index("int before(") < text.index(own) < text.index(table)
    assert text.count(shown) == 1
    assert cli.run(["status", str(tmp_path / "base"), "--type", str(tmp_path / "q6_x"), "--quiet"]) == 0


def test_a_file_of_the_forks_that_cannot_be_added_is_refused(apart: Path) -> None:
    own, lists = apart / "fork/ggml/src/ggml-own.c", apart / "fork" / CMAKE
    text, listed = own.read_text(encoding="utf-8"), lists.read_text(encoding="utf-8")
    for place, wrong, said in (
        (own, text.replace("ggml-quants.h", "own/own.h"), 'includes "own/own.h", which is in none of'),
        (lists, listed.replace("ggml-own.c", "${OWN}"), "no list of .* names it"),
    ):
        place.write_text(wrong, encoding="utf-8")
        with pytest.raises(ConflictError, match=said):
            lifted(apart / "fork", apart / "base", apart / "out")
        own.write_text(text, encoding="utf-8")
        lists.write_text(listed, encoding="utf-8")
    (apart / "fork/ggml/src/ggml-own").mkdir()  # another backend's
    own.rename(apart / "fork/ggml/src/ggml-own/own.c")
    with pytest.raises(ConflictError, match="of its functions can't be lifted") as caught:
        lifted(apart / "fork", apart / "base", apart / "out")
    assert any(
        one.startswith("quantize_row_q6_x_ref: defined in ggml/src/ggml-own/own.c:")
        for one in caught.value.details
    )
    assert not (apart / "out").exists()


def test_what_is_asked_wrongly_is_one_line(
    trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["type", "lift", str(trees / "fork"), "--base", str(trees / "base")]
    for more, said in (
        (["--type", "Q9_Z", "-o", str(tmp_path / "out")], "looked for a type Q9_Z that"),
        (["--type", "Q8_0", "-o", str(tmp_path / "out")], "found one that both have; it has Q6_X"),
        (["--type", "Q6_X"], "--type without -o"),
        (["--type", "Q6_X", "-o", str(trees / "fork")], "looked for a new or empty folder"),
    ):
        assert cli.run([*asked, *more]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    shutil.copytree(Q6_X.parent, tmp_path / "two")
    shutil.copy(Q6_X, tmp_path / "two" / "other.toml")
    with pytest.raises(UsageError, match=r"one \.toml file in the folder, found other\.toml, q6_x\.toml"):
        load(tmp_path / "two")


def test_base_may_be_a_commit_of_the_trees_repository(
    trees: Path, mini_repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trees / "fork", mini_repo, dirs_exist_ok=True)
    assert cli.run(["type", "lift", str(mini_repo), "--base", "HEAD", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["base"] == "HEAD"
    assert [one["upper"] for one in document["types"]] == ["Q6_X"]


# ---------------------------------------------------------------- the anchors


def test_branch_define_spares_those_that_have_their_own() -> None:
    source = Source("arch-fallback.h", _CHAIN.encode())
    found = branch_define(source, beside=r"ggml_vec_dot_\w+_generic", ours="x_generic", apart=["__x86_64__"])
    assert [site.owner for site in found.sites] == ["#if defined(GGML_CPU_GENERIC)", "#elif defined(__riscv)"]
    assert not found.existing
    with pytest.raises(AnchorError, match="found 0"):
        branch_define(source, beside="nothing", ours="x", apart=[])


@pytest.mark.parametrize(
    ("folder", "condition", "meant"),
    [
        ("x86", "defined(__x86_64__) || defined(_M_X64)", True),
        ("s390", "defined(__s390x__)", True),
        ("powerpc", "defined(__POWERPC__)", True),
        ("arm", "defined(__aarch64__) || defined(_M_ARM)", True),
        ("wasm", "defined(__charwasm)", False),
        ("wasm", "defined(__riscv)", False),
    ],
)
def test_branch_define_spares_the_architecture_of_a_file_that_has_the_function(
    folder: str, condition: str, meant: bool
) -> None:
    text = f"#if defined(NONE)\n#define a_generic a\n#elif {condition}\n#define a_generic a\n#endif\n"
    own = [f"ggml/src/ggml-cpu/arch/{folder}/repack.cpp"]
    added = branch_define(Source("f.h", text.encode()), beside="a_generic", ours="b_generic", own=own)
    assert [site.owner for site in added.sites][1:] == ([] if meant else [f"#elif {condition}"])
    there = branch_define(Source("f.h", text.encode()), beside="a_generic", ours="a_generic", own=own)
    assert [one.contradiction is not None for one in there.existing] == [False, meant]


_RISCV = "ggml/src/ggml-cpu/arch/riscv/quants.c"
_WRITTEN = "void ggml_vec_dot_q6_x_q8_0(int n) {\n    (void) n;\n}\n"


@pytest.mark.parametrize(("before", "has"), [("", True), ("static ", False), ("// ", False)])
def test_an_architecture_that_has_the_function_keeps_its_name(
    trees: Path, made: Lift, tmp_path: Path, before: str, has: bool
) -> None:
    """A later release may have written what the type's own tree lacked: defined twice, it wouldn't compile."""
    tree = tmp_path / "later"
    shutil.copytree(trees / "base", tree)
    (tree / _RISCV).parent.mkdir(parents=True)
    text = _WRITTEN if before != "// " else "// ggml_vec_dot_q6_x_q8_0() {}\n"
    (tree / _RISCV).write_text(before + text, encoding="utf-8")
    assert cli.run(["apply", str(tree), "--type", str(trees / "q6_x"), "--quiet"]) == 0
    generic, _, riscv = (tree / FALLBACK).read_text(encoding="utf-8").split("\n#elif")
    define = "#define ggml_vec_dot_q6_x_q8_0_generic ggml_vec_dot_q6_x_q8_0\n"
    assert define in f"{generic}\n"
    assert (define in riscv) is not has
    assert cli.run(["status", str(tree), "--type", str(trees / "q6_x")]) == 0


def test_a_define_beside_the_architectures_own_function_is_a_conflict(
    trees: Path, made: Lift, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a merge of upstream's function into a tree with the type makes: git has no objection."""
    tree, folder = tmp_path / "merged", str(trees / "q6_x")
    shutil.copytree(trees / "made", tree)
    (tree / _RISCV).parent.mkdir(parents=True)
    (tree / _RISCV).write_text(_WRITTEN, encoding="utf-8")
    assert cli.run(["apply", str(tree), "--type", folder]) == 3
    assert f"and the function that takes its name there in {_RISCV}" in capsys.readouterr().err
    name = next(edit.id for edit in load(folder).edits if edit.kind == "branch-define")
    assert cli.run(["apply", str(tree), "--type", folder, "--replace", name, "--quiet"]) == 0
    generic, _, riscv = (tree / FALLBACK).read_text(encoding="utf-8").split("\n#elif")
    assert "q6_x" in generic
    assert "q6_x" not in riscv


def test_definition_goes_behind_a_table_between_two_macros() -> None:
    text = b"#if defined(GGML_IMPL)\nT_BEGIN(int8_t, ours_before, 2)\n    1, 2,\nT_END()\n\nint x;\n#endif\n"
    source = Source("common.h", text)
    found = definition(source, names=["none", "ours_before"], ours="added", within="GGML_IMPL")
    cut = splice(source, found.sites[0], "T_BEGIN(int8_t, added, 1)\n    3,\nT_END()\n")
    made = text[: cut.start] + cut.text + text[cut.end :]
    assert made.startswith(text[: text.index(b"\nint x")] + b"\nT_BEGIN(int8_t, added, 1)")
    assert definition(Source("common.h", made), names=["ours_before"], ours="added").existing


# ---------------------------------------------------------------- beside other things

_OPS = """
enum ggml_op {
    GGML_OP_NONE = 0,
    GGML_OP_ADD,
%s
    GGML_OP_COUNT,
};
"""
_ROWS = """
static const char * GGML_OP_NAME[GGML_OP_COUNT] = {
    "NONE",
    "ADD",
%s};

static_assert(GGML_OP_COUNT == %s, "GGML_OP_COUNT != 2");

static const char * GGML_OP_SYMBOL[GGML_OP_COUNT] = { "none", "x+y"%s };
"""
_RPC = "ggml/include/ggml-rpc.h"
_SWITCHES = """
int ggml_compute_forward_clamp_pair(int a, int b) {
    switch (a) {
        case GGML_TYPE_Q8_0:
            return 1;
    }
    switch (b) {
        case GGML_TYPE_Q8_0:
            return 2;
    }
    switch (b) {
%s        case GGML_TYPE_Q8_0:
            return 3;
    }
    return 0;
}
"""


def test_an_operator_its_rows_and_its_count_and_one_switch_of_three(trees: Path, tmp_path: Path) -> None:
    """The rows don't name the type: they are told by their place in the enum's order."""
    for name, new in (("fork", True), ("base", False)):
        shutil.copytree(trees / name, tmp_path / name)
        parts = (
            ("ggml/include/ggml.h", _OPS % ("    GGML_OP_MUL_Q6_X, // twice\n" if new else "")),
            ("ggml/src/ggml.c", _ROWS % (('    "MUL6",\n', "3", ', "x*6"') if new else ("", "2", ""))),
            ("ggml/src/ggml-cpu/ops.cpp", _SWITCHES % ("        case GGML_TYPE_Q6_X:\n" if new else "")),
            (_RPC, f'static_assert(GGML_OP_COUNT == {2 + new}, "GGML_OP_COUNT");\n'),
        )
        for path, text in parts:
            with (tmp_path / name / path).open("a", encoding="utf-8") as file:
                file.write(text)
    left = lifted(tmp_path / "fork", tmp_path / "base", tmp_path / "q6_x").left
    assert {one.file for one in left} == {"convert.sh", CUDA, LLAMA}
    assert cli.run(["apply", str(tmp_path / "base"), "--type", str(tmp_path / "q6_x"), "--quiet"]) == 0
    ops = (tmp_path / "base" / "ggml/src/ggml-cpu/ops.cpp").read_text(encoding="utf-8")
    assert ops.endswith(_SWITCHES % "        case GGML_TYPE_Q6_X:\n")  # the last of three, and no other
    header, code, other = (
        (tmp_path / "base" / path).read_text(encoding="utf-8")
        for path in ("ggml/include/ggml.h", "ggml/src/ggml.c", _RPC)
    )
    assert "GGML_OP_ADD,\n    GGML_OP_MUL_Q6_X,\n" in header
    assert code.endswith(_ROWS % ('    "MUL6",\n', "2 + 1 /* GGML_OP_MUL_Q6_X */", ', "x*6"'))
    assert "GGML_OP_COUNT == 2 + 1 /* GGML_OP_MUL_Q6_X */," in other
    assert cli.run(["status", str(tmp_path / "base"), "--type", str(tmp_path / "q6_x"), "--quiet"]) == 0
    # the fork counts it already, by hand
    assert cli.run(["apply", str(tmp_path / "fork"), "--type", str(tmp_path / "q6_x"), "--quiet"]) == 0
    assert "+ 1" not in (tmp_path / "fork" / _RPC).read_text(encoding="utf-8")


@pytest.fixture
def two(trees: Path, tmp_path: Path) -> Path:
    """The folders fork and base: the fork has Q6_Y, too, and both types use one helper."""
    for name in ("fork", "base"):
        shutil.copytree(trees / name, tmp_path / name)
    (tmp_path / "second").mkdir()
    for place in Q6_X.parent.iterdir():
        text = place.read_text(encoding="utf-8").replace("q6_x", "q6_y").replace("Q6_X", "Q6_Y")
        name = place.name.replace("q6_x", "q6_y")
        (tmp_path / "second" / name).write_text(text.replace("id = 121", "id = 122"), encoding="utf-8")
    second = str(tmp_path / "second" / "q6_y.toml")
    assert cli.run(["apply", str(tmp_path / "fork"), "--type", second, "--quiet"]) == 0
    place = tmp_path / "fork" / QUANTS
    text = place.read_text(encoding="utf-8")
    assert text.count("float extreme = 0.0f;") == 1
    text = text.replace("float extreme = 0.0f;", "float extreme = q6_levels[0];")
    # what both need comes before both
    shared = "static const float q6_levels[2] = { 0.5f, 2.0f };\n"
    second_ref = "void quantize_row_q6_y_ref("
    text = text.replace(shared, "", 1).replace(second_ref, f"{shared}\n{second_ref}", 1)
    # a header of the fork's own, which doesn't name the type, in a file that BASE has
    assert text.count("q6_half(0.0f)") == 1
    text = '#include "scales.h"\n' + text.replace("q6_half(0.0f)", "q6_half(one_scale)")
    place.write_text(text, encoding="utf-8")
    header = "#pragma once\nstatic const float one_scale = 1.0f;\n"
    (tmp_path / "fork/ggml/src/scales.h").write_text(header, encoding="utf-8")
    return tmp_path


def test_several_types_are_put_in_one_behind_the_other(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = two / "base"
    before = {path: (base / path).read_bytes() for path in WorkTree(base).files()}
    asked = ["type", "lift", str(two / "fork"), "--base", str(base), "--type", "Q6_X", "--type", "q6_y"]
    assert cli.run([*asked, "-o", str(two / "out"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert schemas.errors("type-lift", document) == []
    assert all(schemas.errors("type-lift", one) == [] for one in document["each"])
    assert [Path(one["file"]) for one in document["each"]] == [
        two / "out" / name / f"{name}.toml" for name in ("q6_x", "q6_y")
    ]
    for name in ("q6_x", "q6_y"):
        assert cli.run(["apply", str(base), "--type", str(two / "out" / name), "--quiet"]) == 0
    mine, theirs = texts(base, QUANTS), texts(two / "fork", QUANTS)
    assert {name for name in theirs if "q6_" in name} <= set(mine)
    said = (base / QUANTS).read_text(encoding="utf-8")
    assert said.count("q6_levels[2] =") == 1
    assert said.index('#include "scales.h"') < said.index("q6_half(one_scale)")
    assert (base / "ggml/src/scales.h").is_file()
    assert said.index("q6_levels[2] =") < said.index(
        "void quantize_row_q6_y_ref("
    )  # which the first has brought
    assert cli.run(["status", str(base), "--type", str(two / "out" / "q6_x"), "--quiet"]) == 0
    assert cli.run(["revert", str(base), "--quiet"]) == 0
    assert {path: (base / path).read_bytes() for path in before} == before


def test_of_several_types_all_are_written_or_none(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["type", "lift", str(two / "fork"), "--base", str(two / "base"), "--type", "Q6_X"]
    assert cli.run([*asked, "--type", "Q9_Z", "-o", str(two / "new" / "out")]) == 2
    assert "looked for a type Q9_Z that" in capsys.readouterr().err
    assert list((two / "new").iterdir()) == []


def test_a_block_is_as_large_as_the_compiler_makes_it(tmp_path: Path) -> None:
    """Unions, blocks in blocks, and what is left empty so that a number stands where it has to."""
    text = """
#define QK_X 64
typedef struct { ggml_half d; uint8_t qs[QK_X/2]; } block_in;
typedef struct {
    GGML_EXTENSION union {
        struct { ggml_half d; ggml_half m; } GGML_COMMON_AGGR_S;
        ggml_half2 dm;
    } GGML_COMMON_AGGR_U;
    uint8_t qs[(QK_X - 4*QK_X/64)/5], qh[2][3];
    block_in in[2];
    float s;
} block_out;
typedef struct { block_in * in; } block_far;
"""
    place = tmp_path / "ggml/src/ggml-common.h"
    place.parent.mkdir(parents=True)
    place.write_text(text, encoding="utf-8")
    values = _Values(TreeIndex(WorkTree(tmp_path)))
    # 4, then 12 and 6, then 2 times 34 from 22 on, and the float behind two bytes of nothing
    assert (values.size_of("block_in"), values.size_of("block_out")) == (34, 96)
    assert values.size_of("block_far") is None


def test_what_a_file_defines_without_braces() -> None:
    text = """typedef int number;
struct later;
using other = int;
GGML_API int shown = 0;
GGML_API int elsewhere;
unsigned long plain[2][3];
static const float * const inner = 0;
int called(int a);
"""
    found = [(one.name, one.construct) for one in definitions(Source("a.c", text.encode()))]
    assert found == [
        ("shown", "variable"), ("plain", "variable"), ("inner", "variable"), ("called", "declaration"),
    ]  # fmt: skip
