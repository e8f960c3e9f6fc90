"""What a linker would say of undefined symbols, from the real link command, without linking."""

from patcher.symbols.emulate.findings import LOADER, emulate
from patcher.symbols.emulate.linkers import LINKERS, Linker, linker_named
from patcher.symbols.emulate.refusal import Refusal
from patcher.symbols.emulate.refusals import refusals

__all__ = ["LINKERS", "LOADER", "Linker", "Refusal", "emulate", "linker_named", "refusals"]
