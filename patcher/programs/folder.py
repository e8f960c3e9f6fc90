"""llama.cpp's programs in one folder: found, asked what they can do, hashed, and run."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from patcher.base import hashing
from patcher.base.environment import building
from patcher.base.errors import UsageError
from patcher.build import compiler_name
from patcher.programs import measured
from patcher.programs.measured import Ran

_SETTINGS = re.compile(
    r"^(CMAKE_BUILD_TYPE|CMAKE_C(?:XX)?_FLAGS(?:_RELEASE)?|BUILD_SHARED_LIBS"
    r"|GGML_(?:NATIVE|STATIC|LTO|OPENMP|LLAMAFILE|BACKEND_DL|ACCELERATE|BLAS|AVX\w*|AMX\w*|SSE42|F16C|FMA|BMI2"
    r"|CPU_(?:ALL_VARIANTS|REPACK|KLEIDIAI|HBM|ARM_ARCH)|CUDA|HIP|METAL|VULKAN|SYCL|OPENCL|RPC)):\w+=(.*)$",
    re.MULTILINE,
)
_LIBRARIES = ("*.so*", "*.dylib", "*.dll")


@dataclass(frozen=True)
class Programs:
    """The programs of one build. ``launcher`` stands before each of them: an emulator, or nothing."""

    folder: Path
    launcher: tuple[str, ...] = ()
    _help: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def find(self, name: str) -> Path:
        """The program ``name``. Raises :class:`UsageError` where the folder has none."""
        place = self.folder / (f"{name}.exe" if sys.platform == "win32" else name)
        if not place.is_file():
            raise UsageError(
                f"{self.folder}: looked for {name}, found none",
                hint="name a build's bin folder with --bin, or make one: q8a8-patch run --work DIR",
            )
        return place

    def run(
        self,
        name: str,
        arguments: Sequence[str | Path],
        *,
        on_text: Callable[[str], None] | None = None,
        seconds: float | None = None,
        pass_fds: Sequence[int] = (),
        stop: threading.Event | None = None,
    ) -> Ran:
        """Run ``name`` to its end; see :func:`patcher.programs.measured.run` for what it raises."""
        command = [*self.launcher, self.find(name), *arguments]
        return measured.run(
            command,
            env=self.environment(),
            on_text=on_text,
            seconds=seconds,
            pass_fds=pass_fds,
            stop=stop,
        )

    def help(self, name: str) -> str:
        """What ``name --help`` says, asked once."""
        if name not in self._help:
            try:
                said = self.run(name, ["--help"], seconds=60).text
            except measured.ChildError as why:
                if why.signal_name is not None:
                    raise
                said = why.output  # some programs end --help with 1
            self._help[name] = said
        return self._help[name]

    def knows(self, name: str, option: str) -> bool:
        """Whether ``name`` lists ``option`` in its help."""
        return re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", self.help(name)) is not None

    @cached_property
    def digest(self) -> str:
        """The hash of everything here that measures: programs, and the libraries beside them."""
        names = ("llama-bench", "llama-perplexity", "llama-quantize")
        files = {path for name in names for path in self.folder.glob(f"{name}*") if path.is_file()}
        for pattern in _LIBRARIES:
            files |= {path.resolve() for path in self.folder.glob(pattern) if path.is_file()}
        return hashing.of_values({path.name: hashing.of_file(path) for path in sorted(files)})

    def facts(self) -> dict[str, Any]:
        """Who built them and how, as far as the build folder tells."""
        build = self.folder.resolve().parent
        cache = build / "CMakeCache.txt"
        settings: dict[str, str] = {}
        if cache.is_file():
            text = cache.read_text(encoding="utf-8", errors="replace")
            # what is off says nothing, and settings of processors that aren't meant say less
            settings = {name: value for name, value in _SETTINGS.findall(text) if value not in ("", "OFF")}
        compiler = compiler_name(build)
        return {
            "folder": str(self.folder),
            "digest": self.digest,
            "compiler": "" if compiler == "unknown compiler" else compiler,
            "settings": settings,
            "launcher": " ".join(self.launcher),
        }

    def home_directory(self) -> Path | None:
        """The source tree that the build folder names; None where it doesn't."""
        cache = self.folder.resolve().parent / "CMakeCache.txt"
        if not cache.is_file():
            return None
        text = cache.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$", text, re.MULTILINE)
        return Path(found[1]) if found else None

    def environment(self) -> dict[str, str]:
        """The child's environment: the folder's own libraries first, plain words, no colours."""
        values = building()
        values |= {"LC_ALL": "C", "NO_COLOR": "1", "LLAMA_ARG_LOG_COLORS": "off"}
        if not self.launcher and sys.platform.startswith("linux"):
            inherited = values.get("LD_LIBRARY_PATH", "")
            values["LD_LIBRARY_PATH"] = f"{self.folder}:{inherited}" if inherited else str(self.folder)
        return values
