"""Reports: JSON that can be read again, Markdown and HTML that nothing in a model's name can break."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from patcher import cli
from patcher.errors import ExitCode, UsageError
from patcher.evaluate import compare, reporting, result, svg, thresholds, wording
from patcher.evaluate.noise import Ratio, Series
from patcher.evaluate.report_html import html
from patcher.evaluate.report_markdown import markdown
from patcher.evaluate.report_terminal import differences, terminal
from patcher.evaluate.result import Report
from patcher.evaluate.thresholds import Verdict
from tests.unit.evaluate_fakes import small_report

EVIL = "<script>alert(1)</script>|\n`x`"


def judged(report: Report) -> list[Verdict]:
    return thresholds.judge(report, thresholds.parse(thresholds.PROMISE), ["Q8_A8"])


def test_the_document_keeps_the_contract() -> None:
    report = small_report()
    found = reporting.document(report, judged(report))
    assert {"machine", "models", "baseline", "comparison"} <= found.keys()
    wanted = {
        "name", "type", "bytes", "perplexity", "perplexity_error", "pp_tokens_per_s", "tg_tokens_per_s", "ttft_ms",
    }  # fmt: skip
    assert all(wanted <= model.keys() for model in found["models"])
    ours = found["models"][2]
    assert (ours["bytes"], ours["perplexity"], ours["pp_tokens_per_s"], ours["ttft_ms"]) == (
        532,
        10.05,
        300.0,
        1.7,
    )
    again = Report.from_document(json.loads(json.dumps(found)), "x")
    assert again == report


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models": 3}, "evaluate --json"),
        ({"models": []}, "not among its models"),
        ({"baseline": "F32"}, "not among its models"),
        ({"version": 99}, "version 99"),
        ({"models": [{"name": "a", "type": "F16", "bytes": "many"}]}, "not a number"),
        ({"models": [{"name": "a", "type": "F16", "series": {"pp": {"samples": []}}}]}, "finite samples"),
    ],
)
def test_another_document_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    place = tmp_path / "a.json"
    report = small_report()
    place.write_text(json.dumps({**report.document(), **change}), encoding="utf-8")
    with pytest.raises(UsageError, match=said) as caught:
        result.load(place)
    assert str(place) in str(caught.value)


def test_files_are_written_whole(tmp_path: Path) -> None:
    report = small_report()
    files = reporting.Files(tmp_path / "a.json", tmp_path / "a.md", tmp_path / "a.html")
    files.require_places()
    assert reporting.write(report, judged(report), files) == [files.json, files.markdown, files.html]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.json", "a.md"]
    with pytest.raises(UsageError, match="folder isn't there"):
        reporting.Files(tmp_path / "no" / "a.json").require_places()


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_is_self_contained_and_whole() -> None:
    page = html(small_report(), judged(small_report()))
    parser = _Tags()
    parser.feed(page)
    names = [tag for tag, _ in parser.tags]
    assert "script" not in names
    assert not any(
        name in attributes for _, attributes in parser.tags for name in ("src", "onload", "onclick")
    )
    links = [attributes.get("href") for tag, attributes in parser.tags if tag in ("link", "a", "use")]
    assert links == ["data:,"]
    assert "url(" not in page
    assert "@import" not in page
    titles = re.findall(r"<h3>([^<]+)</h3>", page)
    assert titles == [
        "File size", "Prompt speed", "Decode speed", "Time to first token", "Perplexity", "Perplexity against F16",
        "Speed against accuracy",
    ]  # fmt: skip
    assert names.count("svg") == len(titles)
    for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(picture)  # noqa: S314 - our own
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_names_cannot_break_a_report() -> None:
    report = small_report(type=EVIL)
    report.title = report.machine["processor"] = EVIL
    report.skipped[EVIL] = EVIL
    page = html(report, judged(small_report()))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    text = markdown(report, [])
    assert "<script" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in rows if "alert" in line}
    assert cells <= {len(re.findall(r"(?<!\\)\|", line)) for line in rows if "alert" not in line}
    assert "alert" in terminal(report, [], width=200)


def test_markdown_and_terminal_have_every_figure() -> None:
    report = small_report()
    for text in (markdown(report, judged(report)), terminal(report, judged(report), width=200)):
        for figure in (
            "532 B",
            "300 t/s",
            "17 t/s",
            "10.0500",
            "0.532x",
            "1.0050x",
            "yes",
            "within noise",
            "0.001000",
        ):
            assert figure in text, figure


def test_a_missing_figure_is_a_dash() -> None:
    report = small_report(perplexity=None, ppl_ratio=None, series={})
    assert re.search(r"\| Q8_A8 \| 532 B \| - \| - \| - \| - \|", markdown(report, []))
    html(report, [])
    terminal(report, [], width=100)


def test_compare_two_machines() -> None:
    first, second = small_report(), small_report(series={"pp": Series((600.0, 610.0, 590.0, 605.0, 595.0))})
    second.machine = {"id": "other"}
    second.settings = {"chunks": 5}
    found, notes = compare.compare(first, second)
    by_key = {(item.type, item.metric.key): item for item in found}
    assert by_key["Q8_A8", "pp"].ratio.value == pytest.approx(2.0)
    assert by_key["Q8_A8", "pp"].verdict == "better"
    assert by_key["F16", "pp"].verdict == "equal"
    assert ("Q8_A8", "tg") not in by_key
    assert any("number of chunks differs" in note for note in notes)
    assert "600 t/s" in differences(found, ("a", "b"), notes, width=200)
    second.models = [model for model in second.models if model.type == "Q8_A8"]
    second.models[0].type = "Q2_K"
    with pytest.raises(UsageError, match="no type in common"):
        compare.compare(first, second)


def test_the_command_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "evaluate", ("evaluate", "Is it half the size, as fast, as accurate?"))
    first, second = tmp_path / "before.json", tmp_path / "after.json"
    first.write_text(json.dumps(small_report().document()), encoding="utf-8")
    second.write_text(json.dumps(small_report(bytes=400).document()), encoding="utf-8")
    out = tmp_path / "out.md"
    line = ["evaluate", "--compare", str(first), str(second)]
    assert cli.run([*line, "--json", "--markdown", str(out)]) == ExitCode.OK
    found = {
        (item["type"], item["metric"]): item for item in json.loads(capsys.readouterr().out)["differences"]
    }
    assert found["Q8_A8", "size"]["ratio"] == pytest.approx(400 / 532)
    assert found["Q8_A8", "size"]["verdict"] == "better"
    assert found["F16", "size"]["verdict"] == "equal"
    assert "| Q8_A8 | file size | 532 B | 400 B | 0.752x | better |" in out.read_text(encoding="utf-8")
    assert cli.run(line) == ExitCode.OK
    assert "0.752x" in capsys.readouterr().out
    assert cli.run([*line, "--html", str(tmp_path / "x.html")]) == ExitCode.USAGE


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (144811072, "bytes", "144.8 MB"), (7.2e9, "bytes", "7.2 GB"), (532, "bytes", "532 B"),
        (18.2, "tokens/s", "18.2 t/s"), (592.3, "tokens/s", "592 t/s"), (0.0281, "ms", "0.0281 ms"),
        (1234.0, "ms", "1234 ms"), (15000.0, "ms", "15 s"), (19.1812, "", "19.1812"), (2.5e9, "", "2.5 G"),
    ],
)  # fmt: skip
def test_numbers(value: float, unit: str, shown: str) -> None:
    assert wording.number(value, unit) == shown


def test_ratios() -> None:
    assert wording.ratio(Ratio(0.5345, 0.5345, 0.5345)) == "0.534x"
    assert wording.ratio(Ratio(1.0033, 1.0019, 1.0048)) == "1.0033x [1.0019, 1.0048]"
    assert wording.ratio(Ratio(1.5)) == "1.500x"


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (19.1, 19.3), (-0.002, 0.001), (7.0, 5e9), (3.0, 3.0)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = svg.ticks(low, high)
    assert found
    assert all(low - 1e-9 * abs(low) <= tick <= high + 1e-9 * abs(high) for tick in found)
    assert len(found) <= 6
