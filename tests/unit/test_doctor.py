"""What a machine has and lacks: every kind of machine made up by the test."""

from __future__ import annotations

import json
import platform
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from patcher import cli, doctor
from patcher.base import packages
from patcher.doctor import Examination, Health, hardware, network, tools
from patcher.engine import build_fixes


def by_name(checks: list[Examination]) -> dict[str, Examination]:
    return {check.name: check for check in checks}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH that holds what the test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    return folder


def put(folder: Path, name: str, says: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
    program.chmod(0o755)


def test_an_empty_machine_lacks_what_is_needed(programs: Path) -> None:
    checks = by_name(doctor.examine(offline=True))
    assert not doctor.healthy(list(checks.values()))
    for name in ("git", "C compiler", "C++ compiler"):
        assert checks[name].state is Health.MISSING
        assert set(checks[name].install) == set(packages.SYSTEMS)
        assert next(iter(checks[name].install)) == (packages.system() or "debian")
    for name in ("cmake", "ninja", "ccache", "npm", "mold"):
        if name in ("cmake", "ninja") and checks[name].state is Health.OK:
            continue  # a wheel beside this Python
        assert checks[name].state is Health.ABSENT
        assert "Debian" not in checks[name].found
        assert checks[name].install["debian"].startswith("sudo apt-get install ")
    assert checks["python"].state is Health.OK


def test_the_exit_code_says_whether_it_will_do(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "--offline", "--system", "fedora"]) == 1
    said = capsys.readouterr().out
    assert "Fedora: sudo dnf install gcc-c++" in said
    for name in ("git", "c++", "cc"):
        put(programs, name, f"{name} 13.2.0")
    assert cli.run(["doctor", "--offline", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["healthy"] is True
    states = {check["name"]: check["state"] for check in document["checks"]}
    assert states["git"] == states["C++ compiler"] == "ok"


def test_every_lack_shows_every_system(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["doctor", "--offline"])
    said = capsys.readouterr().out
    for command in (
        "sudo apt-get install g++",
        "sudo dnf install gcc-c++",
        "brew install llvm",
        "winget install",
        "pkg install clang",
    ):
        assert command in said


@pytest.mark.parametrize(
    ("linker", "version", "says"),
    [
        ("ld.bfd", "GNU ld (GNU Binutils) 2.40", ""),
        ("ld.gold", "GNU gold (GNU Binutils 2.40) 1.16", "on the link line"),
        ("ld.lld", "LLD 19.1.7", "on the link line"),
        ("mold", "mold 1.10.1 (compatible with GNU ld)", "ignores"),
        ("mold", "mold 2.42.0 (compatible with GNU ld)", "checks nothing where"),
    ],
)
def test_where_the_strict_check_is_blind(linker: str, version: str, says: str, programs: Path) -> None:
    put(programs, linker, version)
    check = by_name(doctor.examine(offline=True))[linker]
    assert check.state is (Health.WARNING if says else Health.OK)
    assert says in check.detail
    assert check.found == version


def test_each_known_fault_is_asked_of_the_compiler(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(programs, "c++", "c++ 12.2.0")
    monkeypatch.setattr(build_fixes.Probe, "fails", lambda self, compiler: compiler == "c++")
    for flags, state in (({"amx_tile", "amx_int8"}, Health.WARNING), (set[str](), Health.OK)):
        monkeypatch.setattr(build_fixes, "cpu_flags", lambda flags=flags: frozenset(flags))
        check = by_name(doctor.examine(offline=True))["fix amx-tile-config"]
        assert check.state is state
        assert ("apply --with-fix amx-tile-config" in check.detail) is (state is Health.WARNING)


def test_without_a_compiler_no_fault_is_met(programs: Path) -> None:
    assert not [name for name in by_name(doctor.examine(offline=True)) if name.startswith("fix ")]


# ---------------------------------------------------------------- the processor and what a build uses of it


def gcc(folder: Path, *macros: str) -> None:
    """A compiler that says what -march=native turns on."""
    lines = "".join(f"echo '#define {macro} 1'; " for macro in ("__OTHER__", *macros))
    program = folder / "c++"
    program.write_text(f"#!/bin/sh\n[ $1 = --version ] && echo 'c++ 13' && exit\n{lines}\n", encoding="utf-8")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("flags", "macros", "state", "says"),
    [
        ({"avx2", "avx512_vnni"}, ("__AVX2__", "__AVX512VNNI__"), Health.OK, "unless something else is said"),
        ({"avx2", "avx512_vnni"}, ("__AVX2__",), Health.WARNING, "take a newer compiler"),
        ({"avx2"}, ("__AVX2__", "__AVX512VNNI__"), Health.WARNING, "which the system doesn't offer"),
    ],
)
def test_what_a_native_build_uses(
    flags: set[str],
    macros: tuple[str, ...],
    state: Health,
    says: str,
    programs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset(flags))
    gcc(programs, *macros)
    check = by_name(doctor.examine(offline=True))["GGML_NATIVE=ON"]
    assert check.state is state
    assert says in check.detail
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    assert by_name(doctor.examine(offline=True))["GGML_NATIVE=ON"].state is Health.WARNING


@pytest.mark.parametrize(
    ("machine", "flags", "state", "says"),
    [
        ("x86_64", {"avx2", "avx512_vnni"}, Health.OK, "leaves avx512_vnni unused"),
        ("x86_64", {"sse4_2"}, Health.WARNING, "such a build dies here"),
        ("x86_64", set(), Health.OK, ""),
        ("aarch64", {"asimd", "i8mm"}, Health.OK, "leaves i8mm unused"),
    ],
)
def test_what_a_portable_build_uses(
    machine: str, flags: set[str], state: Health, says: str, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset(flags))
    gcc(programs)
    check = by_name(doctor.examine(offline=True))["GGML_NATIVE=OFF"]
    assert check.state is state
    assert says in check.detail


def test_cross_toolchains(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    for variable in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK"):
        monkeypatch.delenv(variable, raising=False)
    put(programs, "qemu-s390x-static", "qemu-s390x version 8.1.0")
    checks = by_name(list(tools.cross()))
    assert "qemu-aarch64" not in checks  # it is what this machine is
    assert checks["qemu-s390x"].state is Health.OK
    assert checks["s390x-linux-gnu-g++"].state is Health.ABSENT
    assert "wsl --install" in checks["s390x-linux-gnu-g++"].install["windows"]
    assert checks["Android NDK"].state is Health.ABSENT
    monkeypatch.setenv("ANDROID_NDK_ROOT", str(tmp_path))
    assert by_name(list(tools.cross()))["Android NDK"].state is Health.WARNING
    (tmp_path / "build/cmake").mkdir(parents=True)
    (tmp_path / "build/cmake/android.toolchain.cmake").touch()
    (tmp_path / "source.properties").write_text("Pkg.Revision = 26.3.11579264\n", encoding="utf-8")
    assert "26.3.11579264" in by_name(list(tools.cross()))["Android NDK"].found


# ---------------------------------------------------------------- the network


def test_the_network_is_asked_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    barrier = threading.Barrier(3, timeout=5)

    def answer(reached: bool) -> Callable[[], bool]:
        return lambda: barrier.wait() >= 0 and reached

    for name, reached in (("_git", False), ("_pip", True), ("_npm", True)):
        monkeypatch.setattr(network, name, answer(reached))
    checks = by_name(list(network.checks()))
    assert checks["llama.cpp's repository"].state is Health.WARNING
    assert "from packages" in checks["llama.cpp's repository"].detail
    assert checks["npm packages"].state is checks["Python packages"].state is Health.OK


def test_no_answer_is_waited_for_long(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "SECONDS", 0.5)
    for name in ("git", "npm", "python"):
        program = programs / name
        program.write_text("#!/bin/sh\nexec /bin/sleep 30\n", encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    start = time.monotonic()
    checks = list(network.checks())
    assert time.monotonic() - start < 10
    assert {check.state for check in checks} == {Health.WARNING}


def test_offline_asks_nobody(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_git", lambda: pytest.fail("asked"))
    assert cli.run(["doctor", "--offline", "-q"]) == 1


def test_an_old_cmake_is_replaced(programs: Path) -> None:
    put(programs, "cmake", "cmake version 3.10.2")
    check = by_name(doctor.examine(offline=True))["cmake"]
    assert check.state is Health.WARNING
    assert "older than 3.18" in check.detail


def test_little_disk_and_memory_are_warned_of(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "DISK_NEEDED", 1 << 60)
    monkeypatch.setattr(hardware, "default_jobs", lambda: 8)
    monkeypatch.setattr(hardware, "_limit", lambda: 3 << 30)
    checks = by_name(doctor.examine(offline=True))
    assert checks["disk"].state is checks["disk of the cache"].state is Health.WARNING
    assert "build with --jobs 3" in checks["memory"].detail
    monkeypatch.setattr(hardware, "_limit", lambda: None)
    monkeypatch.setattr(hardware, "memory_bytes", lambda: 64 << 30)
    assert by_name(doctor.examine(offline=True))["memory"].state is Health.OK


@pytest.mark.parametrize(
    ("release", "system"),
    [
        ({"ID": "debian"}, "debian"), ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "debian"),
        ({"ID": "rocky", "ID_LIKE": "rhel fedora"}, "fedora"), ({"ID": "alpine"}, None),
    ],
)  # fmt: skip
def test_the_system_is_known_by_its_release_file(
    release: dict[str, str], system: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERMUX_VERSION", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    assert packages.system() == system
    monkeypatch.setenv("TERMUX_VERSION", "0.118")
    assert packages.system() == "termux"
    assert packages.install_hint("c++") == "pkg install clang"
