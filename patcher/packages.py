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
    "windows": "winget install",
    "termux": "pkg install",
}

# tool -> the package on Debian, Fedora, macOS, Windows, Termux; None: it has none, or needs none
_PACKAGES: dict[str, tuple[str | None, str | None, str | None, str | None, str | None]] = {
    "git": ("git", "git", "git", "Git.Git", "git"),
    "c++": ("g++", "gcc-c++", "llvm", "Microsoft.VisualStudio.2022.BuildTools", "clang"),
    "clang++": ("clang", "clang", "llvm", "LLVM.LLVM", "clang"),
    "cmake": ("cmake", "cmake", "cmake", "Kitware.CMake", "cmake"),
    "ninja": ("ninja-build", "ninja-build", "ninja", "Ninja-build.Ninja", "ninja"),
    "ccache": ("ccache", "ccache", "ccache", "Ccache.Ccache", "ccache"),
    "ld.bfd": ("binutils", "binutils", None, None, "binutils"),
    "ld.gold": ("binutils", "binutils-gold", None, None, None),
    "ld.lld": ("lld", "lld", "lld", "LLVM.LLVM", "lld"),
    "mold": ("mold", "mold", "mold", None, None),
    "npm": ("npm", "nodejs-npm", "node", "OpenJS.NodeJS", "nodejs"),
    "pip": ("python3-pip", "python3-pip", "python", "Python.Python.3.13", "python-pip"),
    "aarch64-linux-gnu-g++": ("g++-aarch64-linux-gnu", "gcc-c++-aarch64-linux-gnu", None, None, None),
    "qemu-aarch64": ("qemu-user", "qemu-user", None, None, None),
}


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
    """The command that installs ``tool``, by system; systems that have no package for it are left out."""
    names = _PACKAGES.get(tool, (None,) * len(SYSTEMS))
    return {
        key: f"{_INSTALL[key]} {name}" for key, name in zip(SYSTEMS, names, strict=True) if name is not None
    }


def install_hint(tool: str) -> str:
    """What to do here to get ``tool``: this system's command, or that of the most common one."""
    commands = install_commands(tool)
    command = commands.get(system() or "debian")
    return f"{command}" if command else f"install {tool}"
