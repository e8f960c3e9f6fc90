"""The answer inside a README: its own lines are renewed, all others stay, and nothing is guessed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import ExitCode, UsageError
from patcher.evaluate.judge import thresholds
from patcher.evaluate.judge.noise import Series
from patcher.evaluate.judge.thresholds import Verdict
from patcher.evaluate.report import marked_block, outputs
from patcher.evaluate.result import Report
from tests.unit.evaluate_fakes import small_report

BEGIN, END = marked_block.marks("x86_64")
PAGE = f"# Title\n\nbefore | é\n\n{BEGIN}\nstale words\n{END}\n\nafter\n"


@pytest.fixture
def report() -> Report:
    found = small_report()
    found.machine["architecture"] = "x86_64"
    found.settings["command"] = "q8a8-patch evaluate tiny.gguf"
    return found


@pytest.fixture
def verdicts(report: Report) -> list[Verdict]:
    return thresholds.judge(report, thresholds.parse(thresholds.PROMISE), ["Q8_A8"])


def page(folder: Path, text: str) -> Path:
    place = folder / "README.md"
    place.write_bytes(text.encode())
    return place


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_the_block_changes(tmp_path: Path, report: Report, verdicts: list[Verdict], end: str) -> None:
    before = PAGE.replace("\n", end)
    place = page(tmp_path, before)
    for _ in range(2):  # the second time changes nothing
        outputs.write(report, verdicts, outputs.Files(into=(place,)))
        after = place.read_bytes().decode()
        head, _, rest = after.partition(BEGIN)
        block, _, tail = rest.partition(END)
        assert (head, tail) == (before.partition(BEGIN)[0], before.partition(END)[2])
        assert "stale" not in block
        rows = [line for line in block.split(end) if line.startswith("| File size |")]
        assert rows == ["| File size | -47 % | at most 0.54x | 1 kB | 532 B, 0.532x (-46.8 %): **yes** |"]
        assert "by `q8a8-patch evaluate tiny.gguf`." in block
        assert after.count("\n") == after.count(end)


def test_an_empty_block_is_filled(tmp_path: Path, report: Report, verdicts: list[Verdict]) -> None:
    place = page(tmp_path, f"{BEGIN}\n{END}")
    assert "**yes**" in marked_block.replaced(place, report, verdicts)


@pytest.mark.parametrize(
    "text",
    [
        "no marks",
        f"{BEGIN}\n",
        f"{END}\n{BEGIN}\n",
        f"{BEGIN} {END}\n",
        PAGE + PAGE,
        f"{BEGIN}\n" + PAGE,
        PAGE.replace("x86_64", "aarch64"),
    ],
)
def test_marks_that_are_not_one_pair(
    tmp_path: Path, report: Report, verdicts: list[Verdict], text: str
) -> None:
    place = page(tmp_path, text)
    with pytest.raises(UsageError, match=r"README\.md: looked for one <!-- evaluate x86_64 -->"):
        outputs.write(report, verdicts, outputs.Files(into=(place,)))
    assert place.read_bytes().decode() == text
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_two_pages_are_renewed_together_or_not_at_all(
    tmp_path: Path, report: Report, verdicts: list[Verdict]
) -> None:
    first, second = page(tmp_path, PAGE), tmp_path / "second.md"
    second.write_text("no marks", encoding="utf-8")
    with pytest.raises(UsageError, match=r"second\.md"):
        outputs.write(report, verdicts, outputs.Files(into=(first, second)))
    assert first.read_text(encoding="utf-8") == PAGE
    second.write_text(PAGE, encoding="utf-8")
    outputs.write(report, verdicts, outputs.Files(into=(first, second)))
    assert first.read_bytes() == second.read_bytes() != PAGE.encode()


def test_an_emulated_processor_has_its_own_block(tmp_path: Path, report: Report) -> None:
    report.machine |= {"emulated": "aarch64 (qemu-user -cpu max)", "processor": "A Host"}
    report.settings["meaning"] = "no measure of time"
    for number, model in enumerate(report.models):
        model.series = {"instructions": Series((1000.0 - 100 * number,))}
    place = page(tmp_path, PAGE + PAGE.replace("x86_64", "aarch64"))
    found = marked_block.replaced(place, report, [])
    assert found.startswith(PAGE)
    block = found[len(PAGE) :]
    assert (
        "| Instructions a token | 1000.0000 | 900.0000, 0.900x (-10.0 %) | 800.0000, 0.800x (-20.0 %) |"
        in block
    )
    assert "no measure of time" in block
    assert "A Host" not in block


def test_the_command_renews_a_page(
    tmp_path: Path, report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    place, document = page(tmp_path, PAGE), tmp_path / "a.json"
    outputs.write(report, [], outputs.Files(json=document))
    line = ["evaluate", "show", str(document), "--into", str(place)]
    assert cli.run(line) == ExitCode.OK
    assert "**yes**" in place.read_text(encoding="utf-8")
    assert f"written   {place}" in capsys.readouterr().err
    page(tmp_path, "no marks")
    assert cli.run(line) == ExitCode.USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "put <!-- evaluate x86_64 --> and <!-- /evaluate x86_64 --> on lines of their own" in said.err
    assert (
        cli.run(["evaluate", "compare", str(document), str(document), "--into", str(place)]) == ExitCode.USAGE
    )


def test_the_korean_page_has_the_figures_of_the_readme() -> None:
    root = Path(__file__).resolve().parents[2]
    readme = (root / "README.md").read_text(encoding="utf-8")
    korean = (root / "docs" / "ko" / "README.md").read_text(encoding="utf-8")
    block = readme[readme.index(BEGIN) : readme.index(END)]
    rows = [line for line in block.splitlines() if re.match(r"\| [A-Z]", line)]
    assert len(rows) == 5
    theirs = [line for line in korean.splitlines() if re.search(r"\*\*(예|아니요)\*\*", line)]
    assert len(theirs) == 5
    answers = {"yes": "예", "no": "아니요"}
    for mine, other in zip(rows, theirs, strict=True):
        found = re.findall(r"\(([+-][\d.]+ %)\): \*\*(yes|no)\*\*", mine)
        assert len(found) == 2
        assert re.findall(r"([+-][\d.]+ %): \*\*(예|아니요)\*\*", other) == [
            (change, answers[said]) for change, said in found
        ]
