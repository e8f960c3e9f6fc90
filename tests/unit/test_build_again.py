"""A build that is gone on with: the same programs, and a word where it starts anew; what is said before it begins."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from shutil import which

import pytest

from patcher.base.errors import BuildError
from patcher.build import configure, ninja, sources, toolchain
from patcher.build.configure import BuildRequest, cmake_command, difference, recorded_tools, remember
from patcher.build.forecast import forecast
from patcher.build.toolchain import Toolchain, find_toolchain

NINJA = which("ninja", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / name
    place.write_text("#!/bin/sh\necho 'cmake version 3.30.1'\n", encoding="utf-8")
    place.chmod(0o755)
    return place


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of one folder, with a compiler."""
    folder = tmp_path / "path"
    for name in ("c++", "cc"):
        program(folder, name)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("CC", raising=False)
    return folder


def test_recorded_tools_are_kept(path: Path, tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.mkdir()
    first = Toolchain(program(tmp_path / "a", "cmake"), program(tmp_path / "a", "ninja"), None)
    request = BuildRequest(tmp_path, build)
    assert recorded_tools(build) is None
    remember(build, cmake_command(request, build, first))
    assert recorded_tools(build) == first
    for name in ("cmake", "ninja", "ccache"):  # found from now on, and not taken
        program(path, name)
    again = find_toolchain(launcher="auto", toolchain_file=None, recorded=recorded_tools(build))
    assert again == first
    assert difference(build, cmake_command(request, build, again)) is None
    asked = find_toolchain(launcher="ccache", toolchain_file=None, recorded=recorded_tools(build))
    said = difference(build, cmake_command(request, build, asked))
    assert said is not None
    assert f"CMAKE_CXX_COMPILER_LAUNCHER was unset, is {path / 'ccache'}" in said
    first.cmake.unlink()
    assert recorded_tools(build) is None
    found = find_toolchain(launcher="none", toolchain_file=None, recorded=recorded_tools(build))
    assert found.cmake.name == "cmake"
    assert found.cmake != first.cmake
    assert f"CMake was {first.cmake}, is {found.cmake}" in str(
        difference(build, cmake_command(request, build, found))
    )


def test_the_servers_programs_are_built_where_they_are_asked_for(path: Path, tmp_path: Path) -> None:
    tools = Toolchain(path / "cmake", path / "ninja", None)

    def options(*targets: str) -> list[str]:
        return cmake_command(BuildRequest(tmp_path, tmp_path / "b", targets), tmp_path / "b", tools)

    assert "-DLLAMA_BUILD_SERVER=OFF" in options("llama-quantize")
    for name in ("llama-cli", "llama-server"):
        assert "-DLLAMA_BUILD_SERVER=ON" in options("llama-quantize", name)
    assert "-DLLAMA_USE_PREBUILT_UI=OFF" in options("llama-server")


def test_what_is_needed_is_said_before(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "none" / "work"
    needs = forecast(work, 4, cross=False)
    assert needs is not None
    assert needs.jobs == 4
    assert needs.free > 0
    assert "the compiler c++" in needs.text()
    assert "with 4 compilers at once" in needs.text()
    assert not work.exists()
    (work / "build").mkdir(parents=True)
    (work / "build" / configure.MARKER).write_text("{}", encoding="utf-8")
    assert forecast(work, None, cross=False) is None
    monkeypatch.setattr(toolchain, "_COMPILERS", {"CXX": ("none++",), "CC": ("none",)})
    with pytest.raises(BuildError, match=r"no C\+\+ compiler: looked for none\+\+"):
        forecast(tmp_path, 1, cross=False)


def test_a_source_that_the_build_writes_over_holds_what_it_held(tmp_path: Path) -> None:
    """A fork may have committed such a file, and nobody asked for another text in it."""
    tree, build = tmp_path / "a fork", tmp_path / "a fork/build"
    build.mkdir(parents=True)
    names = {name: tree / name for name in ("build-info.cpp", "other.h", "new.cpp", "link.h")}
    outside = tmp_path / "outside.h"
    for place in (names["build-info.cpp"], names["other.h"], build / "own.h", outside):
        place.write_text("mine\n", encoding="utf-8")
    names["link.h"].symlink_to(outside)
    words = [str(place).replace(" ", "$ ") for place in (*names.values(), build / "own.h", outside)]
    lines = [
        f"build {words[0]} | {words[1]}: CUSTOM_COMMAND a.in",
        f"build {' '.join(words[2:])}: CUSTOM_COMMAND",
    ]
    (build / "build.ninja").write_text("\n".join([*lines, f"build x: CXX {words[1]}", ""]), encoding="utf-8")
    assert sources.generated(tree, build) == sorted(names.values())
    written = 0

    def cut_off() -> None:
        nonlocal written
        with sources.as_they_were(tree, build):
            for place in (*names.values(), build / "own.h"):
                place.write_text("the build's\n", encoding="utf-8")
            written = names["build-info.cpp"].stat().st_mtime_ns
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    held = {name: place.read_text(encoding="utf-8") for name, place in names.items()}
    assert held == {
        "build-info.cpp": "mine\n", "other.h": "mine\n", "new.cpp": "the build's\n", "link.h": "the build's\n"
    }  # fmt: skip
    assert (build / "own.h").read_text(encoding="utf-8") == "the build's\n"
    assert names["build-info.cpp"].stat().st_mtime_ns == written  # ninja finds nothing to do


@pytest.mark.skipif(NINJA is None, reason="needs Ninja: pip install ninja")
def test_another_release_s_libraries_go(tmp_path: Path) -> None:
    assert NINJA is not None
    rule = "rule make\n  command = touch $out\n"
    (tmp_path / "build.ninja").write_text(f"{rule}build bin/new bin/old: make\nbuild other/old: make\n")
    run = partial(subprocess.run, [NINJA], cwd=tmp_path, check=True, capture_output=True)
    run()
    (tmp_path / "bin/mine").touch()
    assert ninja.remove_left_over(Path(NINJA), tmp_path, env=os.environ) == []
    (tmp_path / "build.ninja").write_text(f"{rule}build bin/new: make\n")
    run()
    gone = ninja.remove_left_over(Path(NINJA), tmp_path, env=os.environ)
    assert gone == [tmp_path / "bin/old"]
    assert sorted(one.name for one in tmp_path.glob("*/*")) == ["mine", "new", "old"]
    assert (tmp_path / "other/old").exists()
