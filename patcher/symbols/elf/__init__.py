"""ELF files as the loader sees them, read fast and read as hostile input.

Everything is found through the program headers, as the loader does it, so files without section
headers work too. Tables are read whole and taken apart by columns: an object per symbol would cost a
hundred times as much on a library with 45,000 of them.
"""

from patcher.symbols.elf.acceptance import Start, refusal, start_of
from patcher.symbols.elf.constants import DF_1_NODEFLIB, ET_DYN, ET_EXEC, ET_REL
from patcher.symbols.elf.identity import Abi, abi_of, is_elf
from patcher.symbols.elf.image import UnreadableElfError
from patcher.symbols.elf.objects import Definition, ElfObject, Needed, Reference
from patcher.symbols.elf.reader import read

__all__ = [
    "DF_1_NODEFLIB",
    "ET_DYN",
    "ET_EXEC",
    "ET_REL",
    "Abi",
    "Definition",
    "ElfObject",
    "Needed",
    "Reference",
    "Start",
    "UnreadableElfError",
    "abi_of",
    "is_elf",
    "read",
    "refusal",
    "start_of",
]
