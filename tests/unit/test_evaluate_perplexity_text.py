"""Reading what llama-perplexity prints, and refusing what it doesn't."""

from __future__ import annotations

import math

import pytest

from patcher.base.errors import UsageError
from patcher.programs.llama_perplexity import paired_ratio, parse

OLD = """perplexity: calculating perplexity over 3 chunks, n_ctx=512, batch_size=2048, n_seq=4
perplexity: 1.25 seconds per pass - ETA 0.02 minutes
[1]4.5000,[2]5.2500,[3]5.6800,
Final estimate: PPL = 5.6800 +/- 0.12345
"""
NEW = (
    "0.00.867 I perplexity: calculating perplexity over 3 chunks, n_ctx=256, batch_size=2048, n_seq=8\n"
    "\x1b[0m[1]4.5000,[2]5.2500,[3]5.6800,\n"
    # the streams write into each other's lines
    "0.05.1 I perplexity: 4.46 seconds per pass - ETA 0.49.2 I Final estimate: PPL = 5.6800 +/- 0.12345\n"
)
STDOUT_ONLY = "0.02 minutes\n[1]4.5000,[2]5.2500,[3]5.6800,\n\n"
KLD = """chunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              Δp RMS            Same top p
   1       4.5100 ±    0.2000       0.00222 ±    0.00400       0.00300 ±    0.00021     1.200 ±  0.080 %    96.000 ±  1.000 %
   2       5.7200 ±    0.1300       0.00702 ±    0.00300       0.00350 ±    0.00014     1.100 ±  0.070 %    95.500 ±  0.900 %

====== Perplexity statistics ======
Mean PPL(Q)                   :   5.720000 ±   0.130000
Mean PPL(base)                :   5.680000 ±   0.120000
Mean PPL(Q)/PPL(base)         :   1.007042 ±   0.001500
====== KL divergence statistics ======
Mean    KLD:   0.003500 ±   0.000140
Maximum KLD:   0.250000
99.0%   KLD:   0.013000
Median  KLD:   0.002800
Same top p: 95.500 ± 0.900 %
"""


@pytest.mark.parametrize(("text", "context"), [(OLD, 512), (NEW, 256)], ids=["old", "new"])
def test_final_line(text: str, context: int) -> None:
    found = parse(text, "log")
    assert (found.value, found.error, found.chunks, found.context) == (5.68, 0.12345, 3, context)
    assert found.running == (4.5, 5.25, 5.68)


def test_a_plain_redirect_holds_only_running_values() -> None:
    found = parse(STDOUT_ONLY, "log")
    assert (found.value, found.error, found.chunks) == (5.68, None, 3)
    assert "2>&1" in found.note


def test_divergence_tables() -> None:
    found = parse(KLD, "log")
    assert (found.value, found.error, found.chunks) == (5.72, 0.13, 2)
    assert found.divergence is not None
    assert (found.divergence.mean, found.divergence.mean_error) == (0.0035, 0.00014)
    assert (found.divergence.ratio, found.divergence.ratio_error) == (1.007042, 0.0015)
    assert (found.divergence.median, found.divergence.maximum, found.divergence.p99) == (0.0028, 0.25, 0.013)
    assert found.divergence.same_top == 95.5


def test_another_encoding_of_the_plus_minus_sign() -> None:
    mangled = KLD.encode().decode("latin-1")
    assert parse(mangled, "log").divergence == parse(KLD, "log").divergence


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("hello\nworld\n", "'hello'"),
        ("perplexity: 19.2\n", "neither"),
        (OLD.replace("5.6800 +/-", "nan +/-"), "PPL is nan"),
        ("calculating perplexity over 9 chunks, n_ctx=512\n[1]4.5000,[2]5.2500,", "after 2 of 9 chunks"),
        (OLD + OLD.replace("5.6800 +", "5.7000 +"), "2 results"),
        (KLD.replace("Mean    KLD", "Average KLD"), "Mean    KLD"),
        (OLD + OLD.replace("over 3", "over 4"), "different length"),
        ("perplexity: tokenizing the input ..\nerror: failed to load model\n", "failed to load model"),
    ],
)
def test_what_is_not_a_result_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "some.log")
    assert "some.log" in str(caught.value)
    assert said in str(caught.value)


def test_paired_ratio_recovers_the_chunks() -> None:
    # losses a chunk: base 1, 2, 3; the other 0.01, 0.02, 0.03 more
    def text(losses: list[float]) -> str:
        sums = [sum(losses[: n + 1]) for n in range(len(losses))]
        return "".join(f"[{n}]{math.exp(total / n):.10f}," for n, total in enumerate(sums, 1))

    base, other = parse(text([1, 2, 3]), "a"), parse(text([1.01, 2.02, 3.03]), "b")
    found = paired_ratio(other, base)
    assert found is not None
    assert found[0] == pytest.approx(math.exp(0.02), rel=1e-6)
    assert found[1] == pytest.approx(math.exp(0.02) * 0.01 / math.sqrt(3), rel=1e-4)


def test_paired_ratio_wants_the_same_chunks() -> None:
    base = parse(OLD, "a")
    assert paired_ratio(parse("[1]4.5000,[2]5.2500,", "b"), base) is None
    assert paired_ratio(parse("[1]4.5000,[3]5.2500,[4]5.3,", "b"), base) is None


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        (OLD.replace("= 5.6800 +/-", "= 5,6800 +/-"), 4, "5,6800"),
        (OLD.replace("+/- 0.12345", "+/- 0,12345"), 4, "0,12345"),
        (OLD.replace("[1]4.5000,[2]5.2500,[3]5.6800,", "[1]4,5000,[2]5,2500,[3]5,6800,"), 3, "4,5000"),
        ("[1]4,5000,[2]21,2694,", 1, "4,5000"),
        (OLD.replace("= 5.6800 +/-", "= 1'234.5 +/-"), 4, "1'234.5"),
    ],
)
def test_numbers_in_another_notation_are_refused_with_their_line(text: str, line: int, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "some.log")
    assert f"some.log, line {line}: looked for a number like 21.2694, found " in str(caught.value)
    assert found in str(caught.value)


@pytest.mark.parametrize("text", [OLD, KLD], ids=["plain", "divergence"])
def test_the_same_run_twice_in_a_file_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"holds 2 runs, the second from line \d+ on"):
        parse(text + text, "some.log")
