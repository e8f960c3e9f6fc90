"""Small models, and programs that behave like llama.cpp's, for tests of ``evaluate`` and ``quantize``."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

from patcher.evaluate.judge.noise import Series
from patcher.evaluate.result import Report, TypeResult

BLOCKS = {
    "F32": (0, 1, 4),
    "F16": (1, 1, 2),
    "Q4_1": (3, 32, 20),
    "Q8_0": (8, 32, 34),
    "Q8_A8": (120, 32, 34),
}


def write_gguf(path: Path, kind: str, *, name: str = "Tiny", cut: int = 0, rows: int = 4) -> Path:
    """A GGUF of two tensors: a matrix of ``kind`` (64 a row) and a norm in F32; ``cut`` bytes are missing."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 2)
    head += text("general.name") + struct.pack("<I", 8) + text(name)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    number, block, size = BLOCKS[kind]
    length = 64 * rows // block * size
    padded = -(-length // 32) * 32
    head += text("token_embd.weight") + struct.pack("<IQQIQ", 2, 64, rows, number, 0)
    head += text("output_norm.weight") + struct.pack("<IQIQ", 1, 64, 0, padded)
    head += bytes(-len(head) % 32)
    data = bytes(padded) + bytes(256)
    path.write_bytes((head + data)[: len(head) + len(data) - cut])
    return path


# Each fake notes its call in calls.txt, then does what fake.json beside it says.
_COMMON = """#!{python}
import atexit, json, os, pathlib, signal, sys, time
here = pathlib.Path(__file__).resolve().parent
settings = json.loads((here / "fake.json").read_text())
args = sys.argv[1:]
def option(name, default=None):
    return args[args.index(name) + 1] if name in args else default
model = pathlib.Path(option("-m", "")).name
kind = next((k for k in ("Q8_A8", "Q8_0", "F16") if k in model), "F16")
def note(what):
    with (here / "calls.txt").open("a") as file:
        file.write(what + "\\n")
    moment("begun", what)
def moment(kind, what):
    with (here / "moments.jsonl").open("a") as file:
        file.write(json.dumps([kind, what, model, os.getpid(), os.getppid(), time.monotonic()]) + "\\n")
def perhaps_die(program):
    time.sleep(settings.get("seconds", 0))
    how = settings.get("die", {{}}).get(program + " " + kind)
    if isinstance(how, str):
        os.kill(os.getpid(), getattr(signal, how))
    elif how:
        sys.exit(how)
"""
_QUANTIZE = """
if "--help" in args:
    print("   1  or  F16     : 14.00G\\n   7  or  Q8_0    :  7.96G\\n  120  or  Q8_A8   :  8.50 bpw")
    sys.exit(1)
plain = [a for a in args if not a.startswith("-")]
source, destination, name = plain[:3]
note("quantize " + name)
print("[   1/   2] token_embd.weight\\n[   2/   2] output_norm.weight")
sys.path.insert(0, settings["tests"])
from tests.unit.evaluate_fakes import write_gguf
write_gguf(pathlib.Path(destination), settings.get("makes", name), cut=settings.get("cut", 0), rows=settings.get("rows", 4), name=pathlib.Path(source).stem)
if settings.get("quantize_dies"):
    os.kill(os.getpid(), signal.SIGSEGV)
"""
_PERPLEXITY = """
note("perplexity " + kind + (" kld" if "--kl-divergence" in args else ""))
perhaps_die("perplexity")
value = {"F16": 10.0, "Q8_0": 10.1, "Q8_A8": 10.05}[kind]
base = option("--kl-divergence-base")
print("perplexity: calculating perplexity over 2 chunks, n_ctx=64, batch_size=64, n_seq=1", file=sys.stderr)
if "--kl-divergence" in args:
    if not pathlib.Path(base).is_file():
        sys.exit("no logits")
    print(f"Mean PPL(Q)                   :  {value} \\u00b1   0.100000")
    print(f"Mean PPL(Q)/PPL(base)         :   {value / 10.0} \\u00b1   0.001000")
    print("Mean    KLD:   0.002000 \\u00b1   0.000100\\nMaximum KLD:   0.5\\n99.0%   KLD:   0.1\\nMedian  KLD:   0.001")
    print("Same top p: 97.500 \\u00b1 0.500 %")
else:
    if base:
        import struct
        from math import log
        chances = {"F16": (0.5, 0.25, 0.125, 0.125), "Q8_0": (0.25, 0.5, 0.125, 0.125), "Q8_A8": (0.48, 0.27, 0.125, 0.125)}[kind]
        low, top = log(min(chances)), log(max(chances))
        scale = (top - low) / 65535
        row = struct.pack("<ff4H", scale, low, *(round((log(chance) - low) / scale) for chance in chances))
        head = b"_logits_" + struct.pack("<iii", 64, 4, 2) + struct.pack("<128i", *((n + (kind == settings.get("other_tokens"))) % 4 for n in range(128)))
        whole = head + 2 * 31 * row
        pathlib.Path(base).write_bytes(whole[: len(whole) - settings.get("short_logits", 0)])
        if settings.get("few_tokens"):
            print("the data file you provided tokenizes to only 90 tokens", file=sys.stderr)
    print(f"[1]9.5000,[2]{value:.4f},")
    print(f"Final estimate: PPL = {value:.4f} +/- 0.10000", file=sys.stderr)
"""
_BENCH = """
if "--help" in args:
    print("  -d, --n-depth <n>\\n  --no-warmup   skip")
    sys.exit(0)
note("bench " + kind + (" load" if "--no-warmup" in args else ""))
perhaps_die("bench")
speed = {"F16": 100.0, "Q8_0": 150.0, "Q8_A8": 200.0}[kind]
rows = []
for depth in map(int, option("-d", "0").split(",")):
    for threads in map(int, option("-t", "1").split(",")):
        for prompt, generate in ((int(option("-p")), 0), (0, int(option("-n")))):
            if prompt or generate:
                rate = (speed if prompt else speed / 10) / (1 + depth / 1000)
                rows.append({"n_prompt": prompt, "n_gen": generate, "n_depth": depth, "n_threads": threads,
                    "avg_ts": rate, "stddev_ts": 0.0, "samples_ts": [rate], "samples_ns": [settings.get("nanoseconds", 1000)],
                    "build_commit": "abcdef1", "build_number": 7, "model_size": 1000, "model_type": "tiny"})
print(json.dumps(rows, indent=2))
"""


def fake_programs(folder: Path, **settings: object) -> Path:
    """A bin folder of fakes. ``die``: {"bench Q8_0": "SIGSEGV" or an exit code}; see the scripts for more."""
    folder.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parents[2]
    (folder / "fake.json").write_text(json.dumps({"tests": str(root), **settings}), encoding="utf-8")
    for name, body in (("quantize", _QUANTIZE), ("perplexity", _PERPLEXITY), ("bench", _BENCH)):
        place = folder / f"llama-{name}"
        end = f'\natexit.register(moment, "ended", "{name}")\n'  # where nobody reads what it prints, too
        place.write_text(_COMMON.format(python=sys.executable) + end + body, encoding="utf-8")
        place.chmod(0o755)
    return folder


def calls(folder: Path) -> list[str]:
    """What was run in a folder of fakes, in order."""
    place = folder / "calls.txt"
    return place.read_text(encoding="utf-8").splitlines() if place.exists() else []


def small_report(**changes: object) -> Report:
    """A report of three types, with everything in it; ``changes`` go to the Q8_A8 result."""
    base = TypeResult("Tiny", "F16", "tiny.gguf", 1000, 900, 10.0, 0.1, 2)
    base.series = {
        "pp": Series((100.0, 102.0, 98.0, 101.0, 99.0)),
        "tg": Series((10.0, 10.2, 9.8, 10.1, 9.9)),
        "ttft": Series((5.0, 5.1, 4.9, 5.05, 4.95)),
        "rss": Series((1060.0, 1065.0, 1055.0, 1062.0, 1058.0)),
    }
    other = TypeResult("Tiny", "Q8_0", "tiny8.gguf", 532, 500, 10.1, 0.1, 2, 0.002, 0.0001, 1.01, 0.001, 97.5)
    other.series = {
        key: Series(tuple(v * 1.01 for v in reversed(s.samples))) for key, s in base.series.items()
    }
    ours = TypeResult(
        "Tiny", "Q8_A8", "tinya.gguf", 532, 500, 10.05, 0.1, 2, 0.001, 0.0001, 1.005, 0.001, 98.0
    )
    ours.series = {
        "pp": Series((300.0, 310.0, 290.0, 305.0, 295.0)),
        "tg": Series((17.0, 17.4, 16.6, 17.1, 16.9)),
        "ttft": Series((1.7, 1.75, 1.65, 1.71, 1.69)),
        "rss": Series((560.0, 563.0, 557.0, 561.0, 559.0)),
    }
    for key, value in changes.items():
        setattr(ours, key, value)
    return Report({"id": "m", "processor": "a processor"}, [base, other, ours], "F16", title="Tiny")
