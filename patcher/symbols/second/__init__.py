"""The second reader: the same question, asked of the same files by other code, on pyelftools.

The fast reader (:mod:`patcher.symbols.elf`) searches machines; this one proves what was built. Neither
uses the other's parsing, its idea of which definition serves, or its verdicts: where they differ, one of
them is wrong and nothing is proven.
"""

from patcher.symbols.second.proof import Agreement, differences, prove
from patcher.symbols.second.reading import ElfReading, UnreadableError, reading

__all__ = ["Agreement", "ElfReading", "UnreadableError", "differences", "prove", "reading"]
