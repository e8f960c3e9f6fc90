"""Builds small programs and libraries with the compiler that the machine has."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from patcher.symbols import SearchOptions, SymbolReport, check


@dataclass
class Workshop:
    """A folder to build in. Sources are given as text."""

    folder: Path
    cc: str = "gcc"

    def run(self, *arguments: str | Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program in the folder; fails the test where it fails and ``ok``."""
        done = subprocess.run(
            [str(one) for one in arguments], cwd=self.folder, capture_output=True, text=True
        )
        if ok and done.returncode:
            pytest.fail(f"{arguments}: {done.stderr}")
        return done

    def source(self, name: str, text: str) -> Path:
        """Write a source file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def compile(self, name: str, text: str, *flags: str) -> Path:
        """An object file of C (``name.c``) or C++ (``name.cpp``) text."""
        source = self.source(name, text)
        out = source.with_suffix(".o")
        cc = self.cc.replace("gcc", "g++") if name.endswith(".cpp") else self.cc
        self.run(cc, "-fPIC", "-c", "-o", out, source, *flags)
        return out

    def library(
        self, name: str, text: str, *flags: str | Path, soname: str | None = "", ext: str = "c"
    ) -> Path:
        """``lib<name>.so`` of C text; ``soname=""`` is its file name, None is none."""
        place = self.folder / name
        out = place.with_name(f"lib{place.name}.so")
        out.parent.mkdir(parents=True, exist_ok=True)
        part = self.compile(f"{name}.{ext}", text)
        names = [] if soname is None else [f"-Wl,-soname,{soname or out.name}"]
        cc = self.cc.replace("gcc", "g++") if ext == "cpp" else self.cc
        self.run(cc, "-shared", "-Wl,--allow-shlib-undefined", "-o", out, part, *names, *flags)
        return out

    def program(self, name: str, text: str, *flags: str | Path, ext: str = "c") -> Path:
        """A program of C text that is linked whatever its libraries lack."""
        out = self.folder / name
        part = self.compile(f"{name}.{ext}", text)
        cc = self.cc.replace("gcc", "g++") if ext == "cpp" else self.cc
        self.run(
            cc, "-o", out, part, "-Wl,--no-as-needed", "-Wl,--allow-shlib-undefined",
            "-Wl,--unresolved-symbols=ignore-in-shared-libs", *flags,
        )  # fmt: skip
        return out

    def check(
        self, *paths: Path, hosts: Sequence[Path] = (), library_path: Sequence[Path] = ()
    ) -> SymbolReport:
        """Check some of what was built; the folder itself is searched first."""
        return check(paths, options=SearchOptions((self.folder, *library_path)), hosts=hosts)

    def loads(self, program: Path) -> bool:
        """Whether the loader takes it, all symbols bound at once. It is our own program: it may run."""
        environment = {"LD_BIND_NOW": "1", "LD_LIBRARY_PATH": str(self.folder), "PATH": "/usr/bin:/bin"}
        return (
            subprocess.run([str(program)], env=environment, cwd=self.folder, capture_output=True).returncode
            == 0
        )


def found(report: SymbolReport, severity: str = "warning") -> set[tuple[str, str]]:
    """(rule, symbol) of all findings of ``severity`` or worse."""
    return {(finding.rule, finding.symbol) for finding in report.at_least(severity)}


def have(*programs: str) -> bool:
    """Whether all these programs are on the PATH."""
    return all(shutil.which(program) for program in programs)


def without_sections(path: Path, out: Path) -> Path:
    """A copy of a 64-bit file without section headers."""
    data = bytearray(path.read_bytes())
    data[40:48] = bytes(8)  # e_shoff
    data[58:64] = bytes(6)  # e_shentsize, e_shnum, e_shstrndx
    out.write_bytes(data)
    out.chmod(0o755)
    return out
