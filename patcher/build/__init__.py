"""Configure and build a tree with CMake and Ninja: out of tree, shared libraries, strictly linked."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from patcher.base.errors import BuildError
from patcher.base.machine import memory_bytes, processors
from patcher.base.progress import SILENT, Reporter
from patcher.build import ninja, sources
from patcher.build.configure import (
    DEFAULT_TARGETS,
    LOG,
    BuildRequest,
    cmake_command,
    default_build_dir,
    default_targets,
    difference,
    environment,
    needs_configuring,
    prepare_build_dir,
    recorded_tools,
    remember,
)
from patcher.build.diagnosis import Diagnosis, Explain, diagnose
from patcher.build.toolchain import find_toolchain

__all__ = [
    "DEFAULT_TARGETS",
    "BuildFailedError",
    "BuildRequest",
    "Built",
    "Diagnosis",
    "build",
    "default_build_dir",
    "default_jobs",
    "default_targets",
]

MEMORY_PER_JOB = 1 << 30  # bytes; the largest of llama.cpp's files take about that with GCC


class BuildFailedError(BuildError):
    """CMake, the compiler or the linker failed; ``diagnosis`` says where and why."""

    def __init__(self, diagnosis: Diagnosis, log: Path) -> None:
        hint = f"{diagnosis.hint}; the log lies in {log}" if diagnosis.hint else f"the log lies in {log}"
        super().__init__(diagnosis.text(), hint=hint)
        self.diagnosis = diagnosis
        self.log = log


@dataclass(frozen=True)
class Built:
    """A finished build. ``seconds`` is wall time, configuring included."""

    build_dir: Path
    bin_dir: Path
    targets: tuple[str, ...]
    seconds: float
    compiled: int
    linked: int
    compiler: str
    launcher: str | None
    strict: bool
    log: Path

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        paths = {key: str(getattr(self, key)) for key in ("build_dir", "bin_dir", "log")}
        return {**asdict(self), **paths, "targets": list(self.targets), "seconds": round(self.seconds, 2)}


def default_jobs() -> int:
    """As many compilers at once as there are processors for us, and memory for."""
    memory = memory_bytes()
    return max(1, min(processors(), memory // MEMORY_PER_JOB)) if memory else processors()


def build(request: BuildRequest, *, reporter: Reporter = SILENT, explain: Explain | None = None) -> Built:
    """Configure where needed, build, and say what was done. An interrupted build goes on where it stopped.

    Raises :class:`BuildFailedError` with the first error, :class:`BuildError` where there is no compiler,
    :class:`UsageError` for a build folder that is somebody else's.
    """
    start = time.monotonic()
    folder = prepare_build_dir(request)
    tools = find_toolchain(
        launcher=request.launcher,
        toolchain_file=request.toolchain,
        recorded=recorded_tools(folder),
        reporter=reporter,
    )
    if request.allow_shlib_undefined:
        reporter.warn(
            "--allow-shlib-undefined: undefined symbols are not reported by the linker, the program dies of"
            " them at run time; 'q8a8-patch verify-symbols' still finds them"
        )
    command = cmake_command(request, folder, tools)
    env = environment(request, folder)
    why = difference(folder, command)
    if why is not None:
        reporter.note(f"configured anew: {why}")
    fresh = needs_configuring(folder, command)
    with (folder / LOG).open("w", encoding="utf-8") as log:
        if fresh:
            with reporter.step("Configuring") as step:
                _require(ninja.run(command, folder, env=env, log=log, step=step), log, explain)
            remember(folder, command)
        jobs = request.jobs or default_jobs()
        with reporter.step(f"Building {request.root.name}") as step:
            make = [str(tools.ninja), "-j", str(jobs), *request.targets]
            with sources.as_they_were(request.root, folder):
                done = ninja.run(make, folder, env=env, log=log, step=step)
            tally = _require(done, log, explain)
    for place in ninja.remove_left_over(tools.ninja, folder, env=env):
        reporter.note(f"{place}: belongs to another release and was removed")
    return Built(
        folder,
        folder / "bin",
        request.targets,
        time.monotonic() - start,
        tally.compiled,
        tally.linked,
        compiler_name(folder),
        tools.launcher.name if tools.launcher else None,
        not request.allow_shlib_undefined,
        folder / LOG,
    )


def _require(tally: ninja.Tally, log: IO[str], explain: Explain | None) -> ninja.Tally:
    if tally.code != 0:
        log_path = Path(log.name)
        raise BuildFailedError(diagnose(tally.output, explain, folder=log_path.parent), log_path)
    return tally


def compiler_name(folder: Path) -> str:
    """The C++ compiler and its version, as CMake found it."""
    for place in sorted(folder.glob("CMakeFiles/*/CMakeCXXCompiler.cmake")):
        text = place.read_text(encoding="utf-8", errors="replace")
        found = [re.search(rf'CMAKE_CXX_COMPILER_{key} "([^"]*)"', text) for key in ("ID", "VERSION")]
        names = [match[1] for match in found if match]
        if names:
            return " ".join({"GNU": "GCC"}.get(name, name) for name in names)
    return "unknown compiler"
