"""Which mutations are tried, and the verdict of compiling and running what becomes of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from patcher.engine.plan import State
from patcher.engine.planning import make_plan
from tests.mutations.changes import C_MUTATIONS
from tests.mutations.cmake import CMAKE, CMAKE_MUTATIONS, CMAKE_STYLES
from tests.mutations.mutation import Mutation
from tests.mutations.program import C, Program
from tests.mutations.python import PYTHON, PYTHON_MUTATIONS, PYTHON_STYLES

# harmless in themselves: with any other, what holds for the other alone must hold
_C_STYLES = (
    "tabs",
    "two spaces",
    "no indent",
    "CRLF",
    "BOM",
    "no final newline",
    "trailing comments",
    "blank lines",
)
LANDS, CONFLICT = "lands", "conflict"
# each program's ways to be changed, and those of them that go with any other
PROGRAMS: tuple[tuple[Program, Mapping[str, tuple[Mutation, ...]], tuple[Mutation, ...]], ...] = (
    (C, C_MUTATIONS, tuple(known for known in C_MUTATIONS["the file"] if known.name in _C_STYLES)),
    (PYTHON, PYTHON_MUTATIONS, PYTHON_STYLES),
    (CMAKE, CMAKE_MUTATIONS, CMAKE_STYLES),
)


@dataclass(frozen=True)
class Attempt:
    """Mutations of one program, done one after the other."""

    kind: str
    program: Program
    mutations: tuple[Mutation, ...]

    @property
    def name(self) -> str:
        """What a table calls it."""
        return " + ".join(mutation.name for mutation in self.mutations)

    @property
    def expected(self) -> str:
        """The verdict that it must get."""
        return LANDS if all(mutation.lands for mutation in self.mutations) else CONFLICT

    def files(self) -> dict[str, bytes]:
        """The program, changed, by path."""
        data = self.program.text.encode()
        files: dict[str, bytes] = {}
        for mutation in self.mutations:
            data = mutation.change(data)
        for mutation in self.mutations:
            if mutation.files is not None:
                files.update(mutation.files(data))
        return files or {self.program.paths[0]: data}


def attempts() -> Iterator[Attempt]:
    """Every mutation by itself, then each with some of the styles."""
    for program, kinds, styles in PROGRAMS:
        every = [(kind, mutation) for kind, mutations in kinds.items() for mutation in mutations]
        for kind, mutation in every:
            yield Attempt(kind, program, (mutation,))
        turn = itertools.cycle(styles)
        for kind, mutation in every:
            if mutation in styles or mutation.name.endswith("as it is"):
                continue
            for _ in range(3):
                yield Attempt(kind, program, (mutation, next(turn)))


class Files:
    """A tree of a few files in memory."""

    name = "a few files"

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def read(self, path: str) -> bytes | None:
        """The file's bytes, where there is one."""
        return self._files.get(path)


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Put ``files`` below ``folder``."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def verdict(attempt: Attempt, folder: Path) -> str:
    """``lands``, ``conflict``, or what is wrong. ``folder`` is empty, and left with what was compiled.

    A plan without a conflict is applied, planned once more (nothing must be missing), compiled and run:
    the program checks that the type is everywhere that its sibling is.
    """
    templates = folder / "templates"
    templates.mkdir()
    edits = attempt.program.patchset(templates)
    before = attempt.files()
    plan = make_plan(Files(before), edits)
    if plan.conflicts:
        unclear = [
            edit.detail
            for edit in plan.conflicts
            if "looked for" not in edit.detail or "found" not in edit.detail
        ]
        return f"unclear: {unclear[0]}" if unclear else CONFLICT
    after = {**before, **{file.path: file.after() for file in plan.files}}
    again = make_plan(Files(after), edits)
    if [edit.state for edit in again.edits] != [State.PRESENT] * len(edits.edits):
        return f"not idempotent: {[(edit.edit.id, edit.state.value, edit.detail) for edit in again.edits]}"
    write(after, folder)
    code, said = attempt.program.run(folder)
    if said:
        return f"does not compile: {said[:400]}"
    return LANDS if code == 0 else f"silently wrong: check {code}"
