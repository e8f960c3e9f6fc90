"""The small program that calls a type: compiled against a tree, run on its own, its output read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from patcher.base import processes
from patcher.base.environment import building, plain
from patcher.base.errors import BuildError
from patcher.prove.architecture import Architecture

SOURCE = Path(__file__).with_name("harness.c")
SECONDS = 300.0  # a call takes milliseconds at home, a second under an emulator
MEMORY = 4 << 30  # bytes of address space; an emulator reserves its own as it likes
_RECORD = re.compile(rb"(\S+) (u8|f32|text) (\d+)\n")


@dataclass(frozen=True)
class Called:
    """What one call gave: records by name as (form, bytes); ``ended`` is empty, or how it ended instead."""

    records: dict[str, tuple[str, bytes]]
    ended: str = ""
    last_words: str = ""


@dataclass(frozen=True)
class Harness:
    """The program for one tree on one architecture."""

    program: Path
    architecture: Architecture

    def call(self, what: str, source: Path, output: Path, file: Path | None = None) -> Called:
        """Do ``what`` (see ``harness.c``) with the numbers in ``source``.

        Raises :class:`BuildError` where the program can't be run, or comes to no end.
        """
        output.unlink(missing_ok=True)
        words: list[str | Path] = [*self.architecture.launcher, self.program, what, source, output]
        try:
            done = processes.run(
                words if file is None else [*words, file],
                folder=output.parent,
                env=plain(GGML_NO_BACKTRACE="1"),  # or a debugger would be asked
                seconds=SECONDS,
                memory=None if self.architecture.launcher else MEMORY,
                output=16 << 20,
            )
        except processes.ProcessError as why:
            raise BuildError(f"{self.program}: {what}: {why.message}", hint=why.hint) from why
        records = _records(output.read_bytes()) if output.is_file() else {}
        return Called(records, _ended(done.code), _last_words(done.errors))


def compiled(
    root: Path, libraries: Path, enumerator: str, architecture: Architecture, place: Path
) -> Harness:
    """Compile the program for the type ``enumerator`` (``GGML_TYPE_X``) of the tree ``root``.

    ``libraries`` is where its ggml-base and ggml-cpu are. Raises :class:`BuildError` with the first error.
    """
    command = [
        architecture.compiler, "-std=gnu11", "-O1", f"-DTYPE={enumerator}",
        "-I", str(root / "ggml" / "include"), str(SOURCE), "-o", str(place), "-L", str(libraries),
        "-lggml-cpu", "-lggml-base", f"-Wl,-rpath,{libraries}", "-lm",
    ]  # fmt: skip
    try:
        done = processes.run(command, env=building(), seconds=SECONDS, output=16 << 20)
    except processes.ProcessError as why:
        raise BuildError(f"{architecture.compiler}: {why.message}", hint=why.hint) from why
    if done.code != 0:
        errors = [line for line in done.errors.splitlines() if "error" in line or "undefined" in line]
        first = errors[0] if errors else f"{architecture.compiler} ended with {done.code}"
        raise BuildError(
            f"{root}: the program that calls {enumerator} can't be made with its ggml ({first.strip()})",
            hint="its public headers lack what today's ggml has: name a tree from 2025 or later",
        )
    return Harness(place, architecture)


def _last_words(errors: str) -> str:
    """What a program said of why it ended, a backtrace left out."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    said = [line for line in lines if re.search(r"GGML_|[Aa]ssert|harness: |not implemented|fatal", line)]
    return (said or lines or [""])[-1]


def _ended(code: int) -> str:
    """How a program ended that should have ended well."""
    if code == 0:
        return ""
    # an emulator ends with 128 and the number of the signal, or of the signal itself
    signal = -code if code < 0 else code - 128 if code > 128 else 0
    return f"ended by signal {signal}" if signal else f"ended with exit code {code}"


def _records(data: bytes) -> dict[str, tuple[str, bytes]]:
    """What a program wrote, up to where it was cut off."""
    found: dict[str, tuple[str, bytes]] = {}
    place = 0
    while (head := _RECORD.match(data, place)) is not None:
        end = head.end() + int(head[3])
        if end > len(data):
            break
        found[head[1].decode()] = (head[2].decode(), data[head.end() : end])
        place = end
    return found
