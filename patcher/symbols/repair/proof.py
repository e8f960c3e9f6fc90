"""The proof of an explicit instantiation: the compiler is asked, and the mangled name compared."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from patcher.symbols.demangle import demangle
from patcher.symbols.installed import is_installed
from patcher.symbols.relocatable import members
from patcher.symbols.repair.database import Compilation

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
    """What the object defines with ``directive`` behind its source; a failed proof where it isn't compiled.

    The source itself is not touched. The optimization is that of the build: without it the compiler emits
    implicit instances too, which prove nothing, because at -O3 they are inlined and gone.
    """
    with tempfile.TemporaryDirectory(prefix="q8a8-proof-") as name:
        folder = Path(name)
        source = folder / f"proof{compilation.source.suffix}"
        source.write_text(f'#include "{compilation.source}"\n{directive}\n', encoding="utf-8")
        out = folder / "proof.o"
        arguments = _without_outputs(compilation, source)
        foreign = next((word for word in _programs(arguments) if not is_installed(word)), None)
        if foreign is not None:
            return Proof(False, f"{foreign} is none that is installed; what came with a build is not run")
        command = [*arguments, "-w", "-g0", "-c", str(source), "-o", str(out)]
        try:
            done = subprocess.run(
                command, cwd=compilation.folder, capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except (OSError, subprocess.SubprocessError) as why:
            return Proof(False, f"the compiler can't be run ({why})")
        if done.returncode:
            error = next((line for line in done.stderr.splitlines() if "error" in line), "without a word")
            return Proof(False, f"the compiler refuses it: {error.strip()}")
        return {symbol.name for unit in members(out) for symbol in unit.symbols if symbol.defined}


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
    # quoted includes of the source are looked for beside it, as ever: it is included by its own path
    return kept


def _is_source(word: str, compilation: Compilation) -> bool:
    return not word.startswith("-") and (compilation.folder / word).resolve() == compilation.source.resolve()
