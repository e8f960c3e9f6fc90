"""What this machine is: processors for us, memory, the processor's features."""

from __future__ import annotations

import os
import re
from pathlib import Path


def processors() -> int:
    """How many processors we may use, which in a container can be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """The machine's memory; 0 where it doesn't say, as Windows."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def cpu_flags() -> frozenset[str]:
    """The processor's features as Linux names them; empty elsewhere."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", _cpuinfo(), re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def cpu_name() -> str:
    """The processor's own name; empty where the system doesn't tell."""
    found = re.search(r"^(?:model name|Model)\s*:\s*(.*)$", _cpuinfo(), re.MULTILINE)
    return found[1].strip() if found else ""


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
