"""The fix of an undefined template member: the line, the file that it belongs in, and the proof."""

from patcher.symbols.repair.fixes import Fix, fixes, suggested, write

__all__ = ["Fix", "fixes", "suggested", "write"]
