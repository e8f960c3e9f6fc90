"""The catalogue of build fixes: who is affected, what is offered, what is written."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from patcher.base.errors import UsageError
from patcher.cli import cli
from patcher.engine import build_fixes, settled, tree_record
from patcher.engine.patchset import load
from patcher.engine.plan import State
from patcher.engine.planning import make_plan
from patcher.engine.tree import WorkTree

NAME = "amx-tile-config"
MMQ = """
inline void ggml_tile_config_init(void) {
    alignas(64) tile_config_t tc = {};
    tc.palette_id = 1;

    _tile_loadconfig(&tc);
    done = true;
}
"""


def in_mmq(folder: Path, text: str = MMQ) -> WorkTree:
    place = folder / "tree" / "ggml/src/ggml-cpu/amx/mmq.cpp"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return WorkTree(folder / "tree")


def test_the_barrier_stands_before_the_load(tmp_path: Path) -> None:
    plan = make_plan(in_mmq(tmp_path), build_fixes.with_fixes(load().select(only=("ggml-type",)), [NAME]))
    (file,) = [file for file in plan.files if file.path.endswith("mmq.cpp")]
    after = file.after().decode()
    barrier, call = (
        after.index('__asm__ volatile("" : : "r"(&tc) : "memory");'),
        after.index("_tile_loadconfig("),
    )
    assert after.index("tc.palette_id") < barrier < call
    assert after.count("#if defined(__GNUC__)") == 1


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (MMQ, State.MISSING),
        (
            MMQ.replace("alignas(64) tile_config_t tc = {};", "static const tile_config_t tc = {};"),
            State.NOT_NEEDED,
        ),
        (MMQ.replace("_tile_loadconfig(&tc);", "load(&tc);"), State.CONFLICT),
    ],
)
def test_what_a_tree_needs(tmp_path: Path, text: str, state: State) -> None:
    assert build_fixes.find(NAME).state(in_mmq(tmp_path, text), load()) is state


def test_a_tree_that_has_it_keeps_it(tmp_path: Path) -> None:
    patchset = build_fixes.with_fixes(load().select(only=("ggml-type",)), [NAME])
    once = next(
        file for file in make_plan(in_mmq(tmp_path), patchset).files if file.path.endswith("mmq.cpp")
    ).after()
    assert build_fixes.find(NAME).state(in_mmq(tmp_path, once.decode()), load()) is State.PRESENT


TILE = """
static void ggml_compute_forward_flash_attn_ext_tiled(const ggml_compute_params * params) {
    for (int tq = 0; tq < tile_rows; tq++) {
        const ggml_fp16_t * mp_row = mask_row(tq);
        bool can_skip = true;
    }
    for (int tk = 0; tk < kv_tile; tk++) {
        const char * k_data = key(tk);
        use(k_data);
    }
}
"""
MAXIMUM = """
inline static void ggml_vec_max_f32(const int n, float * s, const float * x) {
    float max = -INFINITY;
    for (int i = 0; i < n; ++i) {
        max = MAX(max, x[i]);
    }
    *s = max;
}
"""


def with_a_tile(folder: Path) -> Path:
    """A tree of the files that the fix goes to."""
    tree = folder / "tree"
    for name, text in {"ops.cpp": TILE, "vec.h": MAXIMUM}.items():
        place = tree / "ggml/src/ggml-cpu" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return tree


def test_what_a_fix_brings_an_if_for_is_its_own(tmp_path: Path) -> None:
    """Applied again, it is there: the condition around it is nobody else's."""
    tree = with_a_tile(tmp_path)
    fix = build_fixes.find("fast-attention-tile")
    made = replace(build_fixes.with_fixes(load(), [fix.name]), edits=fix.edits)
    plan = make_plan(WorkTree(tree), made)
    assert [edit.state for edit in plan.edits] == [State.MISSING] * len(fix.edits)
    for file in plan.files:
        (tree / file.path).write_bytes(file.after())
    again = make_plan(WorkTree(tree), made)
    assert [edit.state for edit in again.edits] == [State.PRESENT] * len(fix.edits), again.edits


def test_a_fix_that_a_tree_has_is_left_out_as_an_edit_is(tmp_path: Path) -> None:
    """Whole or in part, by the names that status and a conflict give."""
    tree = WorkTree(with_a_tile(tmp_path))
    fix = build_fixes.find("fast-attention-tile")

    def chosen(
        *,
        fixes: tuple[str, ...] = (),
        only: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
        keep: tuple[str, ...] = (),
    ) -> list[str]:
        made = settled.chosen(load(), tree, fixes=fixes, only=only, without=without, keep=keep)
        (tmp_path / "tree" / tree_record.PLACE).write_bytes(
            tree_record.TreeRecord().with_type("q8_a8", tree_record.TypeRecord("1", made.choices)).text()
            or b""
        )
        return [edit.id for edit in made.edits if edit in fix.edits]

    everything = [edit.id for edit in fix.edits]
    assert chosen(fixes=(fix.name,), only=("ggml-type",)) == everything
    assert chosen(keep=("row-maximum",)) == everything
    assert chosen(without=("row-maximum",)) == everything[:-1]
    assert chosen(without=(fix.name,)) == []
    assert chosen() == []
    assert chosen(fixes=(fix.name,)) == everything
    with pytest.raises(UsageError, match="row-minimum: no such edit"):
        chosen(without=("row-minimum",))


def test_a_fix_that_there_is_no_more_is_passed_over(tmp_path: Path) -> None:
    """In a tree that an earlier release was applied to; on the command line it is a mistake."""
    tree = WorkTree(with_a_tile(tmp_path))
    choices = tree_record.Choices(fixes=("mended-upstream", NAME))
    record = tree_record.TreeRecord().with_type("q8_a8", tree_record.TypeRecord("1", choices))
    (tmp_path / "tree" / tree_record.PLACE).write_bytes(record.text() or b"")
    assert settled.remembered(load(), tree).edits[-1].group == NAME
    assert settled.chosen(load(), tree).edits[-1].group == NAME
    with pytest.raises(UsageError, match="mended-upstream: no such fix"):
        settled.chosen(load(), tree, fixes=("mended-upstream",))


def test_an_unknown_fix_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=rf"no such fix.*{NAME}"):
        build_fixes.find("nothing")


@pytest.mark.parametrize(
    ("arguments", "cross", "native"),
    [
        ((), False, True),
        ((), True, False),
        (("-DGGML_NATIVE=OFF",), False, False),
        (("-DGGML_NATIVE:BOOL=off",), False, False),
        (("-DGGML_NATIVE=OFF", "-DGGML_NATIVE=ON"), False, True),
    ],
)
def test_native_builds(arguments: tuple[str, ...], cross: bool, native: bool) -> None:
    assert build_fixes.is_native(arguments, cross=cross) is native


def compiler(folder: Path, assembly: str, code: int = 0) -> str:
    place = folder / "compiler"
    place.write_text(f"#!/bin/sh\necho '{assembly}'\nexit {code}\n")
    place.chmod(0o755)
    return str(place)


@pytest.mark.parametrize(
    ("assembly", "code", "fails"), [("movb $77, 48(%rsp)", 0, False), ("ret", 0, True), ("", 1, None)]
)
def test_the_compiler_is_asked(tmp_path: Path, assembly: str, code: int, fails: bool | None) -> None:
    probe = build_fixes.find(NAME).probe
    assert probe is not None
    assert probe.fails(compiler(tmp_path, assembly, code)) is fails


def test_only_the_machines_affected_are_offered_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = compiler(tmp_path, "ret")
    monkeypatch.setattr(build_fixes, "cpu_flags", lambda: frozenset({"avx2"}))
    assert build_fixes.wanted(in_mmq(tmp_path), load(), bad) == []
    monkeypatch.setattr(build_fixes, "cpu_flags", lambda: frozenset({"amx_tile", "amx_int8"}))
    assert [fix.name for fix in build_fixes.wanted(in_mmq(tmp_path), load(), bad)] == [NAME]
    assert build_fixes.wanted(in_mmq(tmp_path, MMQ.replace("alignas(64)", "static const")), load(), bad) == []


def test_a_crash_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_fixes, "cpu_flags", lambda: frozenset({"amx_tile", "amx_int8"}))
    program = tmp_path / "bin" / "llama-bench"
    assert build_fixes.advice("SIGSEGV", program) is None  # no build folder
    bad = compiler(tmp_path, "ret")
    (tmp_path / "CMakeCache.txt").write_text(f"CMAKE_CXX_COMPILER:FILEPATH={bad}\n")
    assert f"--with-fix {NAME}" in str(build_fixes.advice("SIGSEGV", program))
    assert build_fixes.advice("SIGKILL", program) is None


def test_the_verb_lists_it() -> None:
    said = CliRunner().invoke(cli, ["fixes"]).output
    for word in (NAME, "symptom", "cause", "affected", "reported", "--with-fix"):
        assert word in said
    optional = said[said.index("fast-attention-tile: ") :]
    assert "works without it, and may be faster with it" in optional
    assert "or without" not in optional


@pytest.mark.compiler
@pytest.mark.parametrize("name", ["g++", "clang++"])
def test_real_compilers(name: str) -> None:
    """The probe's verdict is what an AMX program compiled with the barrier, and without, would meet."""
    place = shutil.which(name)
    if place is None:
        pytest.skip(f"no {name} on this machine")
    probe = build_fixes.find(NAME).probe
    assert probe is not None
    if probe.fails(place) is None:
        pytest.skip(f"{name} doesn't compile for AMX")
    mended = probe.source.replace(
        "_tile_loadconfig(", '__asm__ volatile("" : : "r"(&config) : "memory");\n_tile_loadconfig('
    )
    command = [place, *probe.flags, "-std=c++17", "-x", "c++", "-S", "-o", "-", "-"]
    assembly = subprocess.run(command, input=mended, capture_output=True, text=True, check=True).stdout
    assert re.search(probe.keeps, assembly), "with the barrier, every compiler stores the configuration"
