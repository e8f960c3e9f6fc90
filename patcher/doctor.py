"""What this machine has and lacks for each step, and the command that installs what it lacks."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from patcher.build import MEMORY_PER_JOB, default_jobs
from patcher.build.toolchain import CMAKE_MINIMUM, cmake_version, find_tool, require_compiler
from patcher.cache import cache_dir
from patcher.errors import BuildError
from patcher.machine import cpu_flags, memory_bytes
from patcher.packages import install_commands

DISK_NEEDED = 3 << 30  # bytes: a checkout, a build of the default targets, a small model
PROBE_SECONDS = 20.0


class State(str, Enum):
    """How a thing is. The values are part of the JSON contract."""

    OK = "ok"
    WARNING = "warning"  # it is there, and something about it matters
    ABSENT = "absent"  # it is not there, and nothing fails for want of it
    MISSING = "missing"  # it is not there, and a step fails without it


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    found: str
    detail: str = ""
    install: dict[str, str] = field(default_factory=dict)  # system -> command, where something lacks

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "state": self.state.value}


def examine() -> list[Check]:
    """Look at everything. Nothing is installed or changed."""
    return [check for group in (_base, _tools, _linkers, _cross, _machine) for check in group()]


def healthy(checks: list[Check]) -> bool:
    """Whether nothing that a step needs is missing."""
    return all(check.state is not State.MISSING for check in checks)


def _base() -> Iterator[Check]:
    yield Check("python", State.OK, f"{platform.python_version()} ({sys.executable})")
    yield _program("git", State.MISSING, "every step works on a git checkout")
    for variable, language in (("CXX", "C++ compiler"), ("CC", "C compiler")):
        try:
            name = require_compiler(variable)
        except BuildError as why:
            yield Check(language, State.MISSING, "not found", str(why), install_commands("c++"))
        else:
            yield _compiler(language, name)


def _compiler(language: str, name: str) -> Check:
    said = _said(name, "--version")
    version = said.splitlines()[0] if said else "doesn't say its version"
    numbers = re.search(r"\b(\d+)\.\d+(?:\.\d+)?\b", version)
    gcc = "clang" not in version.lower() and numbers is not None
    if gcc and numbers is not None and int(numbers[1]) < 13 and "amx_tile" in cpu_flags():
        detail = (
            "GCC before 13 drops the stores of AMX's tile configuration: build with"
            " --cmake-arg=-DGGML_NATIVE=OFF, or with GCC 13"
        )
        return Check(language, State.WARNING, version, detail, install_commands("clang++"))
    return Check(language, State.OK, f"{version} ({shutil.which(name)})")


def _tools() -> Iterator[Check]:
    for name, least in (("cmake", CMAKE_MINIMUM), ("ninja", None)):
        place = find_tool(name)
        if place is None:
            detail = "the wheel from PyPI is used instead"
            yield Check(name, State.ABSENT, "not found", detail, install_commands(name))
        elif least is not None and cmake_version(place) < least:
            detail = f"older than {'.'.join(map(str, least))}: the wheel from PyPI is used instead"
            yield Check(name, State.WARNING, _version(str(place)), detail, install_commands(name))
        else:
            yield Check(name, State.OK, f"{_version(str(place))} ({place})")
    yield _program("ccache", State.ABSENT, "a second build takes minutes instead of seconds")
    yield _program("npm", State.ABSENT, "npm: sources can't be fetched")
    if _said(sys.executable, "-m", "pip", "--version"):
        yield Check("pip", State.OK, _said(sys.executable, "-m", "pip", "--version").split(" from ")[0])
    else:
        yield _program(
            "pip", State.ABSENT, "pypi: sources and wheels can't be fetched", names=("pip3", "pip")
        )


def _linkers() -> Iterator[Check]:
    compiler = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if compiler is not None:
        default = _said(compiler, "-Wl,--version", "-x", "c++", os.devnull, "-o", os.devnull)
        yield Check("linker in use", State.OK, default.splitlines()[0] if default else "doesn't say")
    for name in ("ld.bfd", "ld.gold", "ld.lld", "mold"):
        check = _program(name, State.ABSENT, "")
        if check.state is State.ABSENT:
            yield check
            continue
        said = _said(name, "--version")
        blind = blindness(name, said)
        first = said.splitlines()[0] if said else check.found
        yield Check(name, State.WARNING if blind else State.OK, first, blind)


def blindness(linker: str, version: str) -> str:
    """In which cases ``--no-allow-shlib-undefined`` of this linker passes undefined symbols.

    Measured with bfd 2.40, gold 1.16, lld 14-22 and mold 2.42; empty for a linker without gaps.
    """
    numbers = re.search(r"(\d+)\.(\d+)", version)
    release = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if linker == "mold":
        if release < (2, 33):
            return "ignores --no-allow-shlib-undefined"
        return "checks nothing where one needed library is not on the link line"
    if linker in ("ld.gold", "ld.lld"):
        return "checks a library only where all that it needs is on the link line"
    return ""


def _cross() -> Iterator[Check]:
    yield _program("aarch64-linux-gnu-g++", State.ABSENT, "no cross build for ARM")
    yield _program(
        "qemu-aarch64",
        State.ABSENT,
        "ARM builds can't be run here",
        names=("qemu-aarch64", "qemu-aarch64-static"),
    )


def _machine() -> Iterator[Check]:
    flags = cpu_flags()
    known = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve")
    have = ", ".join(flag for flag in known if flag in flags) or "none that the kernels use"
    yield Check("processor", State.OK, f"{platform.machine()}: {have}")
    cache = cache_dir()
    free = shutil.disk_usage(cache).free
    state = State.OK if free >= DISK_NEEDED else State.WARNING
    detail = "" if state is State.OK else f"a checkout, a build and a model take about {DISK_NEEDED >> 30} GB"
    yield Check("disk", state, f"{free / 1e9:.1f} GB free at {cache}", detail)
    memory = memory_bytes()
    if memory:
        jobs = default_jobs()
        room = memory // jobs
        detail = "" if room >= MEMORY_PER_JOB else "build with --jobs 1"
        state = State.OK if room >= MEMORY_PER_JOB else State.WARNING
        yield Check("memory", state, f"{memory / 1e9:.1f} GB, {jobs} compilers at once", detail)


def _program(name: str, lacking: State, detail: str, *, names: tuple[str, ...] = ()) -> Check:
    for candidate in names or (name,):
        place = shutil.which(candidate)
        if place is not None:
            return Check(name, State.OK, f"{_version(place)} ({place})")
    return Check(name, lacking, "not found", detail, install_commands(name))


def _version(program: str) -> str:
    said = _said(program, "--version")
    numbers = re.search(r"\d+(?:\.\d+)+", said)
    return numbers[0] if numbers else "version unknown"


def _said(*command: str) -> str:
    """What a program says on stdout; nothing where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PROBE_SECONDS, check=False,
            stdin=subprocess.DEVNULL, env=os.environ | {"LC_ALL": "C"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
