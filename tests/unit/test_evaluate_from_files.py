"""The four files that people have, compared rightly."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from patcher import cli
from patcher.base.errors import ExitCode, UsageError
from patcher.evaluate.from_files import read_text, report
from patcher.evaluate.judge import metric
from tests.unit.evaluate_fakes import write_gguf
from tests.unit.test_evaluate_bench import TABLE, item
from tests.unit.test_evaluate_perplexity_text import KLD, OLD

Q_PPL = OLD.replace("[1]4.5000,[2]5.2500,[3]5.6800,", "[1]4.5300,[2]5.2900,[3]5.7200,").replace(
    "= 5.6800", "= 5.7200"
)
Q_TABLE = (
    TABLE.replace("12.55 GiB", " 6.67 GiB")
    .replace("118.20 ± 0.55", "236.40 ± 0.55")
    .replace("18.20 ± 0.07", "25.60 ± 0.07")
)
NAMES = ("fp16_ppl.txt", "q8a8_ppl.txt", "fp16_bench.txt", "q8a8_bench.txt")


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "evaluate", ("evaluate", "Is it half the size, as fast, as accurate?"))


def four(folder: Path, *contents: str) -> list[Path]:
    paths = [folder / name for name in NAMES]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content, encoding="utf-8")
    return paths


def test_the_four_files(tmp_path: Path) -> None:
    found = report(four(tmp_path, OLD, Q_PPL, TABLE, Q_TABLE))
    assert [model.type for model in found.models] == ["fp16", "q8a8"]
    ratios = {item.metric.key: item.ratio.value for item in metric.compare(found)}
    assert ratios["size"] == pytest.approx(6.67 / 12.55, rel=1e-6)
    assert ratios["ppl"] == pytest.approx(5.72 / 5.68)
    assert ratios["pp"] == pytest.approx(2.0)  # prompt and decode apart
    assert ratios["tg"] == pytest.approx(25.6 / 18.2)
    assert ratios["ttft"] == pytest.approx(0.5)
    assert ratios["tg@d1024"] == pytest.approx(1.0)


def test_the_order_of_kinds_does_not_matter_that_of_the_pair_does(tmp_path: Path) -> None:
    a, b, c, d = four(tmp_path, OLD, Q_PPL, TABLE, Q_TABLE)
    assert [model.type for model in report([c, a, d, b]).models] == ["fp16", "q8a8"]
    assert report([b, a, d, c]).baseline == "q8a8"


def test_perplexities_are_paired_by_chunk(tmp_path: Path) -> None:
    a, b, _, _ = four(tmp_path, OLD, Q_PPL, TABLE, Q_TABLE)
    found = report([a, b])
    ratio = metric.METRICS["ppl"].ratio(found.others[0], found.base)
    assert ratio is not None
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.high - ratio.low < 0.01  # as if independent it would be 0.08
    assert ratio.within_noise is False


def test_divergence_tables_are_taken(tmp_path: Path) -> None:
    a, b, _, _ = four(tmp_path, "[1]4.5000,[2]5.6800,", KLD, TABLE, Q_TABLE)
    found = report([a, b])
    assert found.others[0].kld == 0.0035
    assert found.others[0].ppl_ratio == 1.007042


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    place = tmp_path / "x"
    place.write_bytes(TABLE.encode(encoding))
    assert read_text(place) == TABLE


def test_json_and_table_may_be_mixed(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [item(n_threads=8), item(n_prompt=0, n_gen=128, n_threads=8)]
    _, _, c, d = four(tmp_path, "", "", json.dumps(rows), Q_TABLE)
    ratios = {entry.metric.key: entry.ratio.value for entry in metric.compare(report([c, d]))}
    assert ratios["pp"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ((OLD, Q_PPL, TABLE, OLD), "two outputs of llama-perplexity, found 3"),
        ((OLD, "perplexity: 5.7 tokens/s", TABLE, Q_TABLE), "q8a8_ppl.txt"),
        (
            (
                OLD,
                Q_PPL.replace("over 3", "over 2").replace(",[3]5.7200", "").replace("= 5.7200", "= 5.2900"),
                TABLE,
                Q_TABLE,
            ),
            "different lengths",
        ),
        ((OLD, Q_PPL, TABLE, TABLE.replace("pp512", "pp64").replace("tg128", "tg8")), "no test in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, contents: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        report(four(tmp_path, *contents))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(path) for path in four(tmp_path, OLD, Q_PPL, TABLE, Q_TABLE)]
    page = tmp_path / "page.html"
    assert cli.run(["evaluate", "from-files", *paths, "--json", "--html", str(page)]) == ExitCode.FINDINGS
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    kept = {entry["require"]: entry["kept"] for entry in found["verdicts"]}
    assert kept == {
        "size<=0.54": True,
        "ppl<=1.007": False,
        "pp>=1.41": True,
        "tg>=1.41": False,
        "ttft<=0.54": True,
    }
    assert captured.err.count("not kept:") == 2
    assert "<svg" in page.read_text(encoding="utf-8")
    require = ["--require", "size<=0.54,tg>=1.4"]
    assert cli.run(["evaluate", "from-files", *paths, *require]) == ExitCode.OK
    assert "1.407x" in capsys.readouterr().out


def test_a_tree_to_cross_build_that_is_not_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, text = write_gguf(tmp_path / "tiny.gguf", "F16"), tmp_path / "text.txt"
    text.write_text("words", encoding="utf-8")
    line = ["evaluate", "run", str(model), "--cross", "aarch64", "--work", "none"]
    assert cli.run(line) == ExitCode.USAGE
    assert "--cross: looked for --text, found none" in capsys.readouterr().err
    assert cli.run([*line, "--text", str(text)]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert said.startswith("error: none/llama.cpp: looked for the tree to cross-build, found none; name what")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["from-files"], "found none"),
        (["from-files", "none.txt", "none2.txt"], "none.txt"),
        (["--from-files", "--compare"], "can't be given together"),
        (["compare", "a.json"], "two JSON documents, found 1"),
        (["run"], "looked for one MODEL.gguf, found 0"),
        (["run", "none.gguf"], "none.gguf: looked for a GGUF model, found none; name one, or try"),
        (["grid", "none.toml"], "none.toml: looked for a manifest"),
        (["run", "x.gguf", "--types", "Q8_0,Q8_0"], "--types: Q8_0 is named twice"),
        (
            ["run", "--demo", "--subject", "Q9"],
            "--subject Q9: is not among the types F16, Q8_0, Q8_A8, Q8_A8+smooth",
        ),
        (["run", "--demo", "--baseline", "F32"], "--baseline F32: is not among the types; add it to --types"),
        (
            ["run", "--demo", "--text", "none.txt"],
            "none.txt: looked for a text, found none; name a plain text file",
        ),
        (
            ["run", "--demo", "--calibration", "none.txt"],
            "none.txt: looked for a text, found none; name a plain",
        ),
        (["run", "x.gguf", "--cross", "aarch64", "--subject", "Q9"], "--subject Q9: is not among the types"),
        (["run", "--demo", "x.gguf"], "--demo: takes no MODEL"),
        (["run", "--demo", "x.gguf", "--cross", "aarch64"], "--demo: takes no MODEL"),
        (["from-files", "a", "b", "--cross", "aarch64"], "No such option"),
        (["compare", "a", "b", "--types", "F16", "--rounds", "9"], "No such option"),
        (["run", "--cross", "aarch64"], "looked for one MODEL.gguf, found 0"),
        (["run", "x.gguf", "--depths", "a"], "numbers like 1,2,4"),
        (
            ["run", "x.gguf", "--cross", "aarch64", "--rounds", "9", "--quick"],
            "--quick, --rounds would change nothing",
        ),
        (["grid", "a", "--scheduler", "tcp://x"], "--scheduler: is for Dask alone; add --executor dask"),
        (["shwo", "a.json"], "No such command 'shwo'. Did you mean 'show'?"),
        (["run", "x.gguf", "--require", "fast"], "--require 'fast'"),
        (["run", "x.gguf", "--html", "/no/such/folder/x.html"], "can't be written: looked for the folder"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["evaluate", *arguments]) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_the_same_output_twice_is_refused(tmp_path: Path) -> None:
    a, b, c, _ = four(tmp_path, OLD, OLD + "\n", TABLE, Q_TABLE)
    with pytest.raises(UsageError, match=r"fp16_ppl\.txt and .*q8a8_ppl\.txt hold the very same output"):
        report([a, b])
    with pytest.raises(UsageError, match="hold the very same output"):
        report([c, c])


def test_time_to_first_token_is_the_first_prompt_s(tmp_path: Path) -> None:
    longer = Q_TABLE.replace("pp512+tg128", "      pp1024")
    _, _, c, d = four(tmp_path, OLD, Q_PPL, TABLE, longer)
    series = report([c, d]).others[0].series
    assert series["ttft"].median == pytest.approx(512 / 236.4 * 1e3)
    assert series["pp"].median == 236.4


@pytest.mark.parametrize(
    ("bench", "said"),
    [
        (TABLE + Q_TABLE, "holds two tables, the second in line 9"),
        (TABLE.replace("tiny 7B F16 ", "tiny 7B Q8_0", 1), "holds two models, tiny 7B Q8_0 .* in line 3 and tiny 7B F16"),
        (TABLE.replace("tg128 @ d1024", "        pp512"), "holds two runs, or two settings of one: pp512 in line 3 and in line 5"),
        (TABLE.replace("12.55 GiB", "12,55 GiB", 1), "line 3: looked for a size"),
        (TABLE.replace("18.20 ± 0.07", "18,20 ± 0.07"), "line 4: looked for a speed"),
        (TABLE.replace("18.20 ± 0.07", "18.20 ± 0,07"), "line 4: looked for a speed"),
        (TABLE.replace("18.20 ± 0.07", "1e3 ± 0.07"), "line 4: looked for a speed"),
    ],
)  # fmt: skip
def test_mixed_or_unknown_benches_are_refused_with_their_line(tmp_path: Path, bench: str, said: str) -> None:
    _, _, c, d = four(tmp_path, OLD, Q_PPL, TABLE, bench)
    with pytest.raises(UsageError, match=rf"q8a8_bench\.txt.*{said}"):
        report([c, d])


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("first_ppl", lambda text: text.replace("PPL = ", "PPL = -"), "1 or more, found -"),
        ("first_ppl", lambda text: text.replace("PPL = 21", "PPL = 0"), "1 or more, found 0"),
        ("first_ppl", lambda text: text.replace("PPL = ", "PPL = 9"), "is not the last running value"),
        ("first_ppl", lambda text: text.replace("PPL = ", "PPL = 1."), "looked for 'Final estimate: PPL ="),
        ("first_ppl", lambda text: "", "llama-perplexity or llama-bench, found an empty file"),
        ("first_bench", lambda text: text.replace("t/s |", "s/t |"), "output of llama-bench"),
    ],
)
def test_what_can_not_be_is_refused(
    name: str, change: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = "perplexity: calculating perplexity over 2 chunks, n_ctx=256\n[1]27.1100,[2]21.2694,\n"
    table = "| model | size | test | t/s |\n| - | -: | -: | -: |\n| a | 1.00 MiB | pp64 | {} ± 0.95 |\n"
    texts = {
        "first_ppl": f"{running}Final estimate: PPL = 21.2694 +/- 2.57188\n",
        "second_ppl": f"{running}Final estimate: PPL = 21.2701 +/- 2.57188\n",
        "first_bench": table.format("2.77"),
        "second_bench": table.format("5.77"),
    }
    for one, text in texts.items():
        (tmp_path / one).write_text(change(text) if one == name else text, encoding="utf-8")
    words = ["evaluate", "from-files", "--require", "none", *(str(tmp_path / one) for one in texts)]
    assert cli.run(words) == 2
    assert said in capsys.readouterr().err
    (tmp_path / name).write_text(texts[name], encoding="utf-8")
    assert cli.run(words) == 0


def test_a_pipe_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert cli.run(["evaluate", "from-files", str(tmp_path / "pipe")]) == 2
    assert "found something that is no file" in capsys.readouterr().err
