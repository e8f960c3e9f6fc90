"""The fix of an undefined template member: the line, the file that it belongs in, and the proof."""

from patcher.symbols.repair.fixes import Repair, fixes, suggested, write

__all__ = ["Repair", "fixes", "suggested", "write"]
