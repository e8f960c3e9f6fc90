"""What ``llama-perplexity`` prints, as numbers. It has no machine-readable output, so this reads its text.

Known forms (b4980 to v0.5.0 differ only in log prefixes and in which stream a line goes to):

* ``Final estimate: PPL = 19.1812 +/- 0.45812``, one standard error of the mean;
* the running values ``[1]10.0729,[2]14.3711,``, all that a plain ``> file`` catches, because the final
  line goes to stderr;
* the tables of ``--kl-divergence``, ``name: value`` with a standard error behind a plus-minus sign.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from statistics import fmean, stdev

from patcher.base.errors import UsageError

# never a part of a longer word, nor of a number that is written in another way: 21,2694 isn't 21
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+|nan|inf)(?:[eE][-+]?\d+)?(?![\w]|[.,'\u2019]\d)"
_OTHER_NUMBER = re.compile(
    r"(?:\[\d+\]\s*|[=:]\s*|±\s*|\+/-\s*|^[ \t]*\d+[ \t]+)([-+]?\d[\d.]*[,'\u2019]\d[\d.,]*)", re.MULTILINE
)
_PLUS_MINUS = r"(?:±|\+/-|\S{1,3})"  # whatever a terminal with another encoding made of it
_FINAL = re.compile(
    rf"Final estimate: PPL\b[^=\n]{{0,80}}(?:=[^=\n]{{0,80}})??=\s*({_NUMBER})\s*\+/-\s*({_NUMBER})"
)
_RUNNING = re.compile(rf"\[(\d+)\]\s*({_NUMBER}),")
_CHUNKS = re.compile(r"(?:calculating perplexity|computing) over (\d+) chunks(?:, n_ctx=(\d+))?")
_KLD_CHUNK = re.compile(
    rf"^[ \t]*(\d+)[ \t]+({_NUMBER})[ \t]+{_PLUS_MINUS}[ \t]+{_NUMBER}(?:[ \t]+\S+){{6,}}", re.MULTILINE
)
_NO_ERROR = "Unexpected negative standard deviation"
_UNREAD = re.compile(r"Final estimate: PPL\b")
_EDITED = "the output was edited, or is of two runs: run llama-perplexity again to its end"
_SAME = 0.01  # of a perplexity, that its last running value may be off
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_LAST_DIGIT = 1e-4  # of a perplexity as it is printed
_MARKS = ("Final estimate", "perplexity:", "kl_divergence:", "Mean PPL(Q)", "KL divergence statistics")


@dataclass(frozen=True)
class Divergence:
    """How far the output distributions are from the base's. KLD in nats a token, ``same_top`` in percent.

    ``ratio`` is PPL / PPL of the base, with its standard error from the paired tokens.
    """

    mean: float
    mean_error: float
    median: float
    maximum: float
    p99: float
    ratio: float
    ratio_error: float
    same_top: float
    same_top_error: float


@dataclass(frozen=True)
class Perplexity:
    """One run. ``error`` is one standard error, None where the text doesn't hold it."""

    value: float
    error: float | None
    chunks: int | None
    context: int | None
    divergence: Divergence | None
    note: str = ""
    running: tuple[float, ...] = ()  # after each chunk; empty where the text doesn't hold all of them


def parse(text: str, source: str) -> Perplexity:
    """Read one run's output; ``source`` is the name that errors carry.

    Raises :class:`UsageError` for an unknown format, a run that was cut off, a value that is no number,
    and for the output of two different runs in one file.
    """
    text = _COLOUR.sub("", text)
    _require_plain_numbers(text, source)
    announced = _CHUNKS.findall(text)
    chunks, context = _announced(announced, source)
    if "Mean PPL(Q)" in text:
        _require_one_run(text, source)
        return _with_divergence(text, chunks, context, source)
    finals = sorted(set(_FINAL.findall(text)))
    if len(finals) > 1:
        values = ", ".join(value for value, _ in finals)
        raise UsageError(
            f"{source}: holds {len(finals)} results ({values})", hint="write each run into a file of its own"
        )
    _require_one_run(text, source)
    running = _RUNNING.findall(text)
    if finals:
        value, error = (_finite(number, "PPL", source) for number in finals[0])
        _require_possible(value, running, text, source)
        return Perplexity(value, error, chunks or _last(running), context, None, running=_whole(running))
    if not running:
        raise _unknown(text, source)
    if _UNREAD.search(text):
        line = _line(text, _UNREAD)
        raise UsageError(
            f"{source}, line {line}: looked for 'Final estimate: PPL = VALUE +/- ERROR', found"
            f" {text.splitlines()[line - 1].strip()[-60:]!r}",
            hint=_EDITED,
        )
    return _from_running(text, running, chunks, context, source)


def _require_possible(value: float, running: list[tuple[str, str]], text: str, source: str) -> None:
    """Raise :class:`UsageError` for a perplexity that none can be, or is of another run than the text."""
    line = _line(text, _UNREAD)
    if value < 1:
        raise UsageError(
            f"{source}, line {line}: looked for a perplexity, which is 1 or more, found {value:g}",
            hint=_EDITED,
        )
    last = float(running[-1][1]) if running else value
    if not math.isclose(value, last, rel_tol=_SAME):
        raise UsageError(
            f"{source}, line {line}: the final estimate {value:g} is not the last running value {last:g}",
            hint=_EDITED,
        )


def _line(text: str, pattern: re.Pattern[str]) -> int:
    found = pattern.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _require_plain_numbers(text: str, source: str) -> None:
    """Raise :class:`UsageError` for a result with a decimal comma, say; its line is named."""
    for line, words in enumerate(text.splitlines(), 1):
        if not any(mark in words for mark in ("PPL", "KLD", "Same top", "Δp", "[1]")):
            continue
        found = _OTHER_NUMBER.search(words)
        if found:
            raise UsageError(
                f"{source}, line {line}: looked for a number like 21.2694, found {found[1][:40]!r}",
                hint="run it with LC_ALL=C: llama.cpp writes decimal points",
            )


def _require_one_run(text: str, source: str) -> None:
    """Raise :class:`UsageError` where a second run begins, with its line."""
    for first in (r"\[1\]\s*[\d.]", r"^\s*Mean PPL\(Q\)\s*:"):
        starts = [found.start() for found in re.finditer(first, text, re.MULTILINE)]
        if len(starts) > 1:
            raise UsageError(
                f"{source}: holds {len(starts)} runs, the second from line"
                f" {text.count(chr(10), 0, starts[1]) + 1} on",
                hint="write each run into a file of its own",
            )


def _from_running(
    text: str, running: list[tuple[str, str]], chunks: int | None, context: int | None, source: str
) -> Perplexity:
    number = int(running[-1][0])
    if chunks is not None and number < chunks:
        raise UsageError(
            f"{source}: the run was cut off after {number} of {chunks} chunks", hint="run it again to its end"
        )
    value = _finite(running[-1][1], "PPL", source)
    if _NO_ERROR in text:
        note = "its error could not be computed"
        return Perplexity(value, None, number, context, None, note, _whole(running))
    note = f"no final line: the last running value ({number} chunks) stands for it, without an error"
    if chunks is None:
        note += "; whether the run came to its end can't be told (redirect stderr too: 2>&1)"
    return Perplexity(value, None, number, context, None, note, _whole(running))


def _with_divergence(text: str, chunks: int | None, context: int | None, source: str) -> Perplexity:
    value, error = _pair(text, "Mean PPL(Q)", source)
    mean, mean_error = _pair(text, "Mean    KLD", source)
    ratio, ratio_error = _pair(text, "Mean PPL(Q)/PPL(base)", source)
    top, top_error = _pair(text, "Same top p", source)
    median, maximum, p99 = (
        _single(text, name, source) for name in ("Median  KLD", "Maximum KLD", "99.0%   KLD")
    )
    rows = _KLD_CHUNK.findall(text)
    done = int(rows[-1][0]) if rows else None
    divergence = Divergence(mean, mean_error, median, maximum, p99, ratio, ratio_error, top, top_error)
    return Perplexity(value, error, done or chunks, context, divergence)


_WHOLE_TABLES = (
    "the output is cut off, or of another run: run llama-perplexity --kl-divergence again to its end"
)


def _pair(text: str, name: str, source: str) -> tuple[float, float]:
    found = re.search(
        rf"^[ \t]*{_spaced(name)}[ \t]*:[ \t]*({_NUMBER})\s*{_PLUS_MINUS}\s*({_NUMBER})", text, re.MULTILINE
    )
    if found is None:
        raise UsageError(
            f"{source}: looked for '{name} : value ± error' in the KL divergence tables, found none",
            hint=_WHOLE_TABLES,
        )
    return _finite(found[1], name, source), _finite(found[2], name, source)


def _single(text: str, name: str, source: str) -> float:
    found = re.search(rf"^[ \t]*{_spaced(name)}[ \t]*:[ \t]*({_NUMBER})", text, re.MULTILINE)
    if found is None:
        raise UsageError(
            f"{source}: looked for '{name} : value' in the KL divergence tables, found none",
            hint=_WHOLE_TABLES,
        )
    return _finite(found[1], name, source)


def _spaced(name: str) -> str:
    return r"\s+".join(re.escape(word) for word in name.split())


def _announced(found: list[tuple[str, str]], source: str) -> tuple[int | None, int | None]:
    if not found:
        return None, None
    if len(set(found)) > 1:
        raise UsageError(
            f"{source}: holds {len(found)} runs of different length",
            hint="write each run into a file of its own",
        )
    chunks, context = found[0]
    return int(chunks), int(context) if context else None


def ratio_of_pair(found: Perplexity, base: Perplexity | None) -> float | None:
    """The ratio of two perplexities, as ``llama-perplexity`` gives it where that is what the two say.

    Its own is over the baseline's logits in 16 bits, which cut off what is very improbable: on text that the
    model knows little of, the ratio that it prints contradicts the two perplexities beside it.
    """
    if found.divergence is None:
        return None
    printed = found.divergence.ratio
    if base is None:
        return printed
    exact = found.value / base.value
    return printed if abs(exact - printed) <= 2 * _LAST_DIGIT / base.value else exact


def paired_ratio(value: Perplexity, baseline: Perplexity) -> tuple[float, float] | None:
    """PPL / PPL of the baseline with its standard error, from the running values of two runs over one text.

    ln PPL after i chunks is the mean of the chunks' losses, so that of chunk i is
    i ln PPL_i - (i-1) ln PPL_(i-1); the differences of the two runs' losses, chunk by chunk, give the
    error of their mean. None where the runs don't have the same chunks, or fewer than 3.
    """
    return paired_ratio_of(value.running, baseline.running)


def paired_ratio_of(value: tuple[float, ...], baseline: tuple[float, ...]) -> tuple[float, float] | None:
    """The same, of the running values themselves."""
    count = len(value)
    if count != len(baseline) or count < 3:
        return None
    losses = [_losses(running) for running in (value, baseline)]
    differences = [mine - base for mine, base in zip(*losses, strict=True)]
    ratio = math.exp(fmean(differences))
    return ratio, ratio * stdev(differences) / math.sqrt(count)


def _losses(running: tuple[float, ...]) -> list[float]:
    sums = [number * math.log(value) for number, value in enumerate(running, 1)]
    return [after - before for before, after in zip([0.0, *sums], sums, strict=False)]


def _whole(running: list[tuple[str, str]]) -> tuple[float, ...]:
    numbers = [int(number) for number, _ in running]
    values = tuple(float(value) for _, value in running)
    good = numbers == list(range(1, len(numbers) + 1)) and all(math.isfinite(value) for value in values)
    return values if good and all(value > 0 for value in values) else ()


def _last(running: list[tuple[str, str]]) -> int | None:
    return int(running[-1][0]) if running else None


def _finite(number: str, name: str, source: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise UsageError(
            f"{source}: {name} is {number}",
            hint="the model's output is not finite: the file is damaged, or a kernel is wrong",
        )
    return value


def _unknown(text: str, source: str) -> UsageError:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return UsageError(
            f"{source}: looked for the output of llama-perplexity, found an empty file",
            hint="run it again with its output into the file: llama-perplexity -m MODEL.gguf -f TEXT >"
            " FILE 2>&1",
        )
    if any(mark in text for mark in _MARKS):
        error = next((line for line in reversed(lines) if re.search(r"\berror|fail", line, re.I)), lines[-1])
        return UsageError(
            f"{source}: looked for 'Final estimate: PPL = ...' or running values, found neither;"
            f" the last word is: {error[:160]}",
            hint="run llama-perplexity again to its end",
        )
    return UsageError(
        f"{source}: looked for the output of llama-perplexity ('Final estimate: PPL = ...'), found"
        f" {lines[0][:80]!r}",
        hint="the format is unknown: please report it with the release that wrote it",
    )
