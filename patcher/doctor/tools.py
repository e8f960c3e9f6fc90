"""Programs: for every step, for builds, for builds for other machines; and what is known to fail."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from patcher.base.errors import BuildError
from patcher.base.packages import install_commands
from patcher.build.toolchain import CMAKE_MINIMUM, cmake_version, find_tool, require_compiler
from patcher.doctor.check import Examination, Health, program, said, version

# machine -> the prefix of its cross compiler, as GNU names it
_CROSS = {"aarch64": "ARM", "riscv64": "RISC-V", "s390x": "big-endian s390x"}
_NDK = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK")


def base() -> Iterator[Examination]:
    """Python, git, the compilers."""
    yield Examination("python", Health.OK, f"{platform.python_version()} ({sys.executable})")
    yield program("git", Health.MISSING, "every step works on a git checkout")
    for variable, language in (("CXX", "C++ compiler"), ("CC", "C compiler")):
        try:
            name = require_compiler(variable)
        except BuildError as why:
            yield Examination(language, Health.MISSING, "not found", why.message, install_commands("c++"))
        else:
            spoken = said(name, "--version")
            first = spoken.splitlines()[0] if spoken else "doesn't say its version"
            yield Examination(language, Health.OK, f"{first} ({shutil.which(name)})")


def builders() -> Iterator[Examination]:
    """CMake, Ninja, a compiler cache, and what fetches packages."""
    for name, least in (("cmake", CMAKE_MINIMUM), ("ninja", None)):
        place = find_tool(name)
        if place is None:
            detail = "the wheel from PyPI is used instead"
            yield Examination(name, Health.ABSENT, "not found", detail, install_commands(name))
        elif least is not None and cmake_version(place) < least:
            detail = f"older than {'.'.join(map(str, least))}: the wheel from PyPI is used instead"
            yield Examination(name, Health.WARNING, version(str(place)), detail, install_commands(name))
        else:
            yield Examination(name, Health.OK, f"{version(str(place))} ({place})")
    yield program(
        "ccache",
        Health.ABSENT,
        "a second build takes minutes instead of seconds",
        names=("ccache", "sccache"),
    )
    yield program("npm", Health.ABSENT, "npm: sources can't be fetched")
    # -I: a pip.py in the folder that we are in is not pip
    spoken = said(sys.executable, "-I", "-m", "pip", "--version")
    if spoken:
        yield Examination("pip", Health.OK, spoken.split(" from ")[0])
    else:
        yield program(
            "pip", Health.ABSENT, "pypi: sources and wheels can't be fetched", names=("pip3", "pip")
        )


def cross() -> Iterator[Examination]:
    """What builds for other machines, and what runs their programs here."""
    here = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())
    for machine, called in _CROSS.items():
        if machine == here:
            continue
        yield program(f"{machine}-linux-gnu-g++", Health.ABSENT, f"no cross build for {called}")
        yield program(
            f"qemu-{machine}", Health.ABSENT, f"{called} programs can't be run here",
            names=(f"qemu-{machine}", f"qemu-{machine}-static"),
        )  # fmt: skip
    yield _ndk()


def _ndk() -> Examination:
    for variable in _NDK:
        place = Path(os.environ.get(variable) or "/nowhere")
        if (place / "build/cmake/android.toolchain.cmake").is_file():
            revision = re.search(r"Pkg\.Revision\s*=\s*(\S+)", _text(place / "source.properties"))
            return Examination(
                "Android NDK", Health.OK, f"{revision[1] if revision else 'version unknown'} ({place})"
            )
        if variable in os.environ:
            detail = f"${variable} names a folder without build/cmake/android.toolchain.cmake"
            return Examination(
                "Android NDK", Health.WARNING, str(place), detail, install_commands("android-ndk")
            )
    detail = "no cross build for Android (Termux builds on the phone itself)"
    return Examination("Android NDK", Health.ABSENT, "not found", detail, install_commands("android-ndk"))


def _text(place: Path) -> str:
    try:
        return place.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def known_fixes() -> Iterator[Examination]:
    """The catalogue of build fixes, each asked of the compiler that a build here would take."""
    from patcher.engine import build_fixes

    try:
        compiler = require_compiler("CXX")
    except BuildError:
        return  # nothing can be built here, so nothing is met
    for fix in build_fixes.catalogue().values():
        if fix.probe is None:
            continue  # nobody needs it
        name = f"fix {fix.name}"
        if fix.is_met_by(compiler):
            yield Examination(name, Health.WARNING, f"needed: {fix.title}", fix.remedy)
        else:
            yield Examination(
                name, Health.OK, f"not needed: not this processor, or {compiler} has no such fault"
            )
