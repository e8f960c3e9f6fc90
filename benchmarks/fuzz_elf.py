"""Feeds broken ELF files, archives and caches to the readers: no crash, no hang, bounded memory.

    python benchmarks/fuzz_elf.py --inputs 1000000 --seed 1

The inputs follow from the seed alone. One that escapes is written beside the working folder, with
what it raised; the process then ends with 1.
"""

from __future__ import annotations

import argparse
import random
import resource
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from patcher.symbols import SearchOptions, check, second
from patcher.symbols.elf import UnreadableElfError, read
from patcher.symbols.ldconfig import Cache
from patcher.symbols.relocatable import members
from tests.elf_files import AARCH64, I386, MIPS, S390, Elf

SLOW = 2.0  # seconds of processor time for one small input that count as a hang
MEMORY = 1 << 30  # bytes of address space beyond which an input counts as a bomb
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1)


def seeds() -> list[bytes]:
    """Sound files of several shapes."""
    rich = {
        "defines": ["own", "old@V1", "old@@V2"],
        "uses": ["gone", "maybe?", "printf@GLIBC_2.2.5@libc.so.6"],
        "needed": ["libc.so.6", "libm.so.6"],
        "soname": "libsample.so.1",
        "runpath": "$ORIGIN:/opt/x",
    }
    shapes: list[dict[str, object]] = [
        {}, {"sections": False}, {"sections": False, "hash": False}, {"interpreter": "/lib64/ld.so"},
        {"machine": I386, "bits": 32}, {"machine": AARCH64}, {"machine": S390, "little": False},
        {"machine": MIPS, "bits": 32, "little": False, "sections": False},
    ]  # fmt: skip
    files = [Elf(**{**rich, **shape}).data() for shape in shapes]  # type: ignore[arg-type]
    member = files[0]
    header = b"one.o/          0           0     0     644     " + f"{len(member):<10}".encode() + b"`\n"
    return [*files, b"!<arch>\n" + header + member + b"\n" * (len(member) % 2)]


def mutants(chance: random.Random, good: list[bytes]) -> Iterator[bytes]:
    """Broken files without end."""
    while True:
        data = bytearray(chance.choice(good))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 12))):
            _mutate(chance, data, good)
        yield bytes(data)


def _mutate(chance: random.Random, data: bytearray, good: list[bytes]) -> None:
    if not data:
        return
    # the header and the program headers decide most
    at = chance.randrange(len(data)) if chance.random() < 0.6 else chance.randrange(min(256, len(data)))
    kind = chance.randrange(7)
    if kind == 0:
        data[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        data[at] = chance.randrange(256)
    elif kind == 2:
        form = chance.choice("BHIQ")
        size = struct.calcsize(form)
        value = chance.choice(NUMBERS) & ((1 << 8 * size) - 1)
        data[at : at + size] = struct.pack(chance.choice("<>") + form, value)
    elif kind == 3:
        del data[at:]
    elif kind == 4:
        length = chance.randrange(1, 64)
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif kind == 5:
        other = chance.choice(good)
        start = chance.randrange(len(other))
        data[at : at + 48] = other[start : start + 48]
    else:
        length = chance.randrange(1, 64)
        data[at:at] = data[at : at + length]


def feed(path: Path, data: bytes, number: int) -> str:
    """Give one input to every reader; says how it ended. All but our own error escapes."""
    path.write_bytes(data)
    for _ in members(path):
        pass
    Cache(b"glibc-ld.so.cache1.1" + data[20:]).get("libc.so.6")
    try:
        item = read(path)
        list(item.exports)
    except UnreadableElfError:
        return "refused"
    if number % 8 == 3:
        compare(path, data)
    if number % 16 == 0 and item.dynamic and item.type in (2, 3):
        check([path], options=SearchOptions(sysroot=path.parent))
    return "read"


def compare(path: Path, data: bytes) -> None:
    """Both readers on what both accept. Without section headers, which loaders don't look at.

    The number of symbols is told by a table that one reader may doubt and the other believe: where they
    don't agree on that, they read two files.
    """
    bare = bytearray(data)
    if bare[4] == 2:
        bare[40:48], bare[58:64] = bytes(8), bytes(6)  # e_shoff; e_shentsize, e_shnum, e_shstrndx
    else:
        bare[32:36], bare[46:52] = bytes(4), bytes(6)
    path.write_bytes(bare)
    try:
        item, other = read(path), second.reading(path)
    except (UnreadableElfError, second.UnreadableError):
        return
    finally:
        path.write_bytes(data)
    if item.type not in (2, 3) or item.symbols != other.symbols:
        return
    told = list(second.differences(item, other))
    if told:
        raise AssertionError(f"readers disagree: {told[0].detail}")


def run(inputs: int, seed: int, progress: Callable[[str], None] = print) -> int:
    """Feed that many inputs. Returns how many escaped or took too long."""
    chance, good, bad = random.Random(seed), seeds(), 0  # noqa: S311 - not for secrets
    counts: dict[str, int] = {}
    slowest, start = 0.0, time.perf_counter()
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108
        path = Path(folder, "input.so")
        for number, data in enumerate(mutants(chance, good)):
            if number == inputs:
                break
            before = time.process_time()
            try:
                end = feed(path, data, number)
            except Exception:  # noqa: BLE001 - this is what is looked for
                end = "ESCAPED"
                Path(f"fuzz-{seed}-{number}.bin").write_bytes(data)
                progress(f"input {number}: {traceback.format_exc()}")
            took = time.process_time() - before
            slowest = max(slowest, took)
            if took > SLOW:
                end = "SLOW"
                Path(f"fuzz-{seed}-{number}.bin").write_bytes(data)
                progress(f"input {number}: {took:.1f} s")
            bad += end in ("ESCAPED", "SLOW")
            counts[end] = counts.get(end, 0) + 1
            if number % 100_000 == 99_999:
                progress(f"{number + 1} inputs, {counts}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    progress(
        f"seed {seed}: {sum(counts.values())} inputs in {time.perf_counter() - start:.0f} s: {counts};"
        f" slowest {slowest * 1000:.0f} ms, peak {peak:.0f} MB"
    )
    return bad


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.exit(1 if run(options.inputs, options.seed) else 0)
