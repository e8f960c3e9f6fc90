"""CMake's side of a build: which options, which folder, and when to configure afresh."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from patcher.base.cache import cache_dir
from patcher.base.environment import building
from patcher.base.errors import UsageError
from patcher.base.files import write_whole
from patcher.build.toolchain import Toolchain

DEFAULT_TARGETS = (
    "llama-quantize",
    "llama-perplexity",
    "llama-bench",
    "test-quantize-fns",
    "test-backend-ops",
)
MARKER = "q8a8-patch.json"
LOG = "q8a8-patch.log"
_LINKER_FLAGS = ("CMAKE_EXE_LINKER_FLAGS", "CMAKE_SHARED_LINKER_FLAGS", "CMAKE_MODULE_LINKER_FLAGS")


STATS_TARGET = "llama-q8a8-stats"
# what llama.cpp makes only together with its server: since 2026 the plain command line is a client of it
_SERVERS = ("llama-cli", "llama-server")


def default_targets(root: Path) -> tuple[str, ...]:
    """What is built where nobody says: the programs that are used, and those of ours that the tree has."""
    ours = any((root / folder / "q8a8-stats").is_dir() for folder in ("tools", "examples"))
    return (*DEFAULT_TARGETS, STATS_TARGET) if ours else DEFAULT_TARGETS


@dataclass(frozen=True)
class BuildRequest:
    """What to build, of which tree, where and how."""

    root: Path
    build_dir: Path
    targets: tuple[str, ...] = DEFAULT_TARGETS
    jobs: int | None = None
    cmake_args: tuple[str, ...] = ()
    allow_shlib_undefined: bool = False
    launcher: str = "auto"
    toolchain: Path | None = None
    build_type: str = "Release"


def default_build_dir(root: Path) -> Path:
    """The tree's own folder in the cache: builds never go into the tree."""
    root = root.resolve()
    key = hashlib.sha256(str(root).encode()).hexdigest()[:12]
    return cache_dir("builds") / f"{root.name}-{key}"


def prepare_build_dir(request: BuildRequest) -> Path:
    """The absolute build folder, made. Raises :class:`UsageError` where it lies in the tree or is in use."""
    root, folder = request.root.resolve(), request.build_dir.resolve()
    if folder.is_relative_to(root):
        raise UsageError(f"{folder}: lies in the source tree {root}", hint="name a --build-dir outside of it")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file", hint="name another --build-dir")
    folder.mkdir(parents=True, exist_ok=True)
    cache = folder / "CMakeCache.txt"
    if cache.is_file():
        home = re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", cache.read_text(errors="replace"), re.M)
        if home is not None and Path(home.group(1)).resolve() != root:
            raise UsageError(
                f"{folder}: is the build folder of {home.group(1)}, not of {root}",
                hint="name another --build-dir",
            )
    if not (folder / MARKER).is_file() and any(folder.iterdir()):
        # configuring afresh drops settings: those of a build folder made by hand are not ours to drop
        raise UsageError(
            f"{folder}: is neither empty nor a folder that q8a8-patch builds in",
            hint="name another --build-dir",
        )
    return folder


def cmake_command(request: BuildRequest, folder: Path, tools: Toolchain) -> list[str]:
    """The configure command. The user's own ``--cmake-arg`` come last, so that they win."""
    options = {
        "CMAKE_BUILD_TYPE": request.build_type,
        "CMAKE_MAKE_PROGRAM": str(tools.ninja),
        "CMAKE_EXPORT_COMPILE_COMMANDS": "ON",
        "BUILD_SHARED_LIBS": "ON",
        "GGML_CCACHE": "OFF",  # the launcher is ours to set: both would call ccache twice
        "LLAMA_CURL": "OFF",
        "LLAMA_OPENSSL": "OFF",
        "LLAMA_BUILD_SERVER": "ON" if set(request.targets) & set(_SERVERS) else "OFF",
        "LLAMA_BUILD_UI": "OFF",  # the server's page would be made with npm, or downloaded in the middle
        "LLAMA_USE_PREBUILT_UI": "OFF",
        # until May 2025 the tools lay among the examples
        "LLAMA_BUILD_EXAMPLES": "OFF" if (request.root / "tools" / "quantize").is_dir() else "ON",
        "LLAMA_BUILD_TOOLS": "ON",
        "LLAMA_BUILD_TESTS": "ON" if any(name.startswith("test-") for name in request.targets) else "OFF",
    }
    if tools.launcher is not None:
        options["CMAKE_C_COMPILER_LAUNCHER"] = options["CMAKE_CXX_COMPILER_LAUNCHER"] = str(tools.launcher)
    if request.toolchain is not None:
        if not request.toolchain.is_file():
            raise UsageError(
                f"{request.toolchain}: looked for a CMake toolchain file, found none",
                hint="name the .cmake file with --toolchain",
            )
        options["CMAKE_TOOLCHAIN_FILE"] = str(request.toolchain.resolve())
    arguments, own = _split(request.cmake_args)
    for variable in _LINKER_FLAGS:
        flags = [
            *linker_flags(variable, allow_undefined=request.allow_shlib_undefined),
            os.environ.get("LDFLAGS", ""),  # which CMake would have used, had we set none
            own.get(variable, ""),
        ]
        options[variable] = " ".join(flag for flag in flags if flag)
    settings = [f"-D{name}={value}" for name, value in options.items()]
    base = [str(tools.cmake), "-S", str(request.root.resolve()), "-B", str(folder), "-G", "Ninja"]
    return [*base, "--no-warn-unused-cli", *settings, *arguments]


def linker_flags(variable: str, *, allow_undefined: bool, platform: str = sys.platform) -> list[str]:
    """What makes the linker refuse (or let pass) undefined symbols, for one type of target."""
    if platform == "win32":
        return []  # link.exe always refuses
    if platform == "darwin":
        return ["-Wl,-undefined,dynamic_lookup" if allow_undefined else "-Wl,-undefined,error"]
    if allow_undefined:
        return ["-Wl,--allow-shlib-undefined"]
    strict = ["-Wl,--no-allow-shlib-undefined"]
    return strict if variable == "CMAKE_EXE_LINKER_FLAGS" else [*strict, "-Wl,-z,defs"]


def _split(arguments: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """The user's arguments without those that set linker flags, and those: both are to count."""
    rest: list[str] = []
    flags: dict[str, str] = {}
    for argument in arguments:
        found = re.match(r"-D(\w+)(?::\w+)?=(.*)", argument, re.DOTALL)
        if found and found.group(1) in _LINKER_FLAGS:
            flags[found.group(1)] = found.group(2)
        else:
            rest.append(argument)
    return rest, flags


def needs_configuring(folder: Path, command: list[str]) -> bool:
    """Whether the folder was configured by another command, or never; old settings are then dropped.

    CMake remembers every ``-D`` it was ever given: without this, an option that was taken back stays.
    """
    marker = folder / MARKER
    known = _known(folder)
    if known == command and (folder / "build.ninja").is_file():
        return False
    if not marker.is_file() and (folder / "CMakeCache.txt").exists():
        raise UsageError(
            f"{folder}: was configured by somebody else, and is left as it is",
            hint="name another --build-dir",
        )
    (folder / "CMakeCache.txt").unlink(missing_ok=True)
    shutil.rmtree(folder / "CMakeFiles", ignore_errors=True)
    write_whole(marker, json.dumps({"configure": None}))
    return True


def _known(folder: Path) -> list[str] | None:
    """The command that configured ``folder``; None for none, or one that was cut off."""
    try:
        known = json.loads((folder / MARKER).read_text(encoding="utf-8"))["configure"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known if isinstance(known, list) and all(isinstance(word, str) for word in known) else None


def recorded_tools(folder: Path) -> Toolchain | None:
    """What ``folder`` was configured with, where CMake and Ninja are still there.

    A build is gone on with by the same programs: for another CMake, or a ccache that was installed meanwhile,
    everything would be compiled again.
    """
    known = _known(folder)
    values = _settings(known or [])
    ninja, launcher = values.get("CMAKE_MAKE_PROGRAM"), values.get("CMAKE_CXX_COMPILER_LAUNCHER")
    if not known or ninja is None or not all(os.access(name, os.X_OK) for name in (known[0], ninja)):
        return None
    return Toolchain(Path(known[0]), Path(ninja), Path(launcher) if launcher else None)


def _settings(command: Iterable[str]) -> dict[str, str]:
    found = (re.match(r"-D(\w+)(?::\w+)?=(.*)", word, re.DOTALL) for word in command)
    return {match[1]: match[2] for match in found if match}


def difference(folder: Path, command: list[str]) -> str | None:
    """Why ``folder`` is configured anew by ``command``: what is other than it was; None where it is new, or
    nothing is."""
    known = _known(folder)
    if known is None or known == command:
        return None
    before, after = _settings(known), _settings(command)
    changed = [
        f"{name} was {before.get(name) or 'unset'}, is {after.get(name) or 'unset'}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    if known[0] != command[0]:
        changed.insert(0, f"CMake was {known[0]}, is {command[0]}")
    return "; ".join(changed) or "its other arguments are not those of before"


def remember(folder: Path, command: list[str]) -> None:
    """Note that ``command`` has configured the folder."""
    document = {"configure": command, "shell": shlex.join(command)}
    write_whole(folder / MARKER, json.dumps(document, indent=1))


def environment(request: BuildRequest, folder: Path) -> dict[str, str]:
    """The environment of a build: allowed names, and ccache told that two copies of a tree are the same."""
    values = building()
    common = os.path.commonpath([request.root.resolve(), folder])
    if Path(common).parent != Path(common):
        values.setdefault("CCACHE_BASEDIR", common)
        values.setdefault("CCACHE_NOHASHDIR", "1")
    return values
