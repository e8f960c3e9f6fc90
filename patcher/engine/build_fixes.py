"""The catalogue of build fixes, ``patches/fixes/*.toml``: edits of upstream's code that some machines need,
or are faster with.

Each says by what it is noticed, what causes it, whom it affects and where it was reported. Whether this
compiler is affected is found out by asking it, and whether a tree still needs the fix by planning it.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from patcher.base import processes
from patcher.base.environment import asked
from patcher.base.errors import ShippedFileError, UsageError
from patcher.base.machine import cpu_flags
from patcher.base.resources import resource_dir
from patcher.engine.patchset import Edit, Group, PatchSet, edit_from_table
from patcher.engine.plan import State
from patcher.engine.planning import make_plan
from patcher.engine.tree import Tree
from patcher.engine.type_file import SHIPPED

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROBE_SECONDS = 60.0


@dataclass(frozen=True)
class Probe:
    """A source that a compiler without the fault turns into assembly in which ``keeps`` is found."""

    flags: tuple[str, ...]
    source: str
    keeps: str

    def fails(self, compiler: str) -> bool | None:
        """Whether ``compiler`` has the fault; None where it can't compile the source at all."""
        with tempfile.TemporaryDirectory(prefix="q8a8-probe-") as folder:
            place = Path(folder) / "probe.cpp"
            place.write_text(self.source, encoding="utf-8")
            command = [compiler, "-std=c++17", *self.flags, "-S", "-o", "-", str(place)]
            try:
                done = processes.run(command, env=asked(), seconds=PROBE_SECONDS, output=16 << 20)
            except processes.ProcessError:
                return None
        return re.search(self.keeps, done.text) is None if done.code == 0 else None


@dataclass(frozen=True)
class BuildFix:
    """One entry of the catalogue."""

    name: str
    title: str  # what goes wrong
    subject: str  # of a commit that mends it
    symptom: str
    cause: str
    affected: str
    report: str  # where upstream knows of it
    workaround: str  # an argument of build that does without the fix
    signals: tuple[str, ...]  # by which programs die of it
    cpu: tuple[str, ...]  # the processor's features, all of them
    probe: Probe | None  # None: no fault of a compiler's, so nobody needs it and everybody may want it
    edits: tuple[Edit, ...]

    def is_met_by(self, compiler: str) -> bool:
        """Whether a native build by ``compiler`` on this machine needs the fix."""
        return self.probe is not None and set(self.cpu) <= cpu_flags() and self.probe.fails(compiler) is True

    def state(self, tree: Tree, patchset: PatchSet) -> State:
        """What the fix is in ``tree``: missing, present, not needed (any more), or in conflict."""
        plan = make_plan(tree, replace(patchset, edits=self.edits))
        if plan.conflicts:
            return State.CONFLICT
        if plan.missing:
            return State.MISSING
        there = any(edit.state in (State.PRESENT, State.APPLIED) for edit in plan.edits)
        return State.PRESENT if there else State.NOT_NEEDED

    @property
    def remedy(self) -> str:
        """What to do, for people, where the type that ships is carried."""
        return self.remedy_beside(SHIPPED[0])

    def remedy_beside(self, type_name: str) -> str:
        """What to do, for people who carry the type ``type_name``: a name, or its file."""
        chosen = "" if type_name in SHIPPED else f" --type {type_name}"
        return (
            f"'q8a8-patch apply{chosen} --with-fix {self.name}' and build again,"
            f" or build with {self.workaround}"
        )

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.name,
            "title": self.title,
            "symptom": self.symptom,
            "cause": " ".join(self.cause.split()),
            "affected": self.affected,
            "report": self.report,
            "workaround": self.workaround,
            "optional": self.probe is None,
        }


def catalogue() -> dict[str, BuildFix]:
    """Every fix by its name. Raises :class:`PatcherError` where one is malformed."""
    places = sorted((resource_dir("patches") / "fixes").glob("*.toml"))
    return {place.stem: _read(place) for place in places}


def find(name: str) -> BuildFix:
    """The fix of that name. Raises :class:`UsageError`, which names all, where there is none."""
    known = catalogue()
    if name not in known:
        raise UsageError(f"--with-fix {name}: no such fix", hint=f"there are: {', '.join(known)}")
    return known[name]


def with_fixes(patchset: PatchSet, names: Iterable[str]) -> PatchSet:
    """The patch set and the fixes named, each a group of its own at the end."""
    fixes = [find(name) for name in dict.fromkeys(names)]
    groups = [Group(fix.name, fix.subject, f"{fix.cause.strip()}\n\n{fix.report}") for fix in fixes]
    edits = [edit for fix in fixes for edit in fix.edits]
    return replace(patchset, groups=(*patchset.groups, *groups), edits=(*patchset.edits, *edits))


def wanted(tree: Tree, patchset: PatchSet, compiler: str) -> list[BuildFix]:
    """The fixes that a native build of ``tree`` by ``compiler`` on this machine needs and doesn't have."""
    met = [fix for fix in catalogue().values() if fix.is_met_by(compiler)]
    return [fix for fix in met if fix.state(tree, patchset) is State.MISSING]


def is_native(cmake_args: Sequence[str], *, cross: bool) -> bool:
    """Whether a build is for this machine's own processor, as llama.cpp's are where nobody says otherwise."""
    settings = re.findall(r"-D\s*GGML_NATIVE(?::\w+)?=(\w+)", " ".join(cmake_args))
    off = bool(settings) and settings[-1].upper() in ("OFF", "0", "NO", "FALSE", "N")
    return not off and not cross


def advice(signal_name: str, program: Path) -> str | None:
    """What is known of a built ``program`` that died of ``signal_name``: the fix, and the way around it."""
    for fix in catalogue().values():
        if fix.probe is None or signal_name not in fix.signals or not set(fix.cpu) <= cpu_flags():
            continue
        compiler = _compiler_of(program.resolve().parent.parent)
        if compiler is not None and fix.probe.fails(compiler) is True:
            return f"known: {fix.title}; {fix.remedy}"
    return None


def _compiler_of(build_dir: Path) -> str | None:
    """The C++ compiler of a CMake build folder."""
    try:
        text = (build_dir / "CMakeCache.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.+)$", text, re.MULTILINE)
    return found[1] if found else None


def _read(place: Path) -> BuildFix:
    where = f"patches/fixes/{place.name}"
    try:
        table = tomllib.loads(place.read_text(encoding="utf-8"))
        probe = table.pop("probe", None)
        edits = [edit_from_table({"group": place.stem, **edit}, where) for edit in table.pop("edit")]
        facts: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
        }
        asked = Probe(tuple(probe["flags"]), probe["source"], probe["keeps"]) if probe else None
        fix = BuildFix(probe=asked, edits=tuple(edits), **facts)
    except (OSError, ValueError, KeyError, TypeError) as why:
        raise ShippedFileError(f"{where}: {why}") from why
    if fix.name != place.stem:
        raise ShippedFileError(f"{where}: looked for the fix {place.stem}, found {fix.name}")
    return fix
