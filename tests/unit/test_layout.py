"""Trees that aren't llama.cpp's top folder: ggml alone, ggml's own repository, a project around them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from patcher.base.errors import ConflictError, UsageError
from patcher.engine.layout import found_below, require_tree
from patcher.engine.patchset import load
from patcher.engine.plan import State
from patcher.engine.planning import make_plan
from patcher.engine.transaction import apply, revert
from patcher.engine.tree import WorkTree
from tests.conftest import snapshot

PATCHSET = load()
LLAMAS = {"llama", "devices", "smoothquant", "calibration", "loading", "gguf-py"}


@pytest.fixture(params=["project", "own"])
def ggml(request: pytest.FixtureRequest, mini: Path, tmp_path: Path) -> tuple[Path, str]:
    """A tree with ggml and no llama, as whisper.cpp is, or as ggml's own repository; and the folder's name."""
    tree = tmp_path / "ggml-only"
    tree.mkdir()
    if request.param == "project":
        shutil.copytree(mini / "ggml", tree / "ggml")
        return tree, ""
    shutil.copytree(mini / "ggml", tree, dirs_exist_ok=True)
    (tree / "include" / "ggml-backend.h").write_text("", encoding="utf-8")
    return tree, "ggml/"


def test_ggml_takes_the_type_without_what_is_llamas(ggml: tuple[Path, str], mini: Path) -> None:
    tree, folder = ggml
    plan = make_plan(WorkTree(tree), PATCHSET)
    assert not plan.conflicts
    states = {edit.edit.id: (edit.edit.group, edit.state, edit.detail) for edit in plan.edits}
    for group, state, detail in states.values():
        if group in LLAMAS or group == "tests":
            assert state is State.NOT_NEEDED
            assert "without llama" in detail
        else:
            assert state is State.MISSING
    whole = {file.path: file.after() for file in make_plan(WorkTree(mini), PATCHSET).files}
    for file in plan.files:
        assert file.after() == whole[folder + file.path], file.path
    before = snapshot(tree)
    apply(WorkTree(tree), PATCHSET)
    assert make_plan(WorkTree(tree), PATCHSET).state == "applied"
    revert(WorkTree(tree))
    left = {path: data for path, data in snapshot(tree).items() if not path.startswith(".q8a8-patch/")}
    assert left == before


def test_llama_without_its_header_is_no_ggml(mini: Path) -> None:
    (mini / "include/llama.h").unlink()
    states = {edit.edit.id: edit.state for edit in make_plan(WorkTree(mini), PATCHSET).edits}
    assert states["llama-ftype"] is State.CONFLICT


def test_a_project_around_it_is_told_the_folder(mini: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(mini, project / "vendor" / "llama.cpp")
    (project / "include").mkdir()
    (project / "include" / "ggml.h").write_text("", encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        require_tree(WorkTree(project))
    assert f"{project}/vendor/llama.cpp" in str(refused.value)
    assert found_below(project) == [project / "vendor" / "llama.cpp"]
    with pytest.raises(UsageError, match="name the top folder"):
        require_tree(WorkTree(tmp_path / "project" / "include"))


def test_a_tree_from_before_the_cpu_had_a_folder_is_one_line(mini: Path) -> None:
    shutil.rmtree(mini / "ggml/src/ggml-cpu")
    with pytest.raises(ConflictError, match="from before November 2024") as refused:
        require_tree(WorkTree(mini))
    assert "\n" not in str(refused.value)
