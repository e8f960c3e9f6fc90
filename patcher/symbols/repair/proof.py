"""The proof of an explicit instantiation: the compiler is asked, and the mangled name compared."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from patcher.base import processes
from patcher.base.environment import building
from patcher.symbols.demangle import demangle
from patcher.symbols.installed import installed_program
from patcher.symbols.relocatable import members
from patcher.symbols.repair.database import Compilation

TIMEOUT = 600.0  # seconds for one source file

_LAUNCHERS = ("ccache", "sccache", "distcc", "icecc")  # not needed for a file that is compiled once
_FOLDERS = "-I -isystem -iquote -idirafter -include -imacros -isysroot --sysroot"
_PAIRS = frozenset(f"{_FOLDERS} -D -U -x -arch -target --param".split())
# With a value of its own; a path where the option is one of folders, files that are read, or names of them.
_JOINED = re.compile(
    r"-[IDU].*|-(?:isystem|iquote|idirafter|isysroot).+|--sysroot=.+|-std=[\w+:.]+|-[Og][\w=.-]*|-w|-W(?![alp],)[\w+=,.-]*"
    r"|-m(?!llvm)[\w.=+,-]+|-f(?:debug|file|macro|profile)-prefix-map=.+"
    r"|-f(?!plugin|pass-plugin|use-ld|module-mapper|profile-use|offload)[\w.+-]+(?:=[\w.,:+-]*)?"
    r"|-pthread|-pipe|-ansi|-pedantic(?:-errors)?|-nostdinc(?:\+\+)?|-stdlib=[\w+]+|--target=[\w.-]+"
    r"|--param=[\w=-]+|-undef|-E[BL]",
    re.DOTALL,
)


@dataclass(frozen=True)
class RepairProof:
    """Whether the line defines the symbol, and what happened if it doesn't."""

    proven: bool
    detail: str = ""


def prove(directive: str, mangled: str, compilation: Compilation) -> RepairProof:
    """Compile the source with ``directive`` behind it, elsewhere, and look for ``mangled`` in the object."""
    return judged(defined_by(directive, compilation), mangled)


def judged(names: set[bytes] | RepairProof, mangled: str) -> RepairProof:
    """Whether ``mangled`` is among what :func:`defined_by` gave, and what is there in its place."""
    if isinstance(names, RepairProof):
        return names
    if mangled.encode() in names:
        return RepairProof(True)
    text = demangle(mangled)
    alike = [one.decode() for one in names if demangle(one.decode("utf-8", "replace")) == text]
    if alike:
        return RepairProof(False, f"this compiler calls it {alike[0]}: the user was built by another one")
    return RepairProof(False, "the object doesn't define it")


def defined_by(directive: str, compilation: Compilation) -> set[bytes] | RepairProof:
    """What the object defines with ``directive`` behind its source; a failed proof without a compiler."""
    done = compiled(compilation.source.read_bytes() + f"\n{directive}\n".encode(), compilation)
    if isinstance(done, RepairProof):
        return done
    return done.names if done.names is not None else RepairProof(False, done.refusal)


@dataclass(frozen=True)
class Compiled:
    """What an object defines; None where the compiler refuses: its words, and the lines that they name."""

    names: set[bytes] | None
    refusal: str = ""
    lines: frozenset[int] = frozenset()


def compiled(text: bytes, compilation: Compilation) -> Compiled | RepairProof:
    """Compile ``text`` as if it stood in the compilation's source, which is not touched.

    A failed proof where no compiler is run. The optimization is that of the build: without it the compiler
    emits implicit instances too, which prove nothing, because at -O3 they are inlined and gone.
    """
    with tempfile.TemporaryDirectory(prefix="q8a8-proof-") as name:
        folder = Path(name)
        source = folder / f"proof{compilation.source.suffix}"
        source.write_bytes(text)
        out = folder / "proof.o"
        arguments = _understood(compilation)
        if isinstance(arguments, RepairProof):
            return arguments
        # quoted includes are looked for beside the source, as ever
        beside = ["-iquote", str(compilation.source.parent)]
        command = [*arguments[:1], *beside, *arguments[1:], "-w", "-g0", "-c", str(source), "-o", str(out)]
        try:
            done = processes.run(command, folder=compilation.folder, env=building(), seconds=TIMEOUT)
        except processes.ProcessError as why:
            return RepairProof(False, f"the compiler {why.message}")
        if done.code:
            error = next((line for line in done.errors.splitlines() if "error" in line), "without a word")
            error = error.strip().replace(str(source), compilation.source.name)
            numbers = re.findall(rf"{re.escape(str(source))}:(\d+)", done.errors)
            return Compiled(None, f"the compiler refuses it: {error}", frozenset(map(int, numbers)))
        return Compiled({one.name for unit in members(out) for one in unit.symbols if one.defined})


def _understood(compilation: Compilation) -> list[str] | RepairProof:
    """The compiler, and those of its arguments that are in a list; without input, output, dependencies.

    A failed proof for a compiler that isn't this machine's, and for an argument that nobody here knows:
    there are many by which a compiler runs something else (``-wrapper``, ``-B``, ``-fplugin``, ``-specs``,
    ``@FILE``, ``-fmodule-mapper``).
    """
    words = list(compilation.arguments)
    while words and Path(words[0]).name in _LAUNCHERS:
        words.pop(0)
    program = installed_program(words[0], compilation.folder) if words else None
    if program is None:
        named = words[0] if words else "nothing"
        return RepairProof(False, f"{named} is none that is installed; what came with a build is not run")
    kept, rest = [program], words[1:]
    while rest:
        word = rest.pop(0)
        if word in ("-o", "-MF", "-MT", "-MQ"):
            rest = rest[1:]
        elif word in ("-c", "-MD", "-MMD", "-MP", "-Winvalid-pch", "--") or _is_source(word, compilation):
            continue
        elif word in _PAIRS and rest:
            kept += [word, rest.pop(0)]
        elif _JOINED.fullmatch(word):
            kept.append(word)
        else:
            return RepairProof(False, f"{word}: an argument of its compile command that is not known here")
    return kept


def _is_source(word: str, compilation: Compilation) -> bool:
    return not word.startswith("-") and (compilation.folder / word).resolve() == compilation.source.resolve()
