"""What differs from machine to machine in where libraries lie: names that loaders have built in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from patcher.symbols.elf.constants import (
    EM_386,
    EM_AARCH64,
    EM_ARM,
    EM_LOONGARCH,
    EM_MIPS,
    EM_PPC,
    EM_PPC64,
    EM_RISCV,
    EM_S390,
    EM_X86_64,
)

if TYPE_CHECKING:
    from patcher.symbols.elf.identity import Abi


class Platform(NamedTuple):
    """One ABI's names. ``multiarch`` is Debian's folder, ``lib`` and ``platform`` what ``$LIB`` and
    ``$PLATFORM`` stand for in glibc, ``musl`` the ARCH of ``ld-musl-ARCH.so.1``."""

    multiarch: str
    lib: str
    platform: str
    musl: str
    hwcaps: tuple[str, ...] = ()  # glibc-hwcaps folders, the best first, as a current machine has them
    other_libs: tuple[str, ...] = ()  # further default folders, below / and /usr


UNKNOWN = Platform("", "lib", "", "")

# machine, bits, little endian; glibc's sysdeps/unix/sysv/linux/*/shlib-versions, ldsodefs and Makeconfig
_PLATFORMS = {
    (EM_X86_64, 64, True): Platform(
        "x86_64-linux-gnu", "lib64", "x86_64", "x86_64", ("x86-64-v4", "x86-64-v3", "x86-64-v2")
    ),
    (EM_X86_64, 32, True): Platform("x86_64-linux-gnux32", "libx32", "x86_64", "x32"),
    (EM_386, 32, True): Platform("i386-linux-gnu", "lib", "i686", "i386", other_libs=("lib32",)),
    (EM_AARCH64, 64, True): Platform("aarch64-linux-gnu", "lib64", "aarch64", "aarch64"),
    (EM_AARCH64, 64, False): Platform("aarch64_be-linux-gnu", "lib64", "aarch64_be", "aarch64_be"),
    (EM_ARM, 32, True): Platform(
        "arm-linux-gnueabihf", "lib", "v7l", "armhf", other_libs=("lib/arm-linux-gnueabi",)
    ),
    (EM_RISCV, 64, True): Platform(
        "riscv64-linux-gnu", "lib64", "riscv64", "riscv64", other_libs=("lib64/lp64d", "lib64/lp64")
    ),
    (EM_PPC64, 64, True): Platform(
        "powerpc64le-linux-gnu", "lib64", "power9", "powerpc64le", ("power10", "power9")
    ),
    (EM_PPC64, 64, False): Platform("powerpc64-linux-gnu", "lib64", "power7", "powerpc64"),
    (EM_PPC, 32, False): Platform("powerpc-linux-gnu", "lib", "powerpc", "powerpc"),
    (EM_S390, 64, False): Platform("s390x-linux-gnu", "lib64", "z13", "s390x", ("z16", "z15", "z14", "z13")),
    (EM_MIPS, 64, True): Platform("mips64el-linux-gnuabi64", "lib64", "mips", "mips64el"),
    (EM_MIPS, 64, False): Platform("mips64-linux-gnuabi64", "lib64", "mips", "mips64"),
    (EM_MIPS, 32, True): Platform("mipsel-linux-gnu", "lib", "mips", "mipsel"),
    (EM_MIPS, 32, False): Platform("mips-linux-gnu", "lib", "mips", "mips"),
    (EM_LOONGARCH, 64, True): Platform("loongarch64-linux-gnu", "lib64", "loongarch64", "loongarch64"),
}


def platform_of(abi: Abi) -> Platform:
    """The names of an ABI; :data:`UNKNOWN`, with ``/lib`` and ``/usr/lib``, for one that isn't listed."""
    bits, little, machine, _ = abi
    return _PLATFORMS.get((machine, bits, little), UNKNOWN)


# what uname says -> the machines whose programs the kernel starts
_KERNELS = {
    "x86_64": ((EM_X86_64, 64), (EM_386, 32)), "i686": ((EM_386, 32),), "i386": ((EM_386, 32),),
    "aarch64": ((EM_AARCH64, 64), (EM_ARM, 32)), "armv7l": ((EM_ARM, 32),), "riscv64": ((EM_RISCV, 64),),
    "ppc64le": ((EM_PPC64, 64),), "ppc64": ((EM_PPC64, 64),), "s390x": ((EM_S390, 64),),
    "loongarch64": ((EM_LOONGARCH, 64),), "mips": ((EM_MIPS, 32),), "mips64": ((EM_MIPS, 64), (EM_MIPS, 32)),
}  # fmt: skip


def runs_here(abi: Abi) -> bool:
    """Whether this machine's kernel starts programs of that ABI itself, without an emulator."""
    system = os.uname() if hasattr(os, "uname") else None
    if system is None or system.sysname != "Linux":
        return False
    return (abi[2], abi[0]) in _KERNELS.get(system.machine, ())
