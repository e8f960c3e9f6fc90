"""Makes ELF files without a compiler: any class, byte order and machine, as sound or as broken as asked."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

X86_64, I386, AARCH64, ARM, RISCV, PPC64, S390, MIPS = 62, 3, 183, 40, 243, 21, 22, 8
PAGE = 0x1000


@dataclass
class Elf:
    """A library or program: ``defines`` and ``uses`` are names, with ``@VERSION`` where they have one.

    ``foo@@V`` defines a default version, ``foo@V`` one that is no default; ``uses`` entries are
    ``name``, ``name@V@file`` or end in ``?`` where they are weak.
    """

    defines: list[str] = field(default_factory=list)
    uses: list[str] = field(default_factory=list)
    needed: list[str] = field(default_factory=list)
    soname: str | None = None
    rpath: str | None = None
    runpath: str | None = None
    interpreter: str | None = None
    flags_1: int = 0
    bits: int = 64
    little: bool = True
    machine: int = X86_64
    type: int = 3
    flags: int = 0
    sections: bool = True
    hash: bool = True
    weak_versions: bool = False
    extra_tags: list[tuple[int, int]] = field(default_factory=list)

    def write(self, path: Path) -> Path:
        """Write the file; returns ``path``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data())
        return path

    def data(self) -> bytes:
        """The whole file. Every address is its file offset plus one page."""
        order = "<" if self.little else ">"
        word = "Q" if self.bits == 64 else "I"
        header_size, phent = (64, 56) if self.bits == 64 else (52, 32)
        strings = bytearray(b"\0")

        def text(value: str) -> int:
            at = len(strings)
            strings.extend(value.encode("utf-8", "surrogateescape") + b"\0")
            return at

        # numbers of versions: 0 and 1 are reserved, the base takes 1
        numbers: dict[tuple[str, str | None], int] = {}

        def number(version: str, file: str | None) -> int:
            return numbers.setdefault((version, file), len(numbers) + 2)

        symbols, versyms = [struct.pack(order + ("IBBHQQ" if self.bits == 64 else "IIIBBH"), *[0] * 6)], [0]

        def symbol(name: str, section: int, value: int, weak: bool) -> None:
            info = (2 if weak else 1) << 4 | 2
            if self.bits == 64:
                row = struct.pack(order + "IBBHQQ", text(name), info, 0, section, value, 0)
            else:
                row = struct.pack(order + "IIIBBH", text(name), value, 0, info, 0, section)
            symbols.append(row)

        for use in self.uses:
            name, *rest = use.rstrip("?").split("@")
            symbol(name, 0, 0, use.endswith("?"))
            versyms.append(number(rest[0], rest[1]) if len(rest) == 2 else 1)
        for define in self.defines:
            name, _, version = define.partition("@")
            symbol(name, 1, PAGE + 0x100, False)
            hidden = bool(version) and not version.startswith("@")
            versyms.append((number(version.lstrip("@"), None) | hidden << 15) if version else 1)
        tags: list[tuple[int, int]] = [(1, text(name)) for name in self.needed]
        for tag, value in ((14, self.soname), (15, self.rpath), (29, self.runpath)):
            if value is not None:
                tags.append((tag, text(value)))
        if self.flags_1:
            tags.append((0x6FFFFFFB, self.flags_1))
        wants: dict[str, list[tuple[str, int]]] = {}
        for (version, file), index in numbers.items():
            if file is not None:
                wants.setdefault(file, []).append((version, index))
        own = [(version, index) for (version, file), index in numbers.items() if file is None]
        verneed = b""
        for place, (file, list_) in enumerate(wants.items()):
            last = place == len(wants) - 1
            verneed += struct.pack(
                order + "HHIII", 1, len(list_), text(file), 16, 0 if last else 16 + 16 * len(list_)
            )
            for step, (version, index) in enumerate(list_):
                following = 0 if step == len(list_) - 1 else 16
                flag = 2 if self.weak_versions else 0
                verneed += struct.pack(order + "IHHII", 0, flag, index, text(version), following)
        verdef = b""
        if own:
            entries = [(self.soname or "x", 1, 1), *((version, index, 0) for version, index in own)]
            for step, (version, index, flag) in enumerate(entries):
                following = 0 if step == len(entries) - 1 else 28
                verdef += struct.pack(order + "HHHHIII", 1, flag, index, 1, 0, 20, following)
                verdef += struct.pack(order + "II", text(version), 0)
        interpreter = self.interpreter.encode() + b"\0" if self.interpreter else b""
        phnum = 2 + bool(interpreter)
        at = header_size + phent * phnum
        at += -at % 16
        blocks: list[bytes] = []

        def place_block(block: bytes) -> int:
            nonlocal at
            block += b"\0" * (-len(block) % 16)
            blocks.append(block)
            start, at = at, at + len(block)
            return start

        interp_at = place_block(interpreter)
        versioned = bool(numbers)
        symtab_at = place_block(b"".join(symbols))
        if self.hash:
            wide = self.machine == S390 and self.bits == 64
            tags.append(
                (4, PAGE + place_block(struct.pack(order + ("QQQ" if wide else "III"), 1, len(symbols), 0)))
            )
        if versioned:
            tags.append((0x6FFFFFF0, PAGE + place_block(struct.pack(f"{order}{len(versyms)}H", *versyms))))
        if verneed:
            tags += [(0x6FFFFFFE, PAGE + place_block(verneed)), (0x6FFFFFFF, len(wants))]
        if verdef:
            tags += [(0x6FFFFFFC, PAGE + place_block(verdef)), (0x6FFFFFFD, len(own) + 1)]
        strings_at = place_block(bytes(strings))
        tags += [(5, PAGE + strings_at), (10, len(strings)), (6, PAGE + symtab_at), *self.extra_tags, (0, 0)]
        dynamic = b"".join(
            struct.pack(order + ("qQ" if self.bits == 64 else "iI"), _signed(tag, self.bits), value)
            for tag, value in tags
        )
        dynamic_at = place_block(dynamic)
        end = at
        section_data = b""
        if self.sections:
            form = order + ("IIQQQQIIQQ" if self.bits == 64 else "IIIIIIIIII")
            size = len(symbols) * (24 if self.bits == 64 else 16)
            section_data = struct.pack(form, *[0] * 10) + struct.pack(
                form, 0, 11, 2, PAGE + symtab_at, symtab_at, size, 0, 1, 8, 24 if self.bits == 64 else 16
            )
        ident = b"\x7fELF" + bytes([self.bits // 32, 1 if self.little else 2, 1]) + b"\0" * 9
        shent = 64 if self.bits == 64 else 40
        header = ident + struct.pack(
            order + f"HHI{word * 3}IHHHHHH",
            self.type, self.machine, 1, 0, header_size, end if section_data else 0, self.flags,
            header_size, phent, phnum, shent, 2 if section_data else 0, 0,
        )  # fmt: skip

        def segment(kind: int, offset: int, size: int) -> bytes:
            if self.bits == 64:
                return struct.pack(order + "IIQQQQQQ", kind, 5, offset, PAGE + offset, 0, size, size, 1)
            return struct.pack(order + "IIIIIIII", kind, offset, PAGE + offset, 0, size, size, 5, 1)

        segments = segment(1, 0, end) + segment(2, dynamic_at, len(dynamic))
        if interpreter:
            segments += segment(3, interp_at, len(interpreter))
        front = header + segments
        front += b"\0" * (-len(front) % 16)
        return front + b"".join(blocks) + section_data


def _signed(tag: int, bits: int) -> int:
    return tag - (1 << 32) if bits == 32 and tag >= 1 << 31 else tag
