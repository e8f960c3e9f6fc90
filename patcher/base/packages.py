"""What each system calls the packages that we need, and the command that installs them."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

SYSTEMS = {
    "debian": "Debian/Ubuntu",
    "fedora": "Fedora",
    "macos": "macOS",
    "windows": "Windows",
    "termux": "Termux",
}

_INSTALL = {
    "debian": "sudo apt-get install",
    "fedora": "sudo dnf install",
    "macos": "brew install",
    "windows": "winget install --exact --id",
    "termux": "pkg install",
}

_BUILD_TOOLS = (
    "Microsoft.VisualStudio.2022.BuildTools"
    ' --override "--passive --add Microsoft.VisualStudio.Workload.VCTools"'
)
# Programs of Linux on Windows: in its own Linux, with that one's commands.
_WSL = "WSL"

# tool -> the package on Debian, Fedora, macOS, Windows, Termux; None: it has none, or needs none there
_PACKAGES: dict[str, tuple[str | None, str | None, str | None, str | None, str | None]] = {
    "git": ("git", "git", "git", "Git.Git", "git"),
    "c++": ("g++", "gcc-c++", "llvm", _BUILD_TOOLS, "clang"),
    "clang++": ("clang", "clang", "llvm", "LLVM.LLVM", "clang"),
    "cmake": ("cmake", "cmake", "cmake", "Kitware.CMake", "cmake"),
    "ninja": ("ninja-build", "ninja-build", "ninja", "Ninja-build.Ninja", "ninja"),
    "ccache": ("ccache", "ccache", "ccache", "Ccache.Ccache", "ccache"),
    "ld.bfd": ("binutils", "binutils", "binutils", _WSL, "binutils"),
    "ld.gold": ("binutils", "binutils-gold", None, _WSL, None),
    "ld.lld": ("lld", "lld", "lld", "LLVM.LLVM", "lld"),
    "mold": ("mold", "mold", "mold", _WSL, "mold"),
    "npm": ("npm", "nodejs-npm", "node", "OpenJS.NodeJS", "nodejs"),
    "pip": ("python3-pip", "python3-pip", "python", "Python.Python.3.13", "python-pip"),
    "android-ndk": (
        "sdkmanager && sdkmanager 'ndk;26.3.11579264'", None, "--cask android-ndk", "Google.AndroidStudio",
        None,
    ),
    "aarch64-linux-gnu-g++": (
        "g++-aarch64-linux-gnu", "gcc-c++-aarch64-linux-gnu",
        "messense/macos-cross-toolchains/aarch64-unknown-linux-gnu", _WSL, "clang",
    ),
    "riscv64-linux-gnu-g++": (
        "g++-riscv64-linux-gnu", "gcc-c++-riscv64-linux-gnu", None, _WSL, None,
    ),
    "s390x-linux-gnu-g++": ("g++-s390x-linux-gnu", "gcc-c++-s390x-linux-gnu", None, _WSL, None),
    "qemu-aarch64": ("qemu-user", "qemu-user", None, _WSL, "qemu-user-aarch64"),
    "qemu-riscv64": ("qemu-user", "qemu-user", None, _WSL, "qemu-user-riscv64"),
    "qemu-s390x": ("qemu-user", "qemu-user", None, _WSL, None),
}  # fmt: skip


def system() -> str | None:
    """Which of :data:`SYSTEMS` this machine is, or is most like; None for what has none of their commands."""
    if "TERMUX_VERSION" in os.environ:
        return "termux"
    if sys.platform == "darwin":
        return "macos"
    if sys.platform == "win32":
        return "windows"
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "debian" if Path("/etc/debian_version").exists() else None
    names = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    if names & {"debian", "ubuntu"}:
        return "debian"
    return "fedora" if names & {"fedora", "rhel", "centos"} else None


def install_commands(tool: str) -> dict[str, str]:
    """The command that installs ``tool``, by system, this one first; those without a package are left out."""
    names = dict(zip(SYSTEMS, _PACKAGES.get(tool, (None,) * len(SYSTEMS)), strict=True))
    here = system()
    order = [here, *(key for key in SYSTEMS if key != here)] if here is not None else list(SYSTEMS)
    return {key: _command(key, name, names["debian"]) for key in order if (name := names[key]) is not None}


def _command(key: str, name: str, on_debian: str | None) -> str:
    if name == _WSL:
        return f"wsl --install -d Debian, and in it: {_INSTALL['debian']} {on_debian}"
    return f"{_INSTALL[key]} {name}"


def install_hint(tool: str) -> str:
    """What to do here to get ``tool``: this system's command, or that of the most common one."""
    commands = install_commands(tool)
    command = commands.get(system() or "debian")
    return f"{command}" if command else f"install {tool}"
