"""The proof of an explicit instantiation: the compiler is asked, and the mangled name compared."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from patcher.symbols.demangle import demangle
from patcher.symbols.installed import is_installed
from patcher.symbols.relocatable import members
from patcher.symbols.repair.database import Compilation

_LAUNCHERS = ("ccache", "sccache", "distcc")
TIMEOUT = 600  # seconds for one source file


@dataclass(frozen=True)
class Proof:
    """Whether the line defines the symbol, and what happened if it doesn't."""

    proven: bool
    detail: str = ""


def prove(directive: str, mangled: str, compilation: Compilation) -> Proof:
    """Compile the source with ``directive`` behind it, elsewhere, and look for ``mangled`` in the object."""
    return judged(defined_by(directive, compilation), mangled)


def judged(names: set[bytes] | Proof, mangled: str) -> Proof:
    """Whether ``mangled`` is among what :func:`defined_by` gave, and what is there in its place."""
    if isinstance(names, Proof):
        return names
    if mangled.encode() in names:
        return Proof(True)
    text = demangle(mangled)
    alike = [one.decode() for one in names if demangle(one.decode("utf-8", "replace")) == text]
    if alike:
        return Proof(False, f"this compiler calls it {alike[0]}: the user was built by another one")
    return Proof(False, "the object doesn't define it")


def defined_by(directive: str, compilation: Compilation) -> set[bytes] | Proof:
    """What the object defines with ``directive`` behind its source; a failed proof without a compiler."""
    done = compiled(compilation.source.read_bytes() + f"\n{directive}\n".encode(), compilation)
    if isinstance(done, Proof):
        return done
    return done.names if done.names is not None else Proof(False, done.refusal)


@dataclass(frozen=True)
class Compiled:
    """What an object defines; None where the compiler refuses: its words, and the lines that they name."""

    names: set[bytes] | None
    refusal: str = ""
    lines: frozenset[int] = frozenset()


def compiled(text: bytes, compilation: Compilation) -> Compiled | Proof:
    """Compile ``text`` as if it stood in the compilation's source, which is not touched.

    A failed proof where no compiler is run. The optimization is that of the build: without it the compiler
    emits implicit instances too, which prove nothing, because at -O3 they are inlined and gone.
    """
    with tempfile.TemporaryDirectory(prefix="q8a8-proof-") as name:
        folder = Path(name)
        source = folder / f"proof{compilation.source.suffix}"
        source.write_bytes(text)
        out = folder / "proof.o"
        arguments = _without_outputs(compilation, source)
        foreign = next((word for word in _programs(arguments) if not is_installed(word)), None)
        if foreign is not None:
            return Proof(False, f"{foreign} is none that is installed; what came with a build is not run")
        # quoted includes are looked for beside the source, as ever
        beside = ["-iquote", str(compilation.source.parent)]
        command = [*arguments[:1], *beside, *arguments[1:], "-w", "-g0", "-c", str(source), "-o", str(out)]
        if Path(arguments[0]).name in _LAUNCHERS:
            command = [
                *arguments[:2],
                *beside,
                *arguments[2:],
                "-w",
                "-g0",
                "-c",
                str(source),
                "-o",
                str(out),
            ]
        try:
            done = subprocess.run(
                command, cwd=compilation.folder, capture_output=True, text=True, timeout=TIMEOUT, check=False,
                errors="replace",
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as why:
            return Proof(False, f"the compiler can't be run ({why})")
        if done.returncode:
            error = next((line for line in done.stderr.splitlines() if "error" in line), "without a word")
            error = error.strip().replace(str(source), compilation.source.name)
            numbers = re.findall(rf"{re.escape(str(source))}:(\d+)", done.stderr)
            return Compiled(None, f"the compiler refuses it: {error}", frozenset(map(int, numbers)))
        return Compiled({one.name for unit in members(out) for one in unit.symbols if one.defined})


def _programs(arguments: list[str]) -> list[str]:
    """What a compile command would run: a launcher and a compiler, or what ``-wrapper`` and ``-B`` name."""
    first = [word for word in arguments[:2] if not word.startswith("-")]
    odd = [word for word in arguments if word.startswith(("-wrapper", "-B", "-fplugin", "-specs", "--specs"))]
    return [*first, *odd]


def _without_outputs(compilation: Compilation, source: Path) -> list[str]:
    """The command without its input, its output and dependency files."""
    kept: list[str] = []
    words = list(compilation.arguments)
    while words:
        word = words.pop(0)
        if word in ("-o", "-MF", "-MT", "-MQ"):
            words = words[1:]
        elif word not in ("-c", "-MD", "-MMD", "-MP", "-Winvalid-pch") and not _is_source(word, compilation):
            kept.append(word)
    return kept


def _is_source(word: str, compilation: Compilation) -> bool:
    return not word.startswith("-") and (compilation.folder / word).resolve() == compilation.source.resolve()
