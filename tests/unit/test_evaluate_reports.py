"""Reports: JSON that can be read again, Markdown and HTML that nothing in a model's name can break."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from patcher import cli
from patcher.base import units
from patcher.base.errors import ExitCode, UsageError
from patcher.evaluate import result
from patcher.evaluate.judge import compare, noise, thresholds, verdict_table
from patcher.evaluate.judge import metric as metrics
from patcher.evaluate.judge.noise import Ratio, Series
from patcher.evaluate.judge.thresholds import Verdict
from patcher.evaluate.report import figures, outputs, plots, svg, svg_plane
from patcher.evaluate.report.html import html
from patcher.evaluate.report.markdown import answer, how, markdown
from patcher.evaluate.report.svg import Mark
from patcher.evaluate.report.terminal import differences, terminal
from patcher.evaluate.result import Report
from patcher.programs.llama_perplexity import Divergence, Perplexity, ratio_of_pair
from tests.unit.evaluate_fakes import small_report

EVIL = "<script>alert(1)</script>|\n`x`"


def judged(report: Report) -> list[Verdict]:
    return thresholds.judge(report, thresholds.parse(thresholds.PROMISE), ["Q8_A8"])


def test_the_document_keeps_the_contract() -> None:
    report = small_report()
    found = outputs.document(report, judged(report))
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
    assert ours["peak_rss_bytes"] == 560.0
    kept = {entry["metric"]: entry["verdict"] for entry in found["verdicts"]}
    assert kept["rss"] == "yes"
    again = Report.from_document(json.loads(json.dumps(found)), "x")
    assert again == report


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models": 3}, "evaluate run --json"),
        ({"models": []}, "its baseline F16 among its models, found none"),
        ({"baseline": "F32"}, "its baseline F32 among its models, found none"),
        ({"version": 99}, "found 99"),
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
    files = outputs.Files(tmp_path / "a.json", tmp_path / "a.md", tmp_path / "a.html")
    files.require_places()
    assert outputs.write(report, judged(report), files) == [files.json, files.markdown, files.html]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.json", "a.md"]
    with pytest.raises(UsageError, match="found none"):
        outputs.Files(tmp_path / "no" / "a.json").require_places()


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
        "File size", "Prompt speed", "Decode speed", "Time to first token", "Peak memory", "Perplexity",
        "Perplexity against F16", "KL divergence from F16", "Decode speed against accuracy", "Prompt speed against accuracy",
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
    verdicts = thresholds.judge(report, thresholds.parse(thresholds.PROMISE), [EVIL])
    page = html(report, verdicts)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    text = markdown(report, verdicts)
    assert "<script" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    cells = {len(re.findall(r"(?<!\\)\|", line)) for line in rows if "alert" in line}
    assert cells <= {len(re.findall(r"(?<!\\)\|", line)) for line in rows if "alert" not in line}
    assert "alert" in terminal(report, verdicts, width=200)


def test_markdown_and_terminal_have_every_figure() -> None:
    report = small_report()
    for text in (markdown(report, judged(report)), terminal(report, judged(report), width=200)):
        for figure in (
            "532 B",
            "300 t/s",
            "17 t/s",
            "10.050 ±0.196",
            "0.532x",
            "1.0050x",
            "yes",
            "noise",
            "0.00100 ±0.00020",
            "at most 0.54x",
            "-47 %",
            "560 B",
            "0.528x",
            "at most 0.56x",
        ):
            assert figure in text, figure


def test_the_answer_is_a_row_a_promise_and_a_column_a_type() -> None:
    report = small_report(ppl_ratio=1.02, series={})
    report.settings = {"command": "q8a8-patch evaluate x.gguf", "context": 64, "text": "/a/t.txt"}
    verdicts = thresholds.judge(report, thresholds.parse(thresholds.PROMISE), ["Q8_0", "Q8_A8"])
    made = answer(report, verdicts)
    assert made[0] == "|  | promised | required | F16 | Q8_0 | Q8_A8 |"
    assert made[2] == (
        "| File size | -47 % | at most 0.54x | 1 kB | 532 B, 0.532x (-46.8 %): **yes** | 532 B, 0.532x (-46.8 %): **yes** |"
    )
    assert "1.0200x (+2.0 %): **no** |" in made[3]
    assert made[4].endswith("| not measured: **no** |")
    assert made[-1] == "Tiny, 2 chunks of 64 tokens of t.txt, a processor, by `q8a8-patch evaluate x.gguf`."
    assert verdict_table.summary(verdicts)[1] == (
        "Q8_A8: yes to 1 of 6; no: perplexity at most 1.007x (1.0200x), prompt speed at least 1.41x (not measured), "
        "decode speed at least 1.41x (not measured), time to first token at most 0.54x (not measured), "
        "peak memory at most 0.56x (not measured)"
    )


def test_arm_was_promised_more() -> None:
    assert thresholds.promise("x86_64") == thresholds.PROMISE
    bounds = {item.metric: item.bound for item in thresholds.parse(thresholds.promise("aarch64"))}
    assert (bounds["pp"], bounds["tg"], bounds["size"]) == (1.9, 1.9, 0.54)
    report = small_report()
    report.machine["architecture"] = "aarch64"
    assert [line.told for line in verdict_table.lines(report, judged(report))][2:4] == ["+90 %", "+90 %"]


def test_speed_by_depth_and_by_threads_is_drawn() -> None:
    report = small_report()
    report.settings = {"threads": [2, 1], "depths": [0, 1000]}
    for model in report.models:
        model.series |= {
            "tg@d1000": Series((5.0, 5.1)),
            "tg@t1": Series((6.0, 6.1)),
            "tg@d1000,t1": Series((3.0,)),
        }
    found = {plot.title: plot.svg for plot in plots.plots(report, [])}
    assert {"Decode speed by depth", "Decode speed by threads"} <= found.keys()
    assert "Prompt speed by depth" not in found
    assert found["Decode speed by depth"].count("<polyline") == 3
    assert "5.05 t/s at depth 1000" in found["Decode speed by depth"]
    assert "6.05 t/s at threads 1" in found["Decode speed by threads"]
    assert "at depth 1000" not in found["Decode speed by threads"]


def test_labels_of_points_hide_nothing() -> None:
    marks = [Mark(f"Q8_A8+smooth{n}", 50 + n, None, None, "", n, 0.1 * n) for n in range(3)]
    picture = svg_plane.points(
        [*marks, Mark("F16", 10, None, None, "", 3)], name="x", horizontal="", vertical="", better=""
    )
    names = re.findall(r'class="name halo" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]+)<', picture)
    boxes = []
    for x, y, anchor, label in names:
        left = float(x) - len(label) * 6 * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        boxes.append(svg_plane.Box(left, float(y) - 9, left + len(label) * 6, float(y) + 2))
    assert len(boxes) == 4
    assert all(box.left >= 0 and box.right <= svg.WIDTH for box in boxes)
    assert not any(one.overlap(other) for number, one in enumerate(boxes) for other in boxes[:number])


@pytest.mark.parametrize(("share", "said"), [(0.04, False), (0.536, True), (None, False)])
def test_a_busy_machine_is_named_beside_its_speeds(share: float | None, said: bool) -> None:
    report = small_report()
    report.machine |= {"others_share": share}
    assert ("54% of the processors busy with other work" in how(report)) is said
    for model in report.models:
        model.series = {}
    assert "busy" not in how(report)


def test_labels_of_points_stand_beside_whiskers() -> None:
    marks = [Mark("Q8_A8", 50, 40, 70, "", 0, 0.5, 0.2, 0.8), Mark("F16", 10, None, None, "", 1)]
    picture = svg_plane.points(marks, name="x", horizontal="", vertical="", better="")
    across, _ = [
        tuple(map(float, found))
        for found in re.findall(
            r'class="whisker thin" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', picture
        )
    ]
    (place,) = re.findall(r'class="name halo" x="[\d.]+" y="([\d.]+)" text-anchor="\w+">Q8_A8<', picture)
    assert not float(place) - 9 <= across[1] <= float(place) + 2


def test_a_label_at_the_edge_is_not_cut_off() -> None:
    marks = [  # a real report's, whose last label ran off the picture in a browser with wide letters
        Mark("F16", 62.4, 59.8, 68.4, "", 0, 0.0),
        Mark("Q8_0", 89.5, 88.0, 95.4, "", 1, 0.301, 0.140, 0.462),
        Mark("Q8_A8", 103.3, 93.6, 118.2, "", 2, 0.240, 0.077, 0.404),
        Mark("Q8_A8+smooth", 103.5, 98.9, 107.2, "", 3, 0.125, 0.013, 0.238),
    ]
    picture = svg_plane.points(marks, name="x", horizontal="", vertical="", better="")
    found = re.findall(r'class="name halo" x="([\d.]+)" y="[\d.]+" text-anchor="(\w+)">([^<]+)<', picture)
    assert len(found) == 4
    for x, anchor, label in found:
        width, right = 7.8 * len(label), {"start": 1.0, "middle": 0.5, "end": 0.0}[anchor]
        assert float(x) - width * (1 - right) >= 0, label
        assert float(x) + width * right <= svg.WIDTH, label


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
    with pytest.raises(UsageError, match="looked for a type in both reports, found"):
        compare.compare(first, second)


def test_the_command_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "evaluate", ("evaluate", "Is it half the size, as fast, as accurate?"))
    first, second = tmp_path / "before.json", tmp_path / "after.json"
    first.write_text(json.dumps(small_report().document()), encoding="utf-8")
    second.write_text(json.dumps(small_report(bytes=400).document()), encoding="utf-8")
    out = tmp_path / "out.md"
    line = ["evaluate", "compare", str(first), str(second)]
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
    assert units.number(value, unit) == shown


def test_ratios() -> None:
    assert figures.ratio(Ratio(0.5345, 0.5345, 0.5345)) == "0.534x"
    assert figures.ratio(Ratio(1.0033, 1.0019, 1.0048)) == "1.0033x [1.0019, 1.0048]"
    assert figures.ratio(Ratio(1.5)) == "1.500x"


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (19.1, 19.3), (-0.002, 0.001), (7.0, 5e9), (3.0, 3.0)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = svg.ticks(low, high)
    assert found
    assert all(low - 1e-9 * abs(low) <= tick <= high + 1e-9 * abs(high) for tick in found)
    assert len(found) <= 6


def test_reports_are_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = tmp_path / "results" / "one.json"
    first.parent.mkdir()
    first.write_text(json.dumps(small_report().document()), encoding="utf-8")
    page, table = tmp_path / "a.html", tmp_path / "a.md"
    line = ["evaluate", "show", str(first)]
    assert cli.run([*line, "--html", str(page), "--markdown", str(table)]) == ExitCode.OK
    assert "Q8_A8: yes to 6 of 6" in capsys.readouterr().out
    assert "<svg" in page.read_text(encoding="utf-8")
    assert cli.run([*line, "--require", "pp>=4"]) == ExitCode.FINDINGS
    assert "not kept: Q8_A8: pp>=4, measured 3.000x" in capsys.readouterr().err
    other = small_report(bytes=900)
    other.title = "Large"
    (first.parent / "two.json").write_text(json.dumps(other.document()), encoding="utf-8")
    many = ["evaluate", "show", str(first.parent), "--markdown", str(table), "--json"]
    assert cli.run(many) == ExitCode.FINDINGS
    found = json.loads(capsys.readouterr().out)["reports"]
    assert [(item["title"], item["verdicts"][0]["kept"]) for item in found] == [
        ("Tiny", True),
        ("Large", False),
    ]
    assert "| Large | Q8_A8 | 0.900x |" in table.read_text(encoding="utf-8")
    assert "| 5 of 6 |" in table.read_text(encoding="utf-8")
    (first.parent / "three.json").write_text("{}", encoding="utf-8")
    assert cli.run(many) == ExitCode.USAGE
    assert "three.json: looked for a document" in capsys.readouterr().err
    assert cli.run(["evaluate", "show", str(tmp_path / "path")]) == ExitCode.USAGE


def test_names_stand_above_what_is_drawn_and_no_line_runs_through_them() -> None:
    marks = [Mark("a-type-with-a-name-that-is-longer-than-a-phone-is-wide", 50, 40, 70, "50 t/s", 0)]
    marks += [Mark("Q8_A8+smooth", 30, 20, 35, "30 t/s", 1)]
    for picture in (
        svg.bars(marks, name="x", reference=(45.0, "at least")),
        svg.intervals(marks, name="x", unit="y", reference=0.0),
        svg.intervals(marks, name="x", unit="y", logarithmic=True),
    ):
        words = re.findall(
            r'class="(?:name|value)" x="([\d.]+)" y="([\d.]+)" text-anchor="(\w+)">([^<]+)<', picture
        )
        assert [word[3] for word in words][1::2] == ["50 t/s", "30 t/s"]
        bands = [(float(y) - 10, float(y) + 3) for _, y, _, _ in words]
        drawn = re.findall(r'<line class="\w+" x1="[\d.]+" y1="([\d.]+)" x2="[\d.]+" y2="([\d.]+)"', picture)
        drawn += [(y, str(float(y) + 14)) for y in re.findall(r'<rect [^>]*? y="([\d.]+)"', picture)]
        assert drawn
        for top, bottom in drawn:
            assert not any(float(top) < band[1] and float(bottom) > band[0] for band in bands), (top, bottom)
        name, value = words[0], words[1]
        assert name[3].endswith("\u2026")
        assert len(name[3]) * 7.8 + len(value[3]) * 7.8 <= svg.WIDTH


def test_a_crowd_of_points_has_a_legend() -> None:
    crowd = [Mark(f"Q8_A8+smooth{n}", 50 + 0.1 * n, None, None, "", n, 1.0) for n in range(7)]
    picture = svg_plane.points(crowd, name="x", horizontal="", vertical="", better="", logarithmic=True)
    places = re.findall(r'class="name" x="([\d.]+)" y="([\d.]+)"', picture)
    assert len(set(places)) == 7
    assert picture.count("<circle") == 14  # a point each, and one before each name
    height = float(re.findall(r'viewBox="0 0 340 ([\d.]+)"', picture)[0])
    assert all(250 < float(y) < height for _, y in places)


def test_an_interval_that_says_nothing_says_so() -> None:
    wide = noise.of_series(Series((1.0, 2.0)), Series((1.0, 1.0)))
    assert figures.ratio(wide) == "1.500x 2 rounds: no answer"
    assert metrics.verdict(metrics.METRICS["tg"], wide) == "within noise"
    near = noise.of_series(Series((2.0, 2.01)), Series((1.0, 1.0)))
    assert figures.interval(near).startswith("[1.9")


def test_two_perplexities_say_what_their_ratio_says() -> None:
    divergence = Divergence(0.001, 0.0001, 0.0, 0.1, 0.01, 1.02, 0.001, 97.0, 0.1)
    base = Perplexity(1000.0, 1.0, 2, 64, None)
    clipped = Perplexity(1040.0, 1.0, 2, 64, divergence)
    assert ratio_of_pair(clipped, base) == 1.04  # its own, 1.02, is over logits that were cut off
    assert (
        ratio_of_pair(Perplexity(1020.00009, 1.0, 2, 64, divergence), base) == 1.02
    )  # digits that aren't printed
