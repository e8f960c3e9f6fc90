"""What a file is, from its first bytes alone."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

from patcher.base import system
from patcher.symbols.elf.constants import EM_ARM, EM_MIPS, EM_PPC64, MAGIC

Abi = tuple[int, bool, int, int]  # bits, little endian, machine, and what of e_flags sets ABIs apart

# What of e_flags the loader compares (each architecture's elf_machine_matches_host in glibc): MIPS's
# o32 and n32 both have 32 bits; PowerPC's ELFv1 and v2; ARM's hard and soft float. An ARM object that
# says neither goes with both, so its bits are left out.
_ABI_FLAGS = {EM_MIPS: 0x20, EM_PPC64: 0x3, EM_ARM: 0x0}


def head(path: Path | str, size: int = 64) -> bytes:
    """The first bytes of a regular file; nothing of a FIFO, a device, or what can't be read."""
    try:
        handle = os.open(path, system.READ)
    except (OSError, ValueError):
        return b""
    try:
        return os.read(handle, size) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(handle)


def is_elf(path: Path | str) -> bool:
    """Whether the file begins like an ELF file. Unreadable files do not."""
    return head(path, 4) == MAGIC


def abi_of(path: Path | str) -> Abi | None:
    """The ABI that a file is for; None for what is no ELF file."""
    return identify(head(path))


def identify(data: bytes) -> Abi | None:
    """:func:`abi_of` for bytes that were read already."""
    if len(data) < 52 or data[:4] != MAGIC or data[4] not in (1, 2) or data[5] not in (1, 2):
        return None
    bits, little = 32 * data[4], data[5] == 1
    order = "<" if little else ">"
    machine = struct.unpack_from(order + "H", data, 18)[0]
    flags = struct.unpack_from(order + "I", data, 48 if bits == 64 else 36)[0]
    return (bits, little, machine, flags & _ABI_FLAGS.get(machine, 0))
