"""What a machine has and lacks: every kind of machine made up by the test."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import pytest

from patcher import cli, doctor, packages
from patcher.doctor import Check, State


def by_name(checks: list[Check]) -> dict[str, Check]:
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
    checks = by_name(doctor.examine())
    assert not doctor.healthy(list(checks.values()))
    for name in ("git", "C compiler", "C++ compiler"):
        assert checks[name].state is State.MISSING
        assert set(checks[name].install) == set(packages.SYSTEMS)
    for name in ("cmake", "ninja", "ccache", "npm", "mold"):
        if name in ("cmake", "ninja") and checks[name].state is State.OK:
            continue  # a wheel beside this Python
        assert checks[name].state is State.ABSENT
        assert "Debian" not in checks[name].found
        assert checks[name].install["debian"].startswith("sudo apt-get install ")
    assert checks["python"].state is State.OK


def test_the_exit_code_says_whether_it_will_do(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor", "--system", "fedora"]) == 1
    said = capsys.readouterr().out
    assert "Fedora: sudo dnf install gcc-c++" in said
    for name in ("git", "c++", "cc"):
        put(programs, name, f"{name} 13.2.0")
    assert cli.run(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["healthy"] is True
    states = {check["name"]: check["state"] for check in document["checks"]}
    assert states["git"] == states["C++ compiler"] == "ok"


def test_every_lack_shows_every_system(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["doctor", "--system", "all"])
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
    check = by_name(doctor.examine())[linker]
    assert check.state is (State.WARNING if says else State.OK)
    assert says in check.detail
    assert check.found == version


@pytest.mark.parametrize(
    ("version", "state"),
    [("12.2.0", State.WARNING), ("13.1.0", State.OK), ("clang version 14.0.6", State.OK)],
)
def test_gcc_12_on_a_processor_with_amx_is_warned_of(
    version: str, state: State, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "cpu_flags", lambda: frozenset({"amx_tile"}))
    for name in ("c++", "cc"):
        put(programs, name, version if "clang" in version else f"{name} (Debian) {version}")
    check = by_name(doctor.examine())["C++ compiler"]
    assert check.state is state
    assert ("AMX" in check.detail) is (state is State.WARNING)


def test_an_old_cmake_is_replaced(programs: Path) -> None:
    put(programs, "cmake", "cmake version 3.10.2")
    check = by_name(doctor.examine())["cmake"]
    assert check.state is State.WARNING
    assert "older than 3.18" in check.detail


def test_little_disk_and_memory_are_warned_of(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_NEEDED", 1 << 60)
    monkeypatch.setattr(doctor, "memory_bytes", lambda: 1 << 29)
    checks = by_name(doctor.examine())
    assert checks["disk"].state is State.WARNING
    assert checks["memory"].detail == "build with --jobs 1"


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
