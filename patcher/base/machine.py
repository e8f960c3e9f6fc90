"""What this machine is: processors for us, memory, the processor's features."""

from __future__ import annotations

import os
import platform
import re
import time
import uuid
from functools import cache
from pathlib import Path
from typing import Any

from patcher.base import hashing


def processors() -> int:
    """How many processors we may use, which in a container can be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """The machine's memory; 0 where nobody says."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        asked = _psutil()
        return int(asked.virtual_memory().total) if asked else 0


def available_memory() -> int | None:
    """Bytes that programs can have without swapping; None where the system doesn't tell."""
    found = re.search(r"^MemAvailable:\s*(\d+)", _proc("meminfo"), re.MULTILINE)
    if found:
        return int(found[1]) * 1024
    asked = _psutil()
    return int(asked.virtual_memory().available) if asked else None


def cpu_flags() -> frozenset[str]:
    """The processor's features as Linux names them; empty elsewhere."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", _proc("cpuinfo"), re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def cpu_name() -> str:
    """The processor's own name; empty where the system doesn't tell."""
    found = re.search(r"^(?:model name|Model)\s*:\s*(.*)$", _proc("cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else platform.processor() if not _proc("cpuinfo") else ""


def peak_memory(pid: int) -> int:
    """The most bytes that a process, which still runs, has had resident; 0 where the system doesn't tell."""
    found = re.search(r"^VmHWM:\s*(\d+)", _proc(f"{pid}/status"), re.MULTILINE)
    if found:
        return int(found[1]) * 1024
    asked = _psutil()
    if not asked:
        return 0
    try:
        facts = asked.Process(pid).memory_info()
    except asked.Error:  # it has just ended
        return 0
    return int(
        getattr(facts, "peak_wset", facts.rss)
    )  # Windows keeps the peak, macOS' wait4 tells it at the end


def others_share(seconds: float = 0.3) -> float | None:
    """The part of our processors, 0 to 1, that others keep busy while we wait ``seconds``; None where the
    system doesn't tell. The load average won't do: what we ourselves ran in the last minute is in it.
    """
    before = _times()
    if before is None:
        asked = _psutil()
        return round(asked.cpu_percent(seconds) / 100, 3) if asked else None
    time.sleep(seconds)
    after = _times()
    if after is None or after[1] <= before[1]:
        return None
    return round((after[0] - before[0]) / (after[1] - before[1]), 3)


def _times() -> tuple[int, int] | None:
    """Ticks of our processors since the start: busy, and all."""
    text = _proc("stat")
    if not text:
        return None
    ours = os.sched_getaffinity(0)
    busy = total = 0
    for found in re.finditer(r"^cpu(\d+)((?: \d+){8})", text, re.MULTILINE):
        if int(found[1]) in ours:
            ticks = [int(item) for item in found[2].split()]
            total += sum(ticks)  # user, nice, system, idle, waiting for disks, interrupts, stolen by the host
            busy += sum(ticks) - ticks[3] - ticks[4]
    return (busy, total) if total else None


def _psutil() -> Any:
    """psutil, which knows the systems that have no /proc; None where it isn't installed, as on Linux."""
    try:
        import psutil
    except (ImportError, NotImplementedError):  # the latter on systems that it doesn't know
        return None
    return psutil


def _proc(name: str) -> str:
    """What Linux tells in a file below /proc; nothing elsewhere."""
    try:
        return (Path("/proc") / name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


@cache
def machine_id() -> str:
    """A short hash that tells machines apart and names none: speeds and unfinished files are kept by it."""
    identity = f"{uuid.getnode()}\0{cpu_name()}\0{os.cpu_count()}\0{platform.machine()}"
    return hashing.of_text(identity)[:12]
