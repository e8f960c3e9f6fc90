"""The processor against what a build will use of it; disk and memory against what a build needs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from patcher.base.cache import cache_dir
from patcher.base.errors import BuildError
from patcher.base.machine import cpu_flags, memory_bytes, processors
from patcher.build import MEMORY_PER_JOB, default_jobs
from patcher.build.toolchain import require_compiler
from patcher.doctor.check import Examination, Health, said

# bytes. v0.5.0: the package 35 MB, checkout and build of the default targets 0.26 GB, a compiler cache of
# 30 MB; a model of 135 M parameters and its quantized copies 0.6 GB
DISK_NEEDED = 1 << 30

# A feature as Linux names it, the macro of a compiler that uses it: what our kernels ask for, best first.
_X86 = {
    "amx_int8": "__AMX_INT8__",
    "avx512_vnni": "__AVX512VNNI__",
    "avx_vnni": "__AVXVNNI__",
    "avx512f": "__AVX512F__",
    "avx2": "__AVX2__",
}
_ARM = {
    "sve": "__ARM_FEATURE_SVE",
    "i8mm": "__ARM_FEATURE_MATMUL_INT8",
    "asimddp": "__ARM_FEATURE_DOTPROD",
    "asimd": "__ARM_NEON",
}
_DARWIN = {"i8mm": "FEAT_I8MM", "asimddp": "FEAT_DotProd", "asimd": "AdvSIMD"}


def processor() -> Iterator[Examination]:
    """What the processor has, what a native build uses of it, and what a portable one does."""
    arm = platform.machine().lower() in ("aarch64", "arm64", "armv8l")
    known = _ARM if arm else _X86
    flags = cpu_flags() or _darwin_flags()
    have = [flag for flag in known if flag in flags]
    found = ", ".join(have) or ("none that the kernels use" if flags else "features unknown")
    yield Examination("processor", Health.OK, f"{platform.machine()}: {found}")
    try:
        compiler = require_compiler("CXX")
    except BuildError:
        return
    yield _native(compiler, known, have, arm=arm)
    yield _portable(have, arm=arm, known=bool(flags))


def _native(compiler: str, known: dict[str, str], have: list[str], *, arm: bool) -> Examination:
    """``GGML_NATIVE=ON``, which is what a build for this machine is, unless SOURCE_DATE_EPOCH is set."""
    name = "GGML_NATIVE=ON"
    flag = "-mcpu=native" if arm else "-march=native"
    macros = said(compiler, flag, "-dM", "-E", "-x", "c++", os.devnull)
    if not macros:
        return Examination(
            name, Health.WARNING, f"{compiler} doesn't take {flag}", "the build falls back to its default"
        )
    uses = [one for one, macro in known.items() if re.search(rf"^#define {macro}\b", macros, re.MULTILINE)]
    unused = [one for one in have if one not in uses]
    beyond = [one for one in uses if have and one not in have]
    found = f"uses {', '.join(uses) or 'none of these'}"
    if beyond:
        detail = f"the compiler uses {', '.join(beyond)}, which the system doesn't offer: build with it off"
        return Examination(name, Health.WARNING, found, f"{detail} (--cmake-arg=-DGGML_NATIVE=OFF)")
    if unused:
        detail = (
            f"the processor has {', '.join(unused)}, and {compiler} leaves it unused: take a newer compiler"
        )
        return Examination(name, Health.WARNING, found, detail)
    if "SOURCE_DATE_EPOCH" in os.environ:
        detail = "SOURCE_DATE_EPOCH is set, so llama.cpp builds for the oldest processor unless this is said"
        return Examination(name, Health.WARNING, found, f"--cmake-arg=-DGGML_NATIVE=ON; {detail}")
    return Examination(name, Health.OK, found, "what a build here is, unless something else is said")


def _portable(have: list[str], *, arm: bool, known: bool) -> Examination:
    """``GGML_NATIVE=OFF``: llama.cpp's fixed choice, which every machine of some years runs."""
    name = "GGML_NATIVE=OFF"
    base = ["asimd"] if arm else ["avx2"]
    lacks = [one for one in base if known and one not in have]
    if lacks:
        detail = f"the processor lacks {', '.join(lacks)}: such a build dies here; add -DGGML_AVX2=OFF"
        return Examination(name, Health.WARNING, f"uses {', '.join(base)}", detail)
    idle = [one for one in have if one not in base]
    detail = f"leaves {', '.join(idle)} unused: prompts are slower" if idle else ""
    return Examination(name, Health.OK, f"uses {', '.join(base)}", detail)


def _darwin_flags() -> frozenset[str]:
    if sys.platform != "darwin":
        return frozenset()
    lines = said("sysctl", "hw.optional")
    on = {one for one, name in _DARWIN.items() if re.search(rf"{name}: 1$", lines, re.MULTILINE)}
    return frozenset(on)


def room() -> Iterator[Examination]:
    """Free disk where the work and the cache lie; memory for as many compilers as there are processors."""
    yield _disk("disk", Path.cwd(), "the work folder")
    yield _disk("disk of the cache", cache_dir(), "downloads, builds and models")
    memory = memory_bytes()
    limit = _limit()
    if limit is not None and (not memory or limit < memory):
        memory = limit
    if memory:
        jobs = default_jobs()
        enough = memory // MEMORY_PER_JOB
        text = f"{memory / 1e9:.1f} GB, {jobs} compilers at once"
        text += f" on {processors()} processors" if jobs < processors() else ""
        if enough < jobs:
            detail = f"each takes up to {MEMORY_PER_JOB >> 30} GB: build with --jobs {max(1, enough)}"
            yield Examination("memory", Health.WARNING, text, detail)
        else:
            yield Examination("memory", Health.OK, text)


def _disk(name: str, place: Path, what: str) -> Examination:
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:.1f} GB free at {place} ({what})"
    if free >= DISK_NEEDED:
        return Examination(name, Health.OK, found)
    detail = f"a checkout, a build and a small model take about {DISK_NEEDED / 1e9:.1f} GB"
    return Examination(name, Health.WARNING, found, detail)


def _limit() -> int | None:
    """The memory that a container is held to, in bytes; None where there is no limit."""
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(place).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdigit() and int(text) < 1 << 60:  # no limit is "max", or nearly 2**63
            return int(text)
    return None
