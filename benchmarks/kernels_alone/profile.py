"""Where a prompt's time goes, by the samples of ``perf`` (cpu-clock: it works in virtual machines, too)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

# what a function's name tells of the work it is part of; the first that fits
_PARTS = {
    "loading": r"q8_a8::pack|pack_|set_tensor",
    "products": r"q8_a8::|gemm|sgemm|tinyBLAS|vec_dot",
    "attention": r"flash_attn|soft_max",
}
_PROMPT = ("-p", "512", "-n", "0", "-r", "5")
_LOAD = ("-lm", "none", "-t", "2", "-p", "1", "-n", "0", "-r", "1", "--no-warmup")


def shares(programs: Path, model: Path, threads: int) -> dict[str, float] | None:
    """Shares of a prompt's time: products (quantization of the activations among them), attention, and other
    operators. What loads the model or belongs to the system isn't counted. None without ``perf``."""
    listed = _profile([str(programs / "llama-bench"), "-m", str(model), "-t", str(threads), *_PROMPT])
    return None if listed is None else by_part(listed)


def loading_shares(programs: Path, model: Path) -> dict[str, float] | None:
    """Shares of the processor time from a program's start to one token: ``packing`` a model's weights, and
    what the ``loader`` does itself, reading not included. None without ``perf``."""
    listed = _profile([str(programs / "llama-bench"), "-m", str(model), *_LOAD])
    return None if listed is None else by_loader(listed)


def _profile(command: list[str]) -> str | None:
    """Samples, object and symbol of everything that ``command`` did, in lines."""
    perf = shutil.which("perf")
    if perf is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        data = str(Path(scratch) / "perf.data")
        record = [perf, "record", "-q", "-e", "cpu-clock", "-F", "1999", "-o", data, "--", *command]
        done = subprocess.run(record, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            return None
        return subprocess.run(
            [perf, "report", "-i", data, "--stdio", "-q", "-F", "sample,dso,symbol", "-w", "12,40,200"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout


def by_loader(listed: str) -> dict[str, float]:
    """Shares from the lines of ``perf report``, the system's among all."""
    counts = {"packing": 0, "loader": 0}
    total = 0
    for samples, _, symbol in _rows(listed):
        total += samples
        if "q8_a8::pack" in symbol:
            counts["packing"] += samples
        elif "load_all_data" in symbol:
            counts["loader"] += samples
    return _shares(counts, total)


def by_part(listed: str) -> dict[str, float]:
    """Shares from the lines of ``perf report``, of what ggml and the C library do."""
    counts = {"products": 0, "attention": 0, "others": 0}
    for samples, name, symbol in _rows(listed):
        if not name.startswith(("libggml", "libc", "libm")):
            continue
        part = next((part for part, names in _PARTS.items() if re.search(names, symbol)), "others")
        if part != "loading":
            counts[part] += samples
    return _shares(counts, sum(counts.values()))


def _rows(listed: str) -> Iterator[tuple[int, str, str]]:
    """Samples, object and symbol of each line of ``perf report``."""
    for line in listed.splitlines():
        found = re.match(r"\s*(\d+)\s+(\S+)\s+\[.\]\s+(.*)$", line)
        if found is not None:
            yield int(found[1]), found[2], found[3]


def _shares(counts: dict[str, int], total: int) -> dict[str, float]:
    if total == 0:
        raise ValueError("perf reported no samples")
    return {name: count / total for name, count in counts.items()}
