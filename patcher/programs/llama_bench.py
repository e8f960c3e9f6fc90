"""What ``llama-bench`` prints: JSON, JSON lines, CSV or its Markdown table, as rows.

JSON is what we ask for; the Markdown table is what people have in their files. Speeds are tokens/s.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from patcher.base.errors import UsageError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TEST = re.compile(r"(?:pp\s?(\d+))?\+?(?:tg\s?(\d+))?(?:\s*@\s*d(\d+))?")
_SPEED = re.compile(r"(\d+(?:\.\d+)?|nan|inf)\s*(?:±|\+/-|[^\s\d.,]{1,3})\s*(\d+(?:\.\d+)?|-?nan)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]iB)")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_ONE_RUN = "one run of one model a file, please, with one value of every option"
_BUILD = re.compile(r"^build: (\S+) \((\d+)\)", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """One test. ``samples`` are tokens/s, one a repetition; empty where only mean and deviation are told."""

    prompt: int
    generate: int
    depth: int
    threads: int
    speed: float
    deviation: float
    samples: tuple[float, ...] = ()
    samples_ns: tuple[int, ...] = ()
    model: str = ""
    model_bytes: int | None = None  # of the tensors; from a table, rounded as it is printed there
    build: str = ""
    backend: str = ""
    line: int = 0  # of the file, from 1

    @property
    def test(self) -> str:
        """``pp512``, ``tg128``, ``pp512+tg128``, with ``@d4096`` behind it at a depth."""
        parts = [f"pp{self.prompt}"] if self.prompt else []
        parts += [f"tg{self.generate}"] if self.generate else []
        return "+".join(parts) + (f"@d{self.depth}" if self.depth else "")

    @property
    def phase(self) -> str:
        """``pp`` for a prompt alone, ``tg`` for decoding alone, ``pg`` for both in one figure."""
        if self.prompt and self.generate:
            return "pg"
        return "pp" if self.prompt else "tg"


_ANEW = "the output was edited or cut off: run llama-bench again with -o json"


def parse(text: str, source: str) -> list[Row]:
    """Read one run's output; ``source`` is the name that errors carry.

    Raises :class:`UsageError` for an unknown format, for one without a single complete test, and for the
    output of two models or two runs.
    """
    text = _COLOUR.sub("", text)
    rows: list[Row] = []
    if re.search(r'"avg_ts"\s*:', text):
        rows = [_from_mapping(item, source, line) for item, line in _objects(text)]
    elif re.search(r"^\|.*\|\s*t/s\s*\|", text, re.MULTILINE):
        rows = list(_from_table(text, source))
    elif "avg_ts" in text and "," in text:
        rows = [_from_mapping(item, source, line) for item, line in _from_csv(text, source)]
    else:
        raise _unknown(text, source)
    if not rows:
        raise UsageError(
            f"{source}: looked for the tests of llama-bench, found none that is complete",
            hint="run llama-bench again to its end",
        )
    _require_one_run(rows, source)
    return rows


def _require_one_run(rows: list[Row], source: str) -> None:
    """Raise :class:`UsageError` where the rows are of several models or runs."""
    first = rows[0]
    seen: dict[tuple[str, int], Row] = {}
    for row in rows:
        if (row.model, row.model_bytes) != (first.model, first.model_bytes):
            one, other = (
                f"{item.model or 'a model'} of {item.model_bytes} bytes in line {item.line}"
                for item in (first, row)
            )
            raise UsageError(f"{source}: holds two models, {one} and {other}", hint=_ONE_RUN)
        if row.build != first.build:
            raise UsageError(
                f"{source}: holds two runs, of build {first.build} in line {first.line} and of build"
                f" {row.build} in line {row.line}",
                hint=_ONE_RUN,
            )
        before = seen.setdefault((row.test, row.threads), row)
        if before is not row:
            raise UsageError(
                f"{source}: holds two runs, or two settings of one: {row.test} in line {before.line} and"
                f" in line {row.line}",
                hint=_ONE_RUN,
            )


def _objects(text: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Every complete object of an array or of JSON lines, and its line; not an end that was cut off."""
    decoder = json.JSONDecoder()
    for start in re.finditer(r"(?:^[ \t]*|[\[,]\s*)(?=\{)", text, re.MULTILINE):
        try:
            item, _ = decoder.raw_decode(text, start.end())
        except ValueError:
            continue
        if isinstance(item, dict) and "avg_ts" in item:
            yield item, text.count("\n", 0, start.end()) + 1


def _from_csv(text: str, source: str) -> Iterator[tuple[dict[str, Any], int]]:
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if "avg_ts" in line)
    for number, row in enumerate(csv.DictReader(lines[first:]), first + 2):
        if row.get("avg_ts") == "avg_ts":
            raise UsageError(f"{source}: holds two runs, the second from line {number} on", hint=_ONE_RUN)
        if row.get("avg_ts"):
            yield row, number


def _from_mapping(item: Mapping[str, Any], source: str, line: int) -> Row:
    try:
        number = str(item.get("build_number", "")).strip()
        commit = str(item.get("build_commit", "")).strip()
        backend = item.get("backends") or item.get("gpu_info") or item.get("cpu_info") or ""
        size = item.get("model_size")
        return Row(
            prompt=int(item["n_prompt"]),
            generate=int(item["n_gen"]),
            depth=int(item.get("n_depth") or 0),
            threads=int(item.get("n_threads") or 0),
            speed=_positive(float(item["avg_ts"]), f"{source}, line {line}"),
            deviation=float(item.get("stddev_ts") or 0.0),
            samples=tuple(float(value) for value in item.get("samples_ts") or ()),
            samples_ns=tuple(int(value) for value in item.get("samples_ns") or ()),
            model=str(item.get("model_type", "")),
            model_bytes=int(size) if size is not None else None,
            build=f"{commit} ({number})" if commit else "",
            backend=str(backend),
            line=line,
        )
    except (KeyError, TypeError, ValueError) as why:
        raise UsageError(
            f"{source}, line {line}: a test of llama-bench can't be read ({why!r})", hint=_ANEW
        ) from why


def _from_table(text: str, source: str) -> Iterator[Row]:
    header: list[str] | None = None
    build = _BUILD.search(text)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if "t/s" in cells and "test" in cells:
            if header is not None:
                raise UsageError(f"{source}: holds two tables, the second in line {number}", hint=_ONE_RUN)
            header = cells
        elif header is not None and not re.fullmatch(r"[-: |]+", line.strip()):
            if len(cells) != len(header):
                raise UsageError(
                    f"{source}, line {number}: looked for {len(header)} columns, found {len(cells)}:"
                    f" {line.strip()[:80]!r}",
                    hint="the table was cut off or edited",
                )
            named = dict(zip(header, cells, strict=True))
            yield _from_cells(named, f"{build[1]} ({build[2]})" if build else "", source, number)


def _from_cells(cells: Mapping[str, str], build: str, source: str, line: int) -> Row:
    where = f"{source}, line {line}"
    test, speed = _TEST.fullmatch(cells["test"]), _SPEED.fullmatch(cells["t/s"])
    if test is None or not (test[1] or test[2]):
        raise UsageError(
            f"{where}: looked for a test like pp512 or tg128, found {cells['test']!r}", hint=_ANEW
        )
    if speed is None:
        raise UsageError(
            f"{where}: looked for a speed like '12.34 ± 0.05', found {cells['t/s']!r}", hint=_ANEW
        )
    size = _SIZE.fullmatch(cells.get("size", ""))
    if size is None and cells.get("size"):
        raise UsageError(f"{where}: looked for a size like '256.63 MiB', found {cells['size']!r}", hint=_ANEW)
    deviation = float(speed[2])
    return Row(
        prompt=int(test[1] or 0),
        generate=int(test[2] or 0),
        depth=int(test[3] or 0),
        threads=int(cells["threads"]) if cells.get("threads", "").isdigit() else 0,
        speed=_positive(float(speed[1]), where),
        deviation=deviation if math.isfinite(deviation) else 0.0,
        model=cells.get("model", ""),
        model_bytes=round(float(size[1]) * _UNITS[size[2]]) if size else None,
        build=build,
        backend=cells.get("backend", ""),
        line=line,
    )


def _positive(speed: float, source: str) -> float:
    if not math.isfinite(speed) or speed <= 0:
        raise UsageError(f"{source}: looked for a speed in tokens/s, found {speed}", hint=_ANEW)
    return speed


def _unknown(text: str, source: str) -> UsageError:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return UsageError(
            f"{source}: looked for the output of llama-bench, found an empty file",
            hint="run it again with its output into the file: llama-bench -m MODEL.gguf -o json > FILE",
        )
    sql = any(line.startswith(("CREATE TABLE", "INSERT INTO")) for line in lines)
    hint = "run llama-bench again with -o json" if sql or "build:" in text else None
    return UsageError(
        f"{source}: looked for the output of llama-bench (JSON, CSV, or a table with a t/s column), found"
        f" {lines[0][:80]!r}",
        hint=hint or "the format is unknown: please report it with the release that wrote it",
    )
