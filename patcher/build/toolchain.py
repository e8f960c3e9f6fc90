"""The programs that a build needs: found on the machine, or taken from PyPI wheels."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from patcher.base import lock, processes
from patcher.base.cache import cache_dir
from patcher.base.environment import asked, networked
from patcher.base.errors import BuildError, UsageError
from patcher.base.packages import install_hint
from patcher.base.progress import SILENT, Reporter

CMAKE_MINIMUM = (3, 18)  # llama.cpp asks for 3.14; 3.18 is the first that takes -D lists as we write them
_COMPILERS = {"CXX": ("c++", "g++", "clang++"), "CC": ("cc", "gcc", "clang")}
LAUNCHERS = ("ccache", "sccache")


@dataclass(frozen=True)
class Toolchain:
    """What a build is made with. ``launcher`` stands before each compiler call, None for none."""

    cmake: Path
    ninja: Path
    launcher: Path | None


def find_toolchain(
    *,
    launcher: str,
    toolchain_file: Path | None,
    recorded: Toolchain | None = None,
    reporter: Reporter = SILENT,
) -> Toolchain:
    """The programs to build with: those ``recorded`` of an earlier build, or what is found.

    CMake and Ninja come as wheels where the machine has none.

    Raises :class:`BuildError` where there is no compiler, with the command that installs one;
    :class:`UsageError` for a ``launcher`` that isn't there (``auto`` takes what it finds).
    """
    if toolchain_file is None and os.name == "posix":
        for variable in _COMPILERS:
            require_compiler(variable)
    if recorded is None:
        return Toolchain(_cmake(reporter), _tool("ninja", reporter), _launcher(launcher))
    kept = launcher == "auto" and (recorded.launcher is None or os.access(recorded.launcher, os.X_OK))
    return replace(recorded, launcher=recorded.launcher if kept else _launcher(launcher))


def require_compiler(variable: str) -> str:
    """The compiler that CMake will take for ``CXX`` or ``CC``. Raises :class:`BuildError` for none."""
    chosen = os.environ.get(variable, "").strip()
    names = (chosen.split()[0],) if chosen else _COMPILERS[variable]
    for name in names:
        if shutil.which(name):
            return name
    language = "C++" if variable == "CXX" else "C"
    what = f"${variable} ({chosen})" if chosen else ", ".join(names)
    raise BuildError(
        f"no {language} compiler: looked for {what} on PATH, found none", hint=install_hint("c++")
    )


def _launcher(wanted: str) -> Path | None:
    if wanted == "none":
        return None
    names = LAUNCHERS if wanted == "auto" else (wanted,)
    for name in names:
        found = shutil.which(name)
        if found:
            return Path(found)
    if wanted == "auto":
        return None
    raise UsageError(f"--compiler-launcher {wanted}: not on PATH", hint=install_hint(wanted))


def _cmake(reporter: Reporter) -> Path:
    there = find_tool("cmake")
    if there is not None:
        version = cmake_version(there)
        if version >= CMAKE_MINIMUM:
            return there
        found, least = (".".join(map(str, numbers)) for numbers in (version, CMAKE_MINIMUM))
        reporter.note(f"{there}: CMake {found} is older than {least}, one from PyPI is used")
    return _from_wheel("cmake", reporter)


def _tool(name: str, reporter: Reporter) -> Path:
    return find_tool(name) or _from_wheel(name, reporter)


def find_tool(name: str) -> Path | None:
    """``name`` beside our own Python (a wheel installed with us) or on PATH."""
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    found = shutil.which(name) or beside
    return Path(found) if found else None


def cmake_version(cmake: Path) -> tuple[int, ...]:
    """Its version; (0,) where it doesn't say."""
    try:
        said = processes.run([cmake, "--version"], env=asked(), seconds=60.0, output=1 << 20)
    except processes.ProcessError:
        return (0,)
    numbers = re.search(r"version (\d+)\.(\d+)", said.text)
    return tuple(map(int, numbers.groups())) if numbers else (0,)


def _from_wheel(name: str, reporter: Reporter) -> Path:
    """The program ``name`` out of the PyPI wheel of that name, kept in the cache."""
    home = cache_dir("tools")
    place = home / name
    with lock.hold(home / f"{name}.lock", failure=BuildError):
        there = _program(place, name)
        if there is not None:
            return there
        draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=home))
        try:
            with reporter.step(f"Installing {name} from PyPI"):
                _pip_install(name, draft)
            if _program(draft, name) is None:
                raise BuildError(f"{name}: its wheel holds no such program", hint=install_hint(name))
            shutil.rmtree(place, ignore_errors=True)
            draft.replace(place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    found = _program(place, name)
    if found is None:
        raise BuildError(f"{place}: looked for {name}, found none", hint=install_hint(name))
    reporter.note(f"{name}: not on this machine, the one from PyPI is used ({found})")
    return found


def _program(folder: Path, name: str) -> Path | None:
    """The real program in an unpacked wheel: newer wheels keep it in bin, older ones in data/bin."""
    suffix = ".exe" if os.name == "nt" else ""
    for place in (folder / name / "data" / "bin", folder / "bin"):
        program = place / f"{name}{suffix}"
        if program.is_file():
            return program
    return None


def _pip_install(name: str, folder: Path) -> None:
    command = [sys.executable, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:", "--target", str(folder), name]
    try:
        done = processes.run(command, env=networked("PIP_.*"), seconds=1800.0)
        lines = [line for line in done.errors.splitlines() if line.strip()]
        said = lines[-1] if lines else f"pip ended with {done.code}"
    except processes.ProcessError as why:
        raise BuildError(f"no {name} on PATH, and pip {why.message}", hint=install_hint(name)) from why
    if done.code != 0:
        raise BuildError(f"no {name} on PATH, and none from PyPI ({said})", hint=install_hint(name))
