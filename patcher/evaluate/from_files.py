"""Outputs that people already have: two of ``llama-perplexity``, two of ``llama-bench``, or either pair."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from patcher.base.errors import UsageError
from patcher.base.os_errors import reason, way_out
from patcher.evaluate.judge.noise import Series
from patcher.evaluate.measure import provenance
from patcher.evaluate.result import Report, TypeResult
from patcher.programs import llama_bench, llama_perplexity
from patcher.programs.llama_bench import Row
from patcher.programs.llama_perplexity import Perplexity

_MOST = 64 << 20  # bytes; a log of a day is far below
# a table without t/s too: llama-bench's own parser says what it misses
_BENCH = re.compile(r'"avg_ts"|^\|.*\|\s*(?:test\s*\||t/s\b.*\|)', re.MULTILINE)
_WORDS = re.compile(r"(?:_?(?:ppl|perplexity|bench|benchmark|llama)_?)", re.IGNORECASE)


def read_text(path: Path) -> str:
    """The text of a log, whatever the shell wrote it in (PowerShell's ``>`` writes UTF-16).

    Raises :class:`UsageError` where it can't be read.
    """
    try:
        if path.exists() and not path.is_dir() and not path.is_file():  # a pipe would be waited for
            raise UsageError(
                f"{path}: looked for an output of llama.cpp, found something that is no file",
                hint="write it into a file first, and name that",
            )
        if path.stat().st_size > _MOST:
            raise UsageError(
                f"{path}: looked for an output of llama.cpp's tools, found {path.stat().st_size >> 20} MiB",
                hint="name the file that llama-perplexity's or llama-bench's output was written to",
            )
        raw = path.read_bytes()
    except OSError as why:
        raise UsageError(
            f"{path}: looked for an output of llama.cpp, found none ({reason(why)})", hint=way_out(why)
        ) from why
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace")
    return raw.decode("utf-8-sig", "replace")


def report(paths: Sequence[Path]) -> Report:
    """Compare what the files hold: of each form the first is the baseline's, the second the candidate's.

    Raises :class:`UsageError` for an unknown format, where a pair is not complete, and where both of a pair
    are the same output.
    """
    same: dict[str, list[Path]] = {}
    perplexities: list[tuple[Path, Perplexity]] = []
    benches: list[tuple[Path, list[Row]]] = []
    for path in paths:
        text = read_text(path)
        if not text.strip():
            raise UsageError(
                f"{path}: looked for the output of llama-perplexity or llama-bench, found an empty file",
                hint="run it again with its output into the file: llama-bench -m MODEL.gguf -o json > FILE",
            )
        same.setdefault(" ".join(text.split()), []).append(path)
        if _BENCH.search(text) or "avg_ts" in text:
            benches.append((path, llama_bench.parse(text, str(path))))
        else:
            perplexities.append((path, llama_perplexity.parse(text, str(path))))
    for what, found in (("llama-perplexity", perplexities), ("llama-bench", benches)):
        if len(found) not in (0, 2):
            raise UsageError(
                f"evaluate from-files: looked for two outputs of {what}, found {len(found)}",
                hint="name the baseline's first: fp16_ppl.txt q8a8_ppl.txt fp16_bench.txt q8a8_bench.txt",
            )
    if not perplexities and not benches:
        raise UsageError(
            "evaluate from-files: looked for files, found none",
            hint="name them, the baseline's first: fp16_ppl.txt q8a8_ppl.txt fp16_bench.txt q8a8_bench.txt",
        )
    twice = next((found for found in same.values() if len(found) > 1), None)
    if twice:
        raise UsageError(
            f"evaluate from-files: {twice[0]} and {twice[1]} hold the very same output: nothing is compared",
            hint="name the outputs of two runs, the baseline's first",
        )
    results = [_result(number, perplexities, benches) for number in (0, 1)]
    if results[0].type == results[1].type:
        results[0].type, results[1].type = "first", "second"
    chunks = {found.chunks for _, found in perplexities} - {None}
    if len(chunks) > 1:
        raise UsageError(
            "evaluate from-files: the perplexities are of different lengths"
            f" ({', '.join(f'{path}: {found.chunks} chunks' for path, found in perplexities)})",
            hint="they can't be compared: run both over the same text",
        )
    _require_same_tests(benches)
    settings = {"from_files": [str(path) for path in paths]}
    machine = {"tool": provenance.machine()["tool"], "build": benches[0][1][0].build if benches else ""}
    return Report(machine, results, results[0].type, settings, title="From existing outputs")


def _result(
    number: int, perplexities: list[tuple[Path, Perplexity]], benches: list[tuple[Path, list[Row]]]
) -> TypeResult:
    path = (perplexities or benches)[number][0]
    result = TypeResult(path.stem, _WORDS.sub("", path.stem).strip(".-_ ") or path.stem, str(path))
    if perplexities:
        place, found = perplexities[number]
        result.perplexity, result.perplexity_error, result.chunks = found.value, found.error, found.chunks
        result.notes += [f"{place}: {found.note}"] if found.note else []
        if found.divergence is not None:
            result.kld, result.kld_error = found.divergence.mean, found.divergence.mean_error
            result.ppl_ratio, result.ppl_ratio_error = found.divergence.ratio, found.divergence.ratio_error
            result.same_top_percent = found.divergence.same_top
        elif number == 1:
            paired = llama_perplexity.paired_ratio(found, perplexities[0][1])
            result.ppl_ratio, result.ppl_ratio_error = paired or (None, None)
    if benches:
        place, rows = benches[number]
        result.bytes = result.tensor_bytes = rows[0].model_bytes
        result.notes.append(f"{place}: sizes are those that llama-bench prints, of the tensors alone")
        result.series = _series(rows)
    return result


def _series(rows: list[Row]) -> dict[str, Series]:
    """Prompt and decode apart; the first length and thread count of each is the plain ``pp`` and ``tg``."""
    found: dict[str, Series] = {}
    main: dict[str, Row] = {}
    for row in rows:
        if row.phase == "pg":
            continue  # one figure for both says nothing of either
        first = main.setdefault(row.phase, row)
        where = [f"d{row.depth}"] if row.depth != first.depth else []
        where += [f"t{row.threads}"] if row.threads != first.threads else []
        if (row.prompt, row.generate) != (first.prompt, first.generate):
            where.append(f"n{row.prompt or row.generate}")
        key = row.phase + (f"@{','.join(where)}" if where else "")
        # never by its samples: those of two separate runs are no pairs
        series = Series((row.speed,), row.deviation or None)
        found.setdefault(key, series)
        if row is main.get("pp"):
            deviation = row.deviation / row.speed * (row.prompt / row.speed * 1e3) if row.deviation else None
            found["ttft"] = Series((row.prompt / row.speed * 1e3,), deviation)
    return found


def _require_same_tests(benches: list[tuple[Path, list[Row]]]) -> None:
    if len(benches) < 2:
        return
    tests = [{(row.test, row.threads) for row in rows} for _, rows in benches]
    if not tests[0] & tests[1]:
        shown = [
            ", ".join(sorted(f"{test} on {threads} threads" for test, threads in each)) for each in tests
        ]
        raise UsageError(
            f"evaluate from-files: {benches[0][0]} holds {shown[0]}, {benches[1][0]} holds {shown[1]}:"
            " no test in common",
            hint="run llama-bench with the same options on both models",
        )
