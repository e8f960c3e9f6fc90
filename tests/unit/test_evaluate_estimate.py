"""How long it will take, told before it begins, and what makes a machine's figures doubtful."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import ExitCode
from patcher.base.stages import StageCache
from patcher.evaluate import Programs
from patcher.evaluate.measure import estimate, speed, variant
from patcher.evaluate.measure.accuracy import Accuracy, Task
from patcher.evaluate.measure.estimate import Budget, Taste
from patcher.evaluate.measure.models import Factory, Model
from patcher.programs import llama_bench
from patcher.programs.llama_bench import Row
from tests.unit.evaluate_fakes import calls, fake_programs, write_gguf

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="the fakes are scripts")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def models(tmp_path: Path) -> list[Model]:
    programs = Programs(fake_programs(tmp_path / "bin"))
    factory = Factory(
        write_gguf(tmp_path / "tiny.gguf", "F16"), programs, tmp_path / "models", calibration=None
    )
    return [factory.make(item) for item in variant.parse("F16,Q8_A8")]


def test_the_budget_is_arithmetic(tmp_path: Path, models: list[Model]) -> None:
    (tmp_path / "text.txt").write_text("words " * 50, encoding="utf-8")
    programs, cache = Programs(tmp_path / "bin"), StageCache()
    accuracy = Accuracy(Task(programs, tmp_path / "text.txt", 2, 64), cache, models[0], tmp_path)
    task = speed.Task(programs, 100, 9, (0, 50), (2, 1))
    budget = Budget(models, accuracy, task, 3, cache)
    assert (budget.stages, budget.missing) == (8, 8)
    assert "8 stages" in budget.text()
    budget.learn(Taste(prompt=10.0, decode=2.0, load=3.0))
    assert budget.accuracy("F16") == 2 * 64 / 10 + 3
    one = (200 / 10 + 10 / 2) + (
        200 / 10 + 10 / 2 + 100 / 10
    )  # each prompt is warmed up, depths are filled twice
    assert budget.speed("F16", 0) == 2 * 3 + one * (1 + 2)  # half the threads take twice as long
    assert budget.seconds == pytest.approx(2 * budget.accuracy("F16") + 6 * budget.speed("F16", 0))
    assert budget.text() == "about 19 min to measure (the baseline: 10 t/s prompt, 2 t/s decode)"
    disturbed = Taste(prompt=10.0, decode=2.0, load=3.0, spread=20.0)
    budget.learn(disturbed)
    assert budget.text().startswith("about 19 min to 6 h 23 min to measure")
    assert budget.pace == 1.0
    budget.mend(10.0, 40.0)
    budget.mend(0.0, 5.0)  # a stage that was there
    assert budget.pace == 4.0
    accuracy.measure(models[0], lambda share: None)
    speed.measure_round(task, cache, models[1], 2)
    rest = Budget(models, accuracy, task, 3, cache)
    assert rest.missing == 6
    assert (rest.accuracy("F16"), rest.speed("Q8_A8", 2)) == (0.0, 0.0)
    assert rest.text() == "6 stages to measure; 2 of 8 stages are there already"


def test_a_taste_that_fails_is_none(tmp_path: Path, models: list[Model]) -> None:
    assert estimate.taste(Programs(tmp_path / "bin"), models[0], 1) is not None
    fake_programs(tmp_path / "bin", die={"bench Q8_A8": "SIGSEGV"})
    assert estimate.taste(Programs(tmp_path / "bin"), models[1], 1) is None


def test_of_two_tastes_the_better_counts_and_none_is_kept(
    tmp_path: Path, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, speeds = Programs(tmp_path / "bin"), iter((5.8, 348.0))

    def bench(text: str, source: str) -> list[Row]:
        speed = next(speeds)
        return [Row(64, 0, 0, 1, speed, 0.0), Row(0, 4, 0, 1, speed / 10, 0.0)]

    monkeypatch.setattr(llama_bench, "parse", bench)
    found = estimate.taste(programs, models[0], 1)
    assert found is not None
    assert (found.prompt, found.decode, found.spread) == (348.0, 34.8, 60.0)
    monkeypatch.undo()
    before = calls(tmp_path / "bin").count("bench F16")
    estimate.taste(programs, models[0], 1)
    assert calls(tmp_path / "bin").count("bench F16") == before + 2


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "1 s"), (89, "89 s"), (91, "2 min"), (5940, "99 min"), (12000, "3 h 20 min")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert estimate.duration(seconds) == shown


def test_doubts(models: list[Model], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "available_memory", lambda: 1 << 30)
    assert estimate.doubts(models, 0.02) == []
    assert estimate.doubts(models, None) == []
    monkeypatch.setattr(estimate, "available_memory", lambda: models[0].header.tensor_bytes - 1)
    busy, large = estimate.doubts(models, 0.53)
    assert busy.startswith("other programs take 53%")
    assert large.startswith("F16 takes")


def test_quick_is_said_by_its_settings(
    tmp_path: Path, models: list[Model], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text("words " * 250, encoding="utf-8")
    line = ["evaluate", "run", str(tmp_path / "tiny.gguf"), "--text", str(tmp_path / "text.txt"), "--bin"]
    line += [str(tmp_path / "bin"), "--types", "F16,Q8_A8", "--quick", "--json", "--require", "none"]
    assert cli.run(line) == ExitCode.OK
    captured = capsys.readouterr()
    settings = json.loads(captured.out)["settings"]
    assert [settings[key] for key in ("chunks", "rounds", "generate", "prompt")] == [8, 3, 32, 512]
    assert "takes     about" in captured.err
    assert cli.run([*line, "--chunks", "4", "--rounds", "1"]) == ExitCode.OK
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert [settings[key] for key in ("chunks", "rounds", "generate")] == [4, 1, 32]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("abc", [], "has 3 bytes, 1024 tokens are wanted for a context of 512; name a longer --text"),
        ("words " * 50, [], "has 300 bytes, .*; name a longer --text, or --ctx 150"),
        ("words " * 250, ["--ctx", "64", "--chunks", "3"], "score 93, the KL divergence takes 100 or more; --chunks 4 or"),
        ("words " * 250, ["--types", "F16"], "--types F16: there is nothing to compare the baseline with"),
    ],
)  # fmt: skip
def test_what_can_t_be_measured_is_said_before_anything_runs(
    tmp_path: Path, text: str, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fake_programs(tmp_path / "bin")
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    model = write_gguf(tmp_path / "tiny.gguf", "F16")
    line = [
        "evaluate",
        "run",
        str(model),
        "--text",
        str(tmp_path / "text.txt"),
        "--bin",
        str(folder),
        *options,
    ]
    assert cli.run(line) == ExitCode.USAGE
    assert re.search(said, capsys.readouterr().err)
    assert calls(folder) == []
