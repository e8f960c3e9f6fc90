"""Programs that aren't ELF files: their symbols aren't read here, what the linker was told stands in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from patcher.build.configure import linker_flags

ELF = b"\x7fELF"
# the first bytes of a program or library, and what its format is called
FORMATS = {
    b"\xcf\xfa\xed\xfe": "Mach-O",
    b"\xce\xfa\xed\xfe": "Mach-O",
    b"\xca\xfe\xba\xbe": "Mach-O",  # for several processors in one
    b"MZ": "PE",
}
_PLATFORMS = {"Mach-O": "darwin", "PE": "win32"}


@dataclass(frozen=True)
class LinkerProof:
    """What stands in for reading symbols: the ``format`` that isn't read, and the ``flags`` of its linker."""

    format: str
    files: int
    flags: tuple[str, ...]
    strict: bool

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "flags": list(self.flags)}

    def text(self) -> str:
        """One sentence."""
        unread = f"{self.files} {self.format} files, which aren't read here"
        if not self.strict:
            return f"{unread}, and the linker let undefined symbols pass"
        told = " ".join(self.flags) or "nothing: it always refuses"
        return f"{unread}; their linker refuses undefined symbols (told {told})"


def without_elf(folder: Path, *, strict: bool) -> LinkerProof | None:
    """The proof for a folder of programs in another format; None where there is an ELF file, or neither."""
    counts: dict[str, int] = {}
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            start = file.read(4)
        if start == ELF:
            return None
        name = next((name for magic, name in FORMATS.items() if start.startswith(magic)), None)
        if name is not None:
            counts[name] = counts.get(name, 0) + 1
    if not counts:
        return None
    name = max(counts, key=lambda each: counts[each])
    flags = linker_flags("CMAKE_SHARED_LINKER_FLAGS", allow_undefined=not strict, platform=_PLATFORMS[name])
    return LinkerProof(name, counts[name], tuple(flags), strict)
