"""An evaluation for a processor that isn't here: cross-built, run under qemu-user, instructions counted.

An emulator's time says nothing of the real processor's. What it does tell: that the results are right,
and how many instructions the processor would execute. Instructions a token are the difference of two runs
of different length, so that loading the model is no part of them.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patcher.base import hashing, processes
from patcher.base.cache import cache_dir
from patcher.base.environment import asked
from patcher.base.errors import BuildError, UsageError
from patcher.base.files import made_whole, write_whole
from patcher.base.packages import install_hint
from patcher.base.progress import SILENT, Reporter
from patcher.base.stages import StageCache
from patcher.build import BuildRequest, Built, build
from patcher.engine.patchset import load
from patcher.evaluate.measure.models import Model
from patcher.programs import llama_perplexity
from patcher.programs.folder import Programs

TARGETS = ("llama-perplexity", "test-quantize-fns")
_COMPILER = "aarch64-linux-gnu-g++"
_LOADER = "ld-linux-aarch64.so.1"  # what every program for it names as its interpreter, below /lib
# i8mm and dotprod are what Q8 kernels use; OpenMP's waiting threads would be counted too
SETTINGS = ("-DGGML_NATIVE=OFF", "-DGGML_CPU_ARM_ARCH=armv8.6-a+dotprod+i8mm+fp16", "-DGGML_OPENMP=OFF")
LABEL = "instructions executed under qemu-user, no measure of time"
_HERE = Path(__file__).parent
_API_SINCE = {9: 2}  # qemu's first major version that refuses plugins of an older interface -> its version
_FEW, _MORE = 1, 3  # chunks
_BYTES_PER_TOKEN = 16  # of text; tokens of any language are shorter on average


@dataclass(frozen=True)
class Emulator:
    """qemu-user with the counting plugin, and the folder that stands for ``/`` of the other processor."""

    program: Path
    plugin: Path
    root: Path

    def launcher(self, count: Path | None) -> tuple[str, ...]:
        """What stands before a program; with ``count``, its instructions are written there."""
        plugin = ("-plugin", f"{self.plugin},out={count}") if count is not None else ()
        return (str(self.program), "-cpu", "max", "-L", str(self.root), *plugin)


def emulator() -> Emulator:
    """qemu-aarch64 and the plugin, compiled where it isn't in the cache. Raises :class:`UsageError` or
    :class:`BuildError` with what to install."""
    for name in (_COMPILER, "qemu-aarch64"):
        if shutil.which(name) is None and not (name.startswith("qemu") and shutil.which(f"{name}-static")):
            raise UsageError(
                f"--cross aarch64: looked for {name} on PATH, found none", hint=install_hint(name)
            )
    program = Path(shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static") or "")
    said = _asked([program, "--version"], 60.0).text
    numbers = re.search(r"version (\d+)\.", said)
    major = int(numbers[1]) if numbers else 0
    version = max([1, *(api for since, api in _API_SINCE.items() if major >= since)])
    source = _HERE / "instruction_count.c"
    plugin = cache_dir("evaluate") / f"count-{version}-{hashing.of_file(source)[:12]}.so"
    if not plugin.is_file():
        with made_whole(plugin) as draft:
            command: list[str | Path] = [
                "cc",
                "-O2",
                "-shared",
                "-fPIC",
                f"-DPLUGIN_VERSION={version}",
                str(source),
                "-o",
                str(draft),
            ]
            done = _asked(command, 120.0)
            if done.code != 0:
                raise BuildError(
                    f"{source}: does not compile ({done.errors.strip().splitlines()[:1]})",
                    hint="install a C compiler that makes programs of this machine, as build-essential of"
                    " Debian has it",
                )
    return Emulator(program, plugin, system_root())


def system_root() -> Path:
    """Where the cross compiler's libraries lie as they would below ``/``: distributions have them in several
    places, the compiler knows its own. Raises :class:`BuildError` where it has none."""
    said = _asked([_COMPILER, f"-print-file-name={_LOADER}"], 60.0).text.strip()
    loader = Path(os.path.normpath(said))
    for folder in loader.parents if loader.is_absolute() else ():
        if (folder / "lib" / _LOADER).exists():
            return folder
    raise BuildError(
        f"{_COMPILER}: looked for the C library's {_LOADER} beside it, found {said or 'nothing'}",
        hint="install the C library for aarch64, on Debian libc6-dev-arm64-cross",
    )


def _asked(command: list[str | Path], seconds: float) -> processes.Ended:
    try:
        return processes.run(command, env=asked(), seconds=seconds)
    except processes.ProcessError as why:
        raise BuildError(f"{command[0]}: {why.message}", hint=why.hint) from why


def cross_build(
    tree: Path, build_dir: Path, *, jobs: int | None = None, reporter: Reporter = SILENT
) -> Built:
    """Build ``tree`` for aarch64 with our toolchain file. Raises what :func:`patcher.build.build` raises."""
    request = BuildRequest(
        tree, build_dir, TARGETS, jobs, cmake_args=SETTINGS, toolchain=_HERE / "aarch64.cmake"
    )
    return build(request, reporter=reporter)


@dataclass(frozen=True)
class Emulated:
    """One model under the emulator: perplexity over a few chunks, instructions a token of the prompt."""

    perplexity: float
    error: float | None
    chunks: int
    instructions_per_token: float
    running: tuple[float, ...] = ()  # the perplexity after each chunk


def correctness(found: Programs) -> str:
    """Run ``test-quantize-fns`` under the emulator; what it tested. Raises ChildError where it fails, and
    :class:`BuildError` where it doesn't know our type."""
    ran = found.run("test-quantize-fns", [])
    tested = re.findall(r"^Testing (\w+)", ran.text, re.MULTILINE)
    name = load().type.name
    if name not in tested:
        raise BuildError(
            f"test-quantize-fns: looked for {name} among its types, found {', '.join(tested) or 'none'}",
            hint="the tree doesn't have the type: 'q8a8-patch apply'",
        )
    return f"{len(tested)} types right, {name} among them"


def measure(
    cache: StageCache, emulated: Emulator, folder: Path, model: Model, text: Path, context: int
) -> Emulated:
    """Perplexity and instructions a token, each run a cached stage."""
    text = excerpt(text, _MORE * context)
    few = _run(cache, emulated, folder, model, text, context, _FEW)
    more = _run(cache, emulated, folder, model, text, context, _MORE)
    per_token = (more["instructions"] - few["instructions"]) / ((_MORE - _FEW) * context)
    return Emulated(more["perplexity"], more["error"], _MORE, per_token, tuple(more.get("running", ())))


def excerpt(text: Path, tokens: int) -> Path:
    """The beginning of ``text`` that holds ``tokens``, in the cache: to take a whole book apart would be most
    of an emulated run."""
    with text.open("rb") as file:
        begun = file.read(tokens * _BYTES_PER_TOKEN).decode("utf-8", "ignore")
    place = cache_dir("evaluate") / f"excerpt-{hashing.of_text(begun)[:16]}.txt"
    if not place.is_file():
        write_whole(place, begun)
    return place


def _run(
    cache: StageCache, emulated: Emulator, folder: Path, model: Model, text: Path, context: int, chunks: int
) -> dict[str, Any]:
    programs = Programs(folder, emulated.launcher(None))
    inputs = {
        "programs": programs.digest,
        "launcher": list(programs.launcher),
        "model": model.sha256,
        "text": hashing.of_file(text),
        "context": context,
        "chunks": chunks,
    }

    def run() -> dict[str, Any]:
        count = cache_dir("evaluate") / f"count-{hashing.of_values(inputs)[:16]}.txt"
        counted = Programs(folder, emulated.launcher(count))
        try:
            ran = counted.run(
                "llama-perplexity",
                [
                    "-m",
                    model.path,
                    "-f",
                    text,
                    "-c",
                    str(context),
                    "--chunks",
                    str(chunks),
                    "-t",
                    "1",
                    "--no-warmup",
                ],
            )
            instructions = int(count.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError) as why:
            raise BuildError(
                f"{emulated.plugin}: looked for its count of instructions, found none",
                hint="run the same command again; where that is no help, install another release of QEMU",
            ) from why
        finally:
            count.unlink(missing_ok=True)
        found = llama_perplexity.parse(ran.text, f"llama-perplexity {model.variant.label}")
        return {
            "perplexity": found.value,
            "error": found.error,
            "running": list(found.running),
            "instructions": instructions,
        }

    return cache.run("emulated", inputs, run)
