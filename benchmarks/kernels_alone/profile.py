"""Where a prompt's time goes, by the samples of ``perf`` (cpu-clock: it works in virtual machines, too)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
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
    for line in listed.splitlines():
        found = re.match(r"\s*(\d+)\s+\S+\s+\[.\]\s+(.*)$", line)
        if found is None:
            continue
        total += int(found[1])
        if "q8_a8::pack" in found[2]:
            counts["packing"] += int(found[1])
        elif "load_all_data" in found[2]:
            counts["loader"] += int(found[1])
    if total == 0:
        raise ValueError("perf reported no samples")
    return {name: count / total for name, count in counts.items()}


def by_part(listed: str) -> dict[str, float]:
    """Shares from the lines of ``perf report``: samples, object, symbol."""
    counts = {"products": 0, "attention": 0, "others": 0}
    for line in listed.splitlines():
        found = re.match(r"\s*(\d+)\s+(libggml\S*|libc\S*|libm\S*)\s+\[.\]\s+(.*)$", line)
        if found is None:
            continue
        part = next((name for name, names in _PARTS.items() if re.search(names, found[3])), "others")
        if part != "loading":
            counts[part] += int(found[1])
    total = sum(counts.values())
    if total == 0:
        raise ValueError("perf reported no samples of ggml")
    return {name: count / total for name, count in counts.items()}
