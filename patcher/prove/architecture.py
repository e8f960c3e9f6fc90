"""The architectures that a proof is made on: this machine's, others by cross compiler and emulator."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.base.packages import install_hint
from patcher.build.toolchain import require_compiler

# What both sides are built with: without what the type's functions never meet, and further libraries.
COMMON = ("-DGGML_LLAMAFILE=OFF", "-DGGML_OPENMP=OFF")
# name -> CMake's arguments, the emulator's; RISC-V without its vectors, which compilers and emulators of
# today's systems may lack: what is proved there is the portable code
_CROSS = {
    "aarch64": (("-DGGML_CPU_ARM_ARCH=armv8.6-a+dotprod+i8mm",), ("-cpu", "max")),
    "riscv64": (
        tuple(f"-DGGML_{name}=OFF" for name in ("RVV", "RV_ZFH", "RV_ZVFH", "RV_ZICBOP", "RV_ZIHINTPAUSE")),
        (),
    ),
}
_SAME = {"arm64": "aarch64", "amd64": "x86_64"}
_TOOLCHAIN = """set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR {name})
set(CMAKE_C_COMPILER {name}-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER {name}-linux-gnu-g++)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
"""


@dataclass(frozen=True)
class Architecture:
    """One to prove on. ``compiler`` is C's; ``launcher`` stands before a program, and is empty at home;
    ``lacking`` says why it can't be proved on here, and is empty where it can."""

    name: str
    compiler: str = ""
    launcher: tuple[str, ...] = ()
    cmake_args: tuple[str, ...] = ()
    lacking: str = ""

    @property
    def is_native(self) -> bool:
        """Whether it is this machine's own."""
        return self.name == native()

    @property
    def way(self) -> str:
        """``native`` or the emulator's name."""
        return Path(self.launcher[0]).name if self.launcher else "native"

    def toolchain(self, folder: Path) -> Path | None:
        """CMake's file for it, written into ``folder``; None at home."""
        if self.is_native:
            return None
        place = folder / f"{self.name}.cmake"
        place.write_text(_TOOLCHAIN.format(name=self.name), encoding="utf-8")
        return place


def native() -> str:
    """This machine's."""
    machine = platform.machine().lower()
    return _SAME.get(machine, machine)


def names() -> tuple[str, ...]:
    """All that a proof can be asked for, this machine's first."""
    return tuple(dict.fromkeys((native(), *_CROSS)))


def architectures(wanted: tuple[str, ...] = ()) -> list[Architecture]:
    """Those ``wanted``, or all, each with what it lacks here.

    Raises :class:`UsageError` for one that isn't known, :class:`BuildError` where there is no compiler.
    """
    for name in wanted:
        if name not in names():
            raise UsageError(
                f"--arch {name}: looked for an architecture of that name, found none",
                hint=f"name one of {', '.join(names())}",
            )
    return [_found(name) for name in names() if not wanted or name in wanted]


def _found(name: str) -> Architecture:
    if name == native():
        return Architecture(name, require_compiler("CC"), (), COMMON)
    arguments, emulation = _CROSS[name]
    if not sys.platform.startswith("linux"):
        return Architecture(name, lacking="others than this machine's own are proved on Linux alone")
    compiler = f"{name}-linux-gnu-g++"
    if not (shutil.which(compiler) and shutil.which(f"{name}-linux-gnu-gcc")):
        return Architecture(name, lacking=f"no {compiler} ({install_hint(compiler)})")
    emulator = shutil.which(f"qemu-{name}") or shutil.which(f"qemu-{name}-static")
    if emulator is None:
        return Architecture(name, lacking=f"no qemu-{name} ({install_hint(f'qemu-{name}')})")
    home = f"/usr/{name}-linux-gnu"
    root = ("-L", home) if os.path.isdir(home) else ()  # noqa: PTH112 - Debian's place; others' have none
    cmake = (*COMMON, "-DGGML_NATIVE=OFF", *arguments)
    return Architecture(name, f"{name}-linux-gnu-gcc", (emulator, *emulation, *root), cmake)
