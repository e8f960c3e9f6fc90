"""``--require``: bounds, and the answer to each."""

from __future__ import annotations

import pytest

from patcher.base.errors import UsageError
from patcher.evaluate.judge import metric, thresholds
from patcher.evaluate.judge.noise import Series
from tests.unit.evaluate_fakes import small_report


def answers(require: str, *, subject: str = "Q8_A8", **changes: object) -> dict[str, str]:
    report = small_report(**changes)
    verdicts = thresholds.judge(report, thresholds.parse(require), [subject])
    return {str(item.requirement): item.text for item in verdicts}


def test_the_promise_is_the_default() -> None:
    assert thresholds.PROMISE == "size<=0.54,ppl<=1.007,pp>=1.41,tg>=1.41,ttft<=0.54,rss<=0.56"
    assert answers(thresholds.PROMISE) == {
        "size<=0.54": "yes",
        "ppl<=1.007": "yes",
        "pp>=1.41": "yes",
        "tg>=1.41": "yes",
        "ttft<=0.54": "yes",
        "rss<=0.56": "yes",
    }


def test_each_line_can_fail() -> None:
    rounds = (100.0, 102.0, 98.0, 101.0, 99.0)
    slow = {"pp": Series(rounds), "tg": Series(tuple(value / 10 for value in reversed(rounds)))}
    late = Series((50.0, 51.0, 49.0, 50.5, 49.5))
    twice = Series((1100.0, 1105.0, 1095.0, 1102.0, 1098.0))  # a file's pages beside what was packed from it
    found = answers(
        thresholds.PROMISE, bytes=541, ppl_ratio=1.02, series={**slow, "ttft": late, "rss": twice}
    )
    assert set(found.values()) == {"no"}
    assert len(found) == 6


def test_a_figure_that_was_not_measured_is_not_kept() -> None:
    assert answers("load<=2") == {"load<=2": "no (not measured)"}


def test_a_bound_within_the_noise_is_called_that() -> None:
    assert answers("ppl<=1.004") == {"ppl<=1.004": "no (within noise)"}
    assert answers("ppl<=1.006") == {"ppl<=1.006": "yes (within noise)"}


def test_one_round_leaves_the_noise_unknown() -> None:
    assert answers("pp>=1.41", series={"pp": Series((300.0,))})["pp>=1.41"] == "yes (noise unknown)"


def test_divergence_is_absolute() -> None:
    assert answers("kld<=0.01") == {"kld<=0.01": "yes"}
    assert answers("kld<=0.0001") == {"kld<=0.0001": "no"}


@pytest.mark.parametrize("relation", ["<", "<=", ">", ">="])
def test_relations(relation: str) -> None:
    (requirement,) = thresholds.parse(f"size{relation}0.5")
    assert requirement.holds(0.4) is relation.startswith("<")
    assert requirement.holds(0.6) is relation.startswith(">")
    assert requirement.holds(0.5) is relation.endswith("=")


@pytest.mark.parametrize("text", ["size", "size<=x", "speed>=2", "size<=0.5;pp>=1", "size=0.5"])
def test_what_is_no_requirement_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--require"):
        thresholds.parse(text)


def test_none_requires_nothing() -> None:
    assert thresholds.parse("none") == []


def test_subjects_are_our_types() -> None:
    report = small_report()
    assert thresholds.subjects(report, ()) == ["Q8_A8"]
    assert thresholds.subjects(report, ("Q8_0",)) == ["Q8_0"]
    with pytest.raises(UsageError, match="was not measured"):
        thresholds.judge(report, [], ["Q4_0"])


def test_comparison_calls_noise_noise() -> None:
    found = {(item.type, item.metric.key): item.verdict for item in metric.compare(small_report())}
    assert found["Q8_0", "pp"] == "within noise"
    assert found["Q8_A8", "pp"] == "better"
    assert found["Q8_A8", "ttft"] == "better"
    assert found["Q8_0", "ppl"] == "worse"
    assert found["Q8_A8", "size"] == "better"


def test_a_report_is_judged_by_what_its_own_users_were_told() -> None:
    def asked(**machine: str) -> str:
        report = small_report()
        report.machine |= machine
        return ",".join(map(str, thresholds.asked(report, None)))

    assert asked(architecture="x86_64") == thresholds.PROMISE
    assert asked(architecture="aarch64") == thresholds.PROMISE_ARM  # wherever it is read
    assert asked(architecture="x86_64", emulated="aarch64 (qemu-user -cpu max)") == ""
    report = small_report()  # of outputs that were there: nobody knows where they were made
    for model in report.models:
        model.series = {}
    assert [item.metric for item in thresholds.asked(report, None)] == ["size", "ppl"]
    report.machine["architecture"] = "x86_64"  # measured, without its speed: that is not kept
    assert [item.metric for item in thresholds.asked(report, None)] == [
        "size",
        "ppl",
        "pp",
        "tg",
        "ttft",
        "rss",
    ]
    wanted = thresholds.parse("tg>=9")
    assert thresholds.asked(report, wanted) == wanted
