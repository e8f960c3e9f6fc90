"""The whole of ``evaluate`` with programs that only pretend: what runs, in which order, and what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher import cli
from patcher.base.errors import BuildError, ExitCode, UsageError
from patcher.evaluate import Programs, Report, Request, evaluate, failures
from patcher.evaluate.measure import variant
from tests.unit.evaluate_fakes import calls, fake_programs, write_gguf

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="the fakes are scripts")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(cli.COMMANDS, "evaluate", ("evaluate", "Is it half the size, as fast, as accurate?"))


def request(tmp_path: Path, **changes: Any) -> Request:
    text = tmp_path / "text.txt"
    text.write_text("some words " * 100, encoding="utf-8")
    plain: dict[str, Any] = {
        "model": write_gguf(tmp_path / "tiny.gguf", "F16"),
        "text": text,
        "programs": Programs(tmp_path / "bin"),
        "variants": variant.parse("F16,Q8_0,Q8_A8"),
        "rounds": 3,
        "threads": (1,),
    }
    return Request(**{**plain, **changes})


def test_everything_is_measured_in_turn(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin")
    report = evaluate(request(tmp_path))
    assert calls(tmp_path / "bin") == [
        "quantize Q8_0", "quantize Q8_A8", "bench F16", "bench F16",  # tastes, to tell how long it will take
        "perplexity F16", "perplexity Q8_0 kld", "perplexity Q8_A8 kld",
        "bench F16 load", "bench F16", "bench Q8_0 load", "bench Q8_0", "bench Q8_A8 load", "bench Q8_A8",
        "bench Q8_0 load", "bench Q8_0", "bench Q8_A8 load", "bench Q8_A8", "bench F16 load", "bench F16",
        "bench Q8_A8 load", "bench Q8_A8", "bench F16 load", "bench F16", "bench Q8_0 load", "bench Q8_0",
    ]  # fmt: skip
    assert [model.type for model in report.models] == ["F16", "Q8_0", "Q8_A8"]
    ours = report.models[2]
    assert (ours.perplexity, ours.kld) == (10.05, 0.002)
    assert ours.ppl_ratio == pytest.approx(1.005)
    assert (ours.median("pp"), ours.median("tg"), ours.median("ttft")) == (200.0, 20.0, 512 / 200 * 1e3)
    assert (ours.series["pp"].samples, len(ours.series["load"].samples)) == ((200.0,) * 3, 3)
    assert ours.median("rss")
    assert ours.bytes == Path(ours.file).stat().st_size
    assert report.base.tensor_bytes == 64 * 4 * 2 + 256
    assert report.machine["build"] == "abcdef1 (7)"
    assert not list((tmp_path / "cache").rglob("*.draft"))


@pytest.mark.parametrize(("nanoseconds", "loads"), [(1000, True), (10**12, False)])
def test_the_first_tokens_own_time_is_no_part_of_loading(
    tmp_path: Path, nanoseconds: int, loads: bool
) -> None:
    fake_programs(tmp_path / "bin", nanoseconds=nanoseconds)  # a token of 1000 s is more than all of it
    report = evaluate(request(tmp_path, rounds=1, text=None))
    assert [(model.median("load") or 0.0) > 0 for model in report.models] == [loads] * 3


def test_a_second_run_measures_nothing(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin")
    first = evaluate(request(tmp_path))
    before = len(calls(tmp_path / "bin"))
    second = evaluate(request(tmp_path))
    assert len(calls(tmp_path / "bin")) == before
    assert [model.series for model in second.models] == [model.series for model in first.models]
    evaluate(request(tmp_path, rounds=4))
    assert len(calls(tmp_path / "bin")) == before + 8  # two tastes, the fourth round of three types


def test_another_build_or_text_is_measured_again(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin")
    evaluate(request(tmp_path, rounds=0))
    before = len(calls(tmp_path / "bin"))
    changed = request(tmp_path, rounds=0)
    assert changed.text is not None
    changed.text.write_text("other words " * 100, encoding="utf-8")
    evaluate(changed)
    assert len(calls(tmp_path / "bin")) == before + 5  # two tastes
    (tmp_path / "bin" / "libggml.so").write_bytes(b"a new build")
    evaluate(replace(changed, programs=Programs(tmp_path / "bin")))
    assert (
        len(calls(tmp_path / "bin")) == before + 5 + 7
    )  # two models are made again too, and the taste is had


def test_a_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """llama-perplexity dies of some, and measures noise on others."""
    fake_programs(tmp_path / "bin")
    changed = request(tmp_path, rounds=0)
    assert changed.text is not None
    changed.text.write_bytes(("words, " * 400).encode("utf-16"))
    with pytest.raises(UsageError, match="looked for a text in UTF-8, found the byte 0xff near byte 0"):
        evaluate(changed)
    assert not calls(tmp_path / "bin")


def test_a_crash_of_one_type_keeps_the_others(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin", die={"bench Q8_0": "SIGSEGV"})
    report = evaluate(request(tmp_path))
    assert [model.type for model in report.models] == ["F16", "Q8_0", "Q8_A8"]
    assert report.models[1].perplexity == 10.1
    assert report.models[1].series == {}
    assert len(report.models[2].series["pp"].samples) == 3
    assert len(failures(report)) == 1
    assert "SIGSEGV" in failures(report)[0]
    assert calls(tmp_path / "bin").count("bench Q8_0 load") == 1  # it isn't tried in every round


def test_a_model_that_cannot_be_made_is_a_failure(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin", rows=8)
    report = evaluate(request(tmp_path, rounds=1))
    assert [model.type for model in report.models if model.bytes is not None] == ["F16"]
    assert len(failures(report)) == 2
    assert "changed the shapes" in failures(report)[0]


def test_a_crash_of_the_baseline_ends_it_and_keeps_what_was_measured(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin", die={"bench F16": "SIGKILL"})
    with pytest.raises(BuildError, match="llama-bench: was killed by SIGKILL"):
        evaluate(request(tmp_path))
    fake_programs(tmp_path / "bin")  # mended, without a new build
    before = calls(tmp_path / "bin")
    evaluate(request(tmp_path))
    assert not [call for call in calls(tmp_path / "bin")[len(before) :] if "bench" not in call]


def test_logits_that_were_cut_off_are_a_full_disk(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin", short_logits=1)
    with pytest.raises(BuildError, match="the disk is full"):
        evaluate(request(tmp_path))


def test_logits_that_were_cut_off_are_taken_by_no_type(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin")
    evaluate(request(tmp_path, variants=variant.parse("F16"), rounds=0))
    fake_programs(tmp_path / "bin", short_logits=1)  # the disk has filled up since
    report = evaluate(request(tmp_path, rounds=0))
    assert [len(model.failures) for model in report.models] == [0, 1, 1]
    assert all("the disk is full" in model.failures[0] for model in report.others)
    assert not [call for call in calls(tmp_path / "bin") if call.endswith("kld")]


def test_a_kept_baseline_makes_its_logits_again_for_a_new_type(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin")
    evaluate(request(tmp_path, variants=variant.parse("F16,Q8_0"), rounds=0))
    evaluate(request(tmp_path, rounds=0))
    assert [call for call in calls(tmp_path / "bin") if "perplexity" in call] == [
        "perplexity F16", "perplexity Q8_0 kld", "perplexity F16", "perplexity Q8_A8 kld",
    ]  # fmt: skip


def test_without_divergence_chunks_are_paired(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin")
    report = evaluate(request(tmp_path, divergence=False, rounds=0))
    assert "perplexity Q8_A8" in calls(tmp_path / "bin")
    assert report.models[2].perplexity == 10.05
    assert report.models[2].kld is None


def test_a_quantized_model_is_widened_and_that_is_said(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin")
    model = write_gguf(tmp_path / "given.gguf", "Q4_1")
    report = evaluate(request(tmp_path, model=model, rounds=0))
    assert calls(tmp_path / "bin")[:3] == ["quantize F16", "quantize Q8_0", "quantize Q8_A8"]
    assert "given in Q4_1" in report.base.notes[0]


def test_a_model_that_was_made_and_then_damaged_is_made_again(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin")
    report = evaluate(request(tmp_path, rounds=0))
    made = Path(report.models[2].file)
    made.write_bytes(made.read_bytes()[:-300])
    again = evaluate(request(tmp_path, rounds=0))
    assert Path(again.models[2].file).stat().st_size == report.models[2].bytes
    assert calls(tmp_path / "bin").count("quantize Q8_A8") == 2


def test_files_and_smoothing_by_name(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin")
    mine = write_gguf(tmp_path / "Q8_A8-mine.gguf", "Q8_A8", rows=8)
    report = evaluate(request(tmp_path, variants=variant.parse(f"F16,mine={mine},Q8_A8+smooth"), rounds=1))
    assert [model.type for model in report.models] == ["F16", "mine"]
    assert report.models[1].median("pp") == 200.0
    assert "--calibration" in report.skipped["Q8_A8+smooth"]


def test_depths_and_threads(tmp_path: Path) -> None:
    fake_programs(tmp_path / "bin")
    report = evaluate(request(tmp_path, text=None, depths=(0, 1000), threads=(2, 1), rounds=1))
    assert set(report.base.series) == {
        "pp", "tg", "ttft", "load", "rss", "pp@d1000", "tg@d1000", "pp@t1", "tg@t1", "pp@d1000,t1", "tg@d1000,t1",
    }  # fmt: skip
    assert report.base.median("tg@d1000") == 5.0
    assert report.base.perplexity is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": Path("none.txt")}, "none.txt: looked for a text"),
        ({"programs": Programs(Path("nowhere"))}, "nowhere: looked for llama-perplexity"),
        ({"baseline": "Q4_0"}, "--baseline Q4_0"),
        ({"variants": variant.parse("F16,Q9_9")}, "doesn't know the type 'Q9_9'"),
    ],
)
def test_inputs_that_are_not_there(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    fake_programs(tmp_path / "bin")
    with pytest.raises(UsageError, match=said):
        evaluate(request(tmp_path, **changes))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake_programs(tmp_path / "bin")
    asked = request(tmp_path)
    line = [
        "evaluate", "run", str(asked.model), "--text", str(asked.text), "--bin", str(tmp_path / "bin"), "--rounds", "3",
        "--types", "F16,Q8_A8", "--json", "-o", str(tmp_path / "a.json"),
    ]  # fmt: skip
    assert cli.run([*line, "--require", "size<=0.8,ppl<=1.007,pp>=1.41,tg>=1.41,ttft<=0.54"]) == ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "a.json").read_text())
    assert Report.from_document(document, "x").baseline == "F16"
    assert [entry["verdict"] for entry in document["verdicts"]] == ["yes"] * 5
    assert cli.run([*line, "--require", "pp>=2.5"]) == ExitCode.FINDINGS
    assert "not kept: Q8_A8: pp>=2.5, measured 2.000x" in capsys.readouterr().err
    fake_programs(tmp_path / "bin", die={"bench Q8_A8": 1})
    assert cli.run([*line, "--fresh"]) == ExitCode.BUILD
    assert "not measured: Q8_A8: llama-bench: ended with exit code 1" in capsys.readouterr().err
