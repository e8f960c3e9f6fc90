"""Builds of pocket-sized CMake projects: what succeeds, what fails and how it is said."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patcher.base.errors import BuildError, UsageError
from patcher.base.progress import SILENT
from patcher.build import BuildFailedError, BuildRequest, build
from patcher.build import toolchain as toolchain_module
from patcher.build.toolchain import find_tool, find_toolchain
from tests.conftest import snapshot
from tests.programs import need

pytestmark = [pytest.mark.system, pytest.mark.compiler]

CMAKE = """\
cmake_minimum_required(VERSION 3.14)
project(small CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_library(part part.cpp)
add_executable(whole whole.cpp)
target_link_libraries(whole PRIVATE part)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "CMakeLists.txt").write_text(CMAKE, encoding="utf-8")
    (root / "part.cpp").write_text("int part(int n) { return n + 1; }\n", encoding="utf-8")
    (root / "whole.cpp").write_text("int part(int n);\nint main() { return part(-1); }\n", encoding="utf-8")
    return root


def request(root: Path, **changes: object) -> BuildRequest:
    place = root.parent / "build"
    return BuildRequest(root, place, ("whole",), **({"launcher": "none"} | changes))  # type: ignore[arg-type]


def failure(root: Path, **changes: object) -> BuildFailedError:
    with pytest.raises(BuildFailedError) as caught:
        build(request(root, **changes))
    return caught.value


def test_it_builds_out_of_tree_and_strictly(project: Path) -> None:
    before = snapshot(project)
    built = build(request(project))
    assert snapshot(project) == before
    assert subprocess.run([built.bin_dir / "whole"]).returncode == 0
    assert (built.compiled, built.linked, built.strict) == (2, 2, True)
    assert built.compiler.split()[0] in ("GCC", "Clang", "AppleClang")
    commands = (built.build_dir / "build.ninja").read_text(encoding="utf-8")
    assert "--no-allow-shlib-undefined" in commands
    assert "-z,defs" in commands
    again = build(request(project))
    assert (again.compiled, again.linked) == (0, 0)


def test_a_compile_error_has_its_place_and_our_edit(project: Path) -> None:
    (project / "part.cpp").write_text("int part(int n) {\n    return m;\n}\n", encoding="utf-8")
    with pytest.raises(BuildFailedError) as caught:
        build(request(project), explain=lambda path, line: f"our edit at {path.name} {line}")
    diagnosis = caught.value.diagnosis
    assert (diagnosis.step, diagnosis.file, diagnosis.line) == ("compile", project / "part.cpp", 2)
    message = str(caught.value)
    assert f"{project}/part.cpp:2: " in message
    assert "our edit at part.cpp 2" in message
    log = project.parent / "build" / "q8a8-patch.log"
    assert str(log) in message
    assert "part.cpp:2" in log.read_text(encoding="utf-8")
    assert "\n" not in message


@pytest.mark.parametrize("linker", ["bfd", "gold", "lld", "mold"])
def test_an_undefined_symbol_in_a_shared_library_is_named(project: Path, linker: str) -> None:
    need("mold" if linker == "mold" else f"ld.{linker}")
    (project / "part.cpp").write_text(
        "#include <string>\ntemplate <typename T> bool get(const std::string & key, T & out);\n"
        'int part(int n) { bool b; return get(std::string("k"), b) ? n : 0; }\n',
        encoding="utf-8",
    )
    args = tuple(f"-DCMAKE_{kind}_LINKER_FLAGS=-fuse-ld={linker}" for kind in ("EXE", "SHARED", "MODULE"))
    error = failure(project, cmake_args=args)
    assert error.diagnosis.step == "link"
    name = "bool get<bool>(std::string const&, bool&)"
    assert error.diagnosis.symbols == (name,)
    assert f"undefined reference to {name}" in str(error)
    assert f"template {name};" in str(error)


def test_undefined_symbols_pass_where_asked_with_a_warning(project: Path) -> None:
    (project / "part.cpp").write_text(
        "int gone(int);\nint part(int n) { return gone(n); }\n", encoding="utf-8"
    )
    warnings: list[str] = []

    class Listener:
        note = staticmethod(lambda message: None)
        warn = staticmethod(warnings.append)
        step = staticmethod(SILENT.step)

    built = build(request(project, allow_shlib_undefined=True), reporter=Listener())
    assert built.strict is False
    assert (built.bin_dir / "whole").is_file()
    assert any("--allow-shlib-undefined" in warning for warning in warnings)
    failure(project)  # the same folder, strictly again


def test_a_cmake_error_has_its_place(project: Path) -> None:
    (project / "CMakeLists.txt").write_text(
        CMAKE + 'message(FATAL_ERROR "no  such\\n  thing")\n', encoding="utf-8"
    )
    diagnosis = failure(project).diagnosis
    assert (diagnosis.step, diagnosis.line) == ("cmake", 8)
    assert diagnosis.message == "no such thing"
    assert diagnosis.file is not None
    assert diagnosis.file.name == "CMakeLists.txt"


def test_an_unknown_target_is_named_with_its_neighbour(project: Path) -> None:
    with pytest.raises(BuildFailedError) as caught:
        build(BuildRequest(project, project.parent / "build", ("whol",), launcher="none"))
    assert caught.value.diagnosis.step == "target"
    assert "whol: no such target; did you mean whole?" in str(caught.value)


def test_the_folder_has_to_be_outside_of_the_tree_and_ours(project: Path) -> None:
    for place, says in (
        (project / "build", "lies in the source tree"),
        (project, "lies in the source tree"),
        (project / "CMakeLists.txt", "lies in the source tree"),
    ):
        with pytest.raises(UsageError, match=says):
            build(BuildRequest(project, place, ("whole",)))
    theirs = project.parent / "theirs"
    theirs.mkdir()
    (theirs / "precious.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(UsageError, match="neither empty nor a folder that q8a8-patch builds in"):
        build(BuildRequest(project, theirs, ("whole",)))
    other = project.parent / "other"
    shutil.copytree(project, other)
    build(request(project))
    with pytest.raises(UsageError, match="is the build folder of"):
        build(BuildRequest(other, project.parent / "build", ("whole",)))
    assert [path.name for path in theirs.iterdir()] == ["precious.txt"]


def test_an_option_that_is_taken_back_is_gone(project: Path) -> None:
    (project / "CMakeLists.txt").write_text(
        CMAKE + "if (BROKEN)\n  message(FATAL_ERROR broken)\nendif()\n", encoding="utf-8"
    )
    failure(project, cmake_args=("-DBROKEN=ON",))
    build(request(project))


def test_ldflags_and_the_users_linker_flags_both_count(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LDFLAGS", "-Wl,--build-id=none")
    built = build(request(project, cmake_args=("-DCMAKE_EXE_LINKER_FLAGS=-Wl,-O1",)))
    commands = (built.build_dir / "build.ninja").read_text(encoding="utf-8")
    line = next(line for line in commands.splitlines() if "LINK_FLAGS" in line and "-Wl,-O1" in line)
    assert "--no-allow-shlib-undefined" in line
    assert "--build-id=none" in line


@pytest.mark.skipif(shutil.which("ccache") is None, reason="ccache is not on this machine")
def test_a_copy_of_the_tree_is_answered_by_ccache(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))
    assert build(request(project, launcher="auto")).launcher == "ccache"
    copy = tmp_path / "copy"
    shutil.copytree(project, copy / "project")
    build(request(copy / "project", launcher="ccache"))
    stats = subprocess.run(["ccache", "--print-stats"], capture_output=True, text=True, check=True).stdout
    counts = dict(line.split("\t") for line in stats.splitlines())
    assert int(counts["direct_cache_hit"]) + int(counts["preprocessed_cache_hit"]) == 2


def test_an_interrupted_build_goes_on_where_it_stopped(project: Path) -> None:
    need("pgrep")
    slow = "\n".join(
        f"add_library(slow{n} OBJECT slow{n}.cpp)\nadd_dependencies(whole slow{n})" for n in range(4)
    )
    (project / "CMakeLists.txt").write_text(CMAKE + slow + "\n", encoding="utf-8")
    for number in range(4):
        (project / f"slow{number}.cpp").write_text(
            "#include <regex>\n#include <iostream>\n#include <map>\n"
            f'std::regex slow{number}("a+b");\n', encoding="utf-8",
        )  # fmt: skip
    place = project.parent / "build"
    command = [sys.executable, "-c", _SCRIPT, str(project), str(place)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while child.poll() is None and not list(place.glob("CMakeFiles/slow*.dir/*.o")):
        time.sleep(0.02)
    assert child.poll() is None, "it was over before it could be interrupted"
    os.kill(child.pid, signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert said.strip() == "error: interrupted"
    time.sleep(0.2)
    left = subprocess.run(["pgrep", "-f", str(place)], capture_output=True, text=True).stdout
    assert left == "", "a compiler is still running"
    done = len(list(place.glob("CMakeFiles/slow*.dir/*.o")))
    built = build(request(project))
    assert 0 < built.compiled <= 6 - done


_SCRIPT = """
import sys
from pathlib import Path
from patcher import cli
from patcher.build import BuildRequest, build
from patcher.commands import doctor
import click
@click.command()
def command():
    build(BuildRequest(Path(sys.argv[1]), Path(sys.argv[2]), ("whole",), jobs=1, launcher="none"))
cli.cli.add_command(command, "slow")
cli.LazyGroup.get_command = lambda self, ctx, name: command
sys.exit(cli.run(["slow"]))
"""


def test_without_a_compiler_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(
        BuildError, match=r"no C\+\+ compiler: looked for c\+\+, g\+\+, clang\+\+ on PATH, found none; "
    ):
        find_toolchain(launcher="auto", toolchain_file=None)
    monkeypatch.setenv("CXX", "/no/such/g++ -m64")
    with pytest.raises(BuildError, match=r"looked for \$CXX"):
        find_toolchain(launcher="auto", toolchain_file=None)


def test_an_unknown_launcher_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--compiler-launcher no-such: not on PATH"):
        find_toolchain(launcher="no-such", toolchain_file=None)


@pytest.mark.network
def test_cmake_and_ninja_come_from_pypi_where_there_are_none(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine with a compiler and nothing else: the programs come as wheels and build the project."""
    monkeypatch.setattr(toolchain_module, "find_tool", lambda name: None)
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    tools = find_toolchain(launcher="none", toolchain_file=None)
    assert tools.cmake.is_relative_to(tmp_path / "cache")
    assert tools.ninja.is_relative_to(tmp_path / "cache")
    assert find_tool("no-such-tool") is None
    built = build(request(project))
    assert (built.bin_dir / "whole").is_file()
    assert find_toolchain(launcher="none", toolchain_file=None) == tools  # the second time from the cache
