"""A compiler driver's command line: what is the linker's is taken from it, and little of it asked.

The driver adds folders, start files and libraries of its own, which only it knows. But a driver obeys
dozens of options that make it read or run something (``-specs``, ``-B``, ``-wrapper``, ``-fplugin``,
``@FILE``, ``--config``), in ``-###`` too, so that it never sees the words of a build: it is asked with an
object of ours in an empty folder, and with those flags alone that are in a list here. Everything else is
put where it would stand.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from patcher.base import processes
from patcher.base.environment import asked
from patcher.base.errors import UsageError
from patcher.symbols.ldconfig import read_file

TIMEOUT = 60.0  # seconds for a program that only prints
MEMORY = 2 << 30
MAX_WORDS = 1_000_000
MAX_DEPTH = 8  # of response files in response files

# What changes which folders, start files and libraries a driver adds, and is no path and no program.
_ASKED = re.compile(
    r"-shared|-static|-static-pie|-r|-pie|-no-pie|-nopie|-rdynamic|-pthread|-pg?|--?coverage"
    r"|-nostdlib|-nostdlib\+\+|-nodefaultlibs|-nostartfiles|-nolibc"
    r"|-(?:static|shared)-(?:libgcc|libstdc\+\+|libgfortran|libasan|libtsan|libubsan|openmp)"
    r"|-fopenmp(?:=lib\w+)?|-fopenacc|-fprofile-(?:arcs|generate)|-f(?:no-)?sanitize=[\w,-]+"
    r"|-stdlib=lib(?:std)?c\+\+|--?(?:rtlib|unwindlib)=[\w-]+|--target=[\w.-]+"
    r"|-m(?:32|64|x32|thumb|arm|soft-float|hard-float|(?:big|little)-endian)"
    r"|-m(?:arch|cpu|tune|abi|fpu|float-abi|cmodel)=[\w.+-]+"
)
# The linker's own, which the driver hands on: joined to the value, or before it.
_HANDED_ON = re.compile(r"-([LluTze])(.*)", re.DOTALL)
# Of the rest, those whose value is the next word.
_VALUED_NAMES = (
    "-specs --specs -B --prefix -wrapper --config -x -I -D -U -A -MF -MT -MQ -include -imacros -isystem"
    " -iquote -idirafter -iprefix -iwithprefix -isysroot -arch -mllvm -Xclang -Xassembler -Xpreprocessor"
    " -Xarch_host -Xcuda-ptxas -aux-info -dumpbase -dumpdir -dumpbase-ext --param -framework -G"
    " -gcc-toolchain -ccc-gcc-name -fplugin -working-directory"
)
_VALUED = frozenset(_VALUED_NAMES.split())
# Those that would have changed what is run, or linked: left out, and said.
_CHANGING = re.compile(
    r"-{1,2}specs(?:=.*)?|-B.*|--prefix(?:=.*)?|-wrapper|--config(?:[=-].*)?|-f(?:pass-)?plugin(?:[=-].*)?"
    r"|-(?:-)?gcc-toolchain(?:=.*)?|-ccc-.*|-Xclang|-mllvm|--driver-mode=.*",
    re.DOTALL,
)
_SOURCE = re.compile(r"\.(?:c|cc|cp|cpp|cxx|c\+\+|C|CPP|i|ii|m|mm|f|for|F|f90|F90|s|S|sx|cu|go|d|adb)\Z")


@dataclass
class Taken:
    """A driver's words, sorted."""

    ask: list[str] = field(default_factory=list)  # of the driver
    early: list[str] = field(default_factory=list)  # of the linker, before its folders
    folders: list[str] = field(default_factory=list)  # -L
    inputs: list[str] = field(default_factory=list)  # files, libraries and what stands among them
    output: str = "a.out"
    left_out: list[str] = field(default_factory=list)  # what would have changed the driver
    sources: list[str] = field(default_factory=list)  # what the driver would compile


def take_apart(words: list[str], folder: Path) -> Taken:
    """Sort the words behind the driver's name; ``folder`` is where response files are relative to."""
    taken = Taken()
    todo = list(reversed(_expanded(words, folder, 0)))

    def value() -> str:
        return todo.pop() if todo else ""

    while todo:
        word = todo.pop()
        handed_on = _HANDED_ON.fullmatch(word)
        if not word.startswith("-") or word == "-":
            taken.inputs.append(word)
            if _SOURCE.search(word):
                taken.sources.append(word)
        elif word.startswith("-Wl,"):
            taken.inputs += word.split(",")[1:]
        elif word in ("-Xlinker", "--for-linker"):
            taken.inputs.append(value())
        elif word in ("-o", "--output"):
            taken.output = value()
        elif word in ("-target", "--sysroot"):
            _with_value(taken, f"-{word}" if word == "-target" else word, value(), folder)
        elif word.startswith("--sysroot="):
            _with_value(taken, "--sysroot", word.partition("=")[2], folder)
        elif _ASKED.fullmatch(word):
            taken.ask.append(word)
        elif handed_on and word != "-Tdata":
            _hand_on(taken, handed_on[1], handed_on[2] or value())
        elif word.startswith("-o") and len(word) > 2:
            taken.output = word[2:]
        else:
            if _CHANGING.fullmatch(word):
                taken.left_out.append(word)
            if word in _VALUED:
                value()
    return taken


def _with_value(taken: Taken, name: str, value: str, folder: Path) -> None:
    if name == "--sysroot":
        taken.ask.append(f"--sysroot={folder / value}")
    elif _ASKED.fullmatch(f"{name}={value}"):
        taken.ask.append(f"{name}={value}")


def _hand_on(taken: Taken, letter: str, value: str) -> None:
    if letter == "L":
        taken.folders.append(f"-L{value}")
    elif letter == "l":
        taken.inputs.append(f"-l{value}")
    else:
        taken.early += [f"-{letter}", value]


def _expanded(words: list[str], folder: Path, depth: int) -> list[str]:
    """Response files (``@FILE``), which CMake writes for long lines, put in."""
    out: list[str] = []
    for word in words:
        text = read_file(folder / word[1:]) if word.startswith("@") and depth < MAX_DEPTH else b""
        if not text:
            out.append(word)
            continue
        try:
            inner = shlex.split(text.decode("utf-8", "surrogateescape"))
        except ValueError as why:
            raise UsageError(f"{folder / word[1:]}: looked for words of a command line ({why})") from why
        out += _expanded(inner, folder, depth + 1)
        if len(out) > MAX_WORDS:
            raise UsageError(f"{folder / word[1:]}: holds more than {MAX_WORDS} words")
    return out


def linker_words(driver: str, taken: Taken) -> list[str]:
    """What the linker gets, its own name left out. Raises :class:`UsageError` where the driver won't say."""
    with tempfile.TemporaryDirectory(prefix="q8a8-patch-driver-") as name:
        mark = Path(name) / "q8a8-patch-input.o"
        mark.touch()
        command = [driver, "-###", *taken.ask, "-o", "q8a8-patch-output", str(mark)]
        try:
            done = processes.run(
                command, folder=Path(name), env=asked(TMPDIR=name), seconds=TIMEOUT, memory=MEMORY
            )
        except processes.ProcessError as why:
            raise UsageError(
                f"{driver}: looked for the compiler of the link command ({why.message})",
                hint="run it where it was built",
            ) from why
    for line in reversed(done.errors.splitlines()):
        try:
            printed = shlex.split(line)
        except ValueError:
            continue
        if str(mark) in printed[1:]:
            return _put_in(printed[1:], str(mark), taken)
    said = (done.errors.strip().splitlines() or ["nothing"])[-1]
    raise UsageError(f"{driver} -###: looked for the linker's arguments, found: {said}")


def _put_in(printed: list[str], mark: str, taken: Taken) -> list[str]:
    """The words of the build in the places of ours."""
    words = list(taken.early)
    folders = list(taken.folders)
    for at, word in enumerate(printed):
        if at and printed[at - 1] == "-o":
            words.append(taken.output)
        elif word == mark:
            words += [*folders, *taken.inputs]
            folders = []
        else:
            if word.startswith("-L"):  # the build's own come before the driver's
                words += folders
                folders = []
            words.append(word)
    return words
