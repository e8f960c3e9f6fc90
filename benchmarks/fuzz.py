"""Feeds broken inputs of every kind to the readers: only our own errors, in time, within memory.

    python -m benchmarks.fuzz --kind gguf --inputs 1000000 --seed 1
    python -m benchmarks.fuzz --page docs/fuzzing.md < runs.json

The inputs follow from kind and seed alone. One that escapes is written beside the working folder; the process
then ends with 1. A line of JSON says how many there were, how they ended, and what the worst one took.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import resource
import sys
import tarfile
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks import fuzz_elf
from patcher.base.errors import PatcherError, UsageError
from patcher.engine.anchors import ANCHORS, ParsedFile, Source
from patcher.engine.journal import Journal
from patcher.engine.patchset import NEW_FILE, Edit, load
from patcher.engine.tree import WorkTree
from patcher.model import gguf, smooth_metadata
from patcher.model.gguf_head import read_head
from patcher.model.stats import open_stats
from patcher.source import archive
from patcher.symbols.emulate.scripts import read_script
from patcher.symbols.instantiate import class_instance, directive, tidy
from patcher.symbols.ldconfig import Cache
from patcher.symbols.relocatable import members, weak_exports
from tests.elf_files import Elf

SECONDS = 2.0  # of the processor's time, that a small input may take
MEMORY = 1 << 30  # bytes of address space beyond which an input is a bomb
MINI = Path(__file__).parents[1] / "tests" / "fixtures" / "mini"


PAGE = """# Broken inputs

What `python -m benchmarks.fuzz` fed to each reader: sound inputs with bits turned, bytes cut out, numbers
replaced by extreme ones, pieces of each other put in. A finding is an exception that is none of ours, two
seconds of the processor, or a gigabyte. Times and memory are those of the worst input of a run, on a machine
that did other things meanwhile; `records` are a stranger's, which are not believed. A few hundred inputs of
each kind are fed in every test run.
"""


class Kind(NamedTuple):
    """What is fed: sound inputs to begin with, and a reader. It may raise our own errors only."""

    seeds: Callable[[], list[bytes]]
    feed: Callable[[Path, bytes], None]


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _elf(path: Path, data: bytes) -> None:
    if fuzz_elf.feed(path, data, zlib.crc32(data)) == "refused":
        raise UsageError("no sound ELF file")


def _cache_seeds() -> list[bytes]:
    place = Path("/etc/ld.so.cache")
    real = place.read_bytes()[:4096] if place.is_file() else b""
    made = b"glibc-ld.so.cache1.1" + (1).to_bytes(4, "little") + (20).to_bytes(4, "little") + bytes(20)
    entry = b"".join(n.to_bytes(4, "little") for n in (0, 72, 79, 0)) + bytes(8)
    return [made + entry + b"libc.so\0/lib/libc.so\0", real]


def _cache(path: Path, data: bytes) -> None:
    cache = Cache(data)
    for name in ("libc.so.6", "libc.so", ""):
        cache.get(name)


def _gguf_seeds() -> list[bytes]:
    """A model of two tensors, and statistics of one product: what they say breaks, not their weights."""
    import numpy as np

    from tests.tiny_models import metadata_of, stats_metadata, write_gguf

    one = np.ones((1, 32), np.float32)
    stats: dict[str, tuple[Any, str]] = {
        f"a.weight.{part}": (one, "F32") for part in ("max", "mean", "square")
    }
    stats |= {"a.weight.count": (np.ones(1), "I64"), "a.weight.keys": (np.ones((1, 2)), "I64")}
    stats["a.weight.rows"] = np.ones((1, 2, 32), np.float32), "F16"
    with TemporaryDirectory() as folder:
        place = Path(folder, "m.gguf")
        tensors = {"token_embd.weight": (one, "F32"), "a.weight": (one, "Q8_A8")}
        model = write_gguf(place, metadata_of("llama"), tensors).read_bytes()
        known = write_gguf(place, stats_metadata("0" * 64, rows=2), stats).read_bytes()
    return [model, known]


def _gguf(path: Path, data: bytes) -> None:
    path = _file(path.with_suffix(".gguf"), data)
    read_head(path).spans()
    file = gguf.read(path)
    for value in file.metadata.values():
        _ = value.value
    smooth_metadata.new_tensors(file)
    stats = open_stats(path)
    _ = stats.texts, stats.chunks, stats.row_limit
    for weight in stats.weights:
        stats.input(weight), stats.rows(weight)


def _tar_seeds() -> list[bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"a": "b"}) as made:
        for name, kind, target in (
            ("a/b", b"0", ""),
            ("l", b"2", "a/b"),
            ("d", b"5", ""),
            ("n" * 150, b"0", ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            made.addfile(info, io.BytesIO(b""))
    gnu = io.BytesIO()
    with tarfile.open(fileobj=gnu, mode="w", format=tarfile.GNU_FORMAT) as made:
        made.addfile(tarfile.TarInfo("m" * 200))
    return [out.getvalue(), gnu.getvalue(), gzip.compress(out.getvalue())]


def _zip_seeds() -> list[bytes]:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a/b", b"x" * 100)
        link = zipfile.ZipInfo("l")
        link.external_attr = 0o120777 << 16
        made.writestr(link, "a/b")
    return [out.getvalue()]


def _ar(*members: tuple[bytes, bytes], start: bytes = b"!<arch>\n") -> bytes:
    """An archive of objects, as ``ar`` lays it out; the content of a thin one lies elsewhere."""
    thin = start == b"!<thin>\n"
    made = start
    for name, data in members:
        made += b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name, 0, 0, 0, b"644", len(data))
        made += b"" if thin and name not in (b"/", b"//") else data + b"\n" * (len(data) % 2)
    return made


def _ar_seeds() -> list[bytes]:
    item = Elf(defines=["own"], uses=["gone"]).data()
    long = b"a_name_that_is_longer_than_sixteen.o/\n"
    place = len(_ar((b"/", bytes(12)), (b"//", long)))  # of the member that defines it
    index = (1).to_bytes(4, "big") + place.to_bytes(4, "big") + b"own\0"
    return [
        _ar((b"one.o/", item)),
        _ar((b"/", index), (b"//", long), (b"/0", item)),
        _ar((b"#1/8", b"one.o\0\0\0" + item)),
        _ar((b"//", b"input.so/\n"), (b"/0", item), start=b"!<thin>\n"),
    ]


def _objects(path: Path, data: bytes) -> None:
    _file(path, data)
    for unit in members(path, {b"own"}):
        list(unit.symbols)
    weak_exports(path)


def _archive(path: Path, data: bytes) -> None:
    archive.names(_file(path, data))


def _journal_seeds() -> list[bytes]:
    entry = {
        "path": "include/llama.h",
        "before": "0" * 64,
        "after": "1" * 64,
        "cuts": [["enum", 0, 4, "YQ=="]],
    }
    document = {"format": 1, "tool": "x", "type": "q8_a8", "entries": [entry]}
    return [json.dumps(document).encode() + b"\xff\xff" + zlib.compress(b"hello, world")]


def _journal(path: Path, data: bytes) -> None:
    """Manifest and packed file, parted by two bytes that neither UTF-8 has."""
    tree = path.parent / "tree"
    folder = tree / ".q8a8-patch" / "applied" / "0001"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        (tree / "include").mkdir()
        (tree / "include" / "llama.h").write_text("hello")
    manifest, _, packed = data.partition(b"\xff\xff")
    (folder / "manifest.json").write_bytes(manifest)
    (folder / "0.before").write_bytes(packed)
    for record in Journal(WorkTree(tree)).applied:
        for number in range(min(2, len(record.entries))):
            record.after(number)


def _type_seeds() -> list[bytes]:
    example = Path(__file__).parents[1] / "docs" / "examples" / "q6_x" / "q6_x.toml"
    same = b'extends = "same-layout"\n[type]\nname = "q8_b"\nid = 130\nblock_size = 32\ntype_size = 34\n'
    return [example.read_bytes(), same]


def _type(path: Path, data: bytes) -> None:
    load(_file(path.with_suffix(".toml"), data))


def _script(path: Path, data: bytes) -> None:
    script = read_script(_file(path, data))
    script.is_local("a"), script.lists("_Z1fi"), list(script.unmatched(["b"]))


def _name_seeds() -> list[bytes]:
    return [
        b"void a::b<std::vector<int, std::allocator<int> > >(std::string const&, a<(b)1>)",
        b"std::ostream& std::operator<< <char, std::char_traits<char> >(std::ostream&, char) const",
        b"vtable for x<y<z>, (anonymous namespace)::w>",
    ]


def _name(path: Path, data: bytes) -> None:
    text = data.decode("latin-1")
    directive(text), class_instance(tidy(text))


@cache
def _edits() -> tuple[Edit, ...]:
    return tuple(load().edits)


def _anchor_seeds(suffixes: tuple[str, ...]) -> list[bytes]:
    edits = [one for one in _edits() if one.kind != NEW_FILE]
    paths = {
        path for one in edits for path in one.files if path.endswith(suffixes) and (MINI / path).is_file()
    }
    return [path.encode() + b"\0" + (MINI / path).read_bytes() for path in sorted(paths)]


def _anchors(path: Path, data: bytes) -> None:
    """A file of the tree, its path in front: every anchor that is looked for in it."""
    name, _, text = data.partition(b"\0")
    where = name.decode("utf-8", "replace")
    edits = [one for one in _edits() if one.kind in ANCHORS and where in one.files]
    file = ParsedFile(Source(where, text), [(one.kind, one.anchor) for one in edits])
    for one in edits:
        try:
            file.locate(one.kind, one.anchor)
        except PatcherError:
            continue
        except Exception as why:
            if type(why).__name__ != "AnchorError":
                raise


KINDS: dict[str, Kind] = {
    "elf": Kind(fuzz_elf.seeds, _elf),
    "archives": Kind(_ar_seeds, _objects),
    "ld.so.cache": Kind(_cache_seeds, _cache),
    "scripts": Kind(
        lambda: [b'V1 { global: a; b*; extern "C++" { "x"; }; local: *; /* c */ }; # d'], _script
    ),
    "names": Kind(_name_seeds, _name),
    "gguf": Kind(_gguf_seeds, _gguf),
    "tar": Kind(_tar_seeds, _archive),
    "zip": Kind(_zip_seeds, _archive),
    "records": Kind(_journal_seeds, _journal),
    "types": Kind(_type_seeds, _type),
    "c": Kind(lambda: _anchor_seeds((".c", ".h", ".cpp")), _anchors),
    "python": Kind(lambda: _anchor_seeds((".py",)), _anchors),
    "cmake": Kind(lambda: _anchor_seeds(("CMakeLists.txt", ".cmake")), _anchors),
}


class Run(NamedTuple):
    """What came of one run. Times are the processor's, in seconds; memory is the process's peak, in MB.

    ``slowest`` is that of the slowest input; the processor's clock is asked only where the wall's says that
    one took longer than any before, as asking costs more than most inputs do.
    """

    kind: str
    seed: int
    inputs: int
    read: int
    refused: int
    findings: int
    slowest: float
    seconds: float
    peak: float


def run(
    name: str, inputs: int, seed: int, say: Callable[[str], None] = print, *, seconds: float = 1e9
) -> Run:
    """Feed that many inputs of a kind, or those that ``seconds`` of the processor's time allow."""
    kind, chance = KINDS[name], random.Random(f"{name}-{seed}")  # noqa: S311 - not for secrets
    counts = {"read": 0, "refused": 0, "findings": 0}
    slowest, begun, number = 0.0, time.process_time(), 0

    def feed(data: bytes) -> str:
        try:
            kind.feed(path, data)
        except PatcherError:
            return "refused"
        except Exception:  # noqa: BLE001 - this is what is looked for
            say(f"{name}, seed {seed}, input {number}: {traceback.format_exc()}")
            return "findings"
        return "read"

    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108
        path = Path(folder, "input.so")
        for number, data in enumerate(fuzz_elf.mutants(chance, kind.seeds())):
            if number == inputs or (number % 64 == 0 and time.process_time() - begun > seconds):
                break
            before = time.perf_counter()
            end = feed(data)
            if time.perf_counter() - before > slowest:  # it may be that, or the machine did something else
                start = time.process_time()
                end = feed(data)
                took = time.process_time() - start
                slowest = max(slowest, took)
                if took > SECONDS:
                    end = "findings"
                    say(f"{name}, seed {seed}, input {number}: {took:.1f} s")
            if end == "findings":
                Path(f"fuzz-{name}-{seed}-{number}.bin").write_bytes(data)
            counts[end] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    used = time.process_time() - begun
    return Run(name, seed, sum(counts.values()), **counts, slowest=slowest, seconds=used, peak=peak)


def page(runs: list[dict[str, Any]]) -> str:
    """The table of runs as Markdown."""
    rows = [
        f"| {one['kind']} | {one['inputs']:,} | {one['read']:,} | {one['refused']:,} | {one['findings']}"
        f" | {one['slowest'] * 1000:.0f} ms | {one['peak']:.0f} MB | {one['seed']} |"
        for one in runs
    ]
    head = (
        "| kind | inputs | read | refused | findings | slowest | peak memory | seed |\n"
        "|---|--:|--:|--:|--:|--:|--:|--:|\n"
    )
    return f"{PAGE}\n{head}" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=KINDS, default="elf")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    if options.page is not None:
        options.page.write_text(
            page([json.loads(line) for line in sys.stdin if line.strip()]), encoding="utf-8"
        )
        sys.exit(0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    done = run(
        options.kind,
        options.inputs,
        options.seed,
        lambda text: print(text, file=sys.stderr),
        seconds=options.seconds,
    )
    print(json.dumps(done._asdict()))
    sys.exit(1 if done.findings else 0)
