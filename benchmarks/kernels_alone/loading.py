"""What packing adds to loading: seconds and memory of a model loaded to compute one token."""

from __future__ import annotations

import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Load:
    """One load: wall-clock seconds; at most so many bytes of memory of its own, with mapped files, locked."""

    seconds: float
    own_bytes: int
    resident_bytes: int
    locked_bytes: int = 0


def load(programs: Path, model: Path, *, mode: str, threads: int = 2) -> Load:
    """Start llama-bench, load ``model`` (``mode``: none, mmap, mlock), compute a token, end; twice.

    The first is timed, the second is asked for its memory all the time, which takes a part of a processor.
    """
    command = [str(programs / "llama-bench"), "-m", str(model), "-t", str(threads), "-lm", mode]
    command += ["-p", "1", "-n", "0", "-r", "1", "--no-warmup"]
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - start

    own = resident = locked = 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            status = ""
        figures = {
            name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"(\w+):\s+(\d+) kB", status)
        }
        own, locked = max(own, figures.get("RssAnon", 0)), max(locked, figures.get("VmLck", 0))
        # not ru_maxrss of wait4: it counts what was before exec, which is all of Python where it was vforked
        resident = max(resident, figures.get("VmHWM", 0))
        time.sleep(0.001)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Load(seconds, own, resident, locked)


def copying(size: int, *, threads: int = 2, rounds: int = 9) -> float:
    """Seconds that ``threads`` take at best to copy ``size`` bytes into memory that is new to the process.

    What a weight that isn't left in the file's layout costs at least. NumPy asks for large pages, as
    packing does.
    """
    source = np.ones(size, np.uint8)
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            start = time.monotonic()
            target = np.empty(size, np.uint8)
            list(pool.map(np.copyto, np.array_split(target, threads), np.array_split(source, threads)))
            best = min(best, time.monotonic() - start)
    return best
