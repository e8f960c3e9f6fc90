"""``evaluate`` with real programs, a real browser, real workers, a real emulator."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from patcher.base.cache import cache_dir
from patcher.evaluate import from_files, grid
from patcher.evaluate.judge import thresholds
from patcher.evaluate.judge.noise import Series
from patcher.evaluate.measure import cross
from patcher.evaluate.report import outputs
from patcher.programs.folder import Programs
from patcher.programs.llama_bench import parse as parse_bench
from patcher.programs.llama_perplexity import parse as parse_perplexity
from tests.integration.conftest import Work, environment, q8a8_patch
from tests.programs import need
from tests.unit.evaluate_fakes import small_report, write_gguf

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_measures_nothing_twice(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    lines = ["text = 'text.txt'"]
    (tmp_path / "text.txt").write_text("words", encoding="utf-8")
    for number in range(6):
        write_gguf(tmp_path / f"m{number}.gguf", "F16", name=f"m{number}")
        lines += ["[[model]]", f"path = 'm{number}.gguf'"]
    (tmp_path / "grid.toml").write_text("\n".join(lines), encoding="utf-8")
    jobs = grid.load(tmp_path / "grid.toml")
    killed: list[str] = []

    def kill_a_worker_in_the_middle() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            begun = _noted(tmp_path, "begun")
            if len(begun) >= 3:  # both are at work, one for the second time
                name, pid = begun[-1]
                os.kill(pid, signal.SIGKILL)
                killed.append(name)
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill_a_worker_in_the_middle)
    killer.start()
    runner = "tests.integration.grid_jobs:slow_job"
    outcomes = grid.run(jobs, tmp_path / "results", executor="dask", workers=2, runner=runner)
    killer.join()
    assert len(killed) == 1
    assert [item.failure for item in outcomes] == [""] * 6
    results = [json.loads(item.file.read_text(encoding="utf-8")) for item in outcomes]
    assert [item["model"] for item in results] == [f"m{number}" for number in range(6)]
    begun = [name for name, _ in _noted(tmp_path, "begun")]
    measured = [name for name, _ in _noted(tmp_path, "measured")]
    assert sorted(measured) == [f"m{number}" for number in range(6)]  # none lost, none twice
    assert sorted(begun) == sorted([*measured, *killed])  # the one that was killed was begun again
    assert len({pid for _, pid in _noted(tmp_path, "begun")}) >= 2
    again = grid.run(jobs, tmp_path / "results", executor="dask", workers=2, runner=runner)
    assert [item.found for item in again] == [True] * 6
    assert len(_noted(tmp_path, "begun")) == len(begun)


def _noted(folder: Path, kind: str) -> list[tuple[str, int]]:
    place = folder / f"{kind}.txt"
    lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
    return [(name, int(pid)) for name, pid in (line.split() for line in lines)]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.system
def test_the_page_in_a_browser(tmp_path: Path, width: int, scheme: Any) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    report = small_report()
    for model in report.models:
        model.series["rss"] = Series((2e8, 2.1e8))
    report.models[2].type = "Q8_A8+smooth"  # the longest that there is by default
    verdicts = thresholds.judge(report, thresholds.parse(thresholds.PROMISE), ["Q8_A8+smooth"])
    page_file, picture = tmp_path / "report.html", tmp_path / "report.png"
    outputs.write(report, verdicts, outputs.Files(html=page_file))
    said: list[str] = []
    asked: list[str] = []
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        page.screenshot(path=str(picture), full_page=True)
        shown = page.evaluate(
            """() => {
              const rgb = (element, what) => getComputedStyle(element)[what].match(/\\d+/g).map(Number);
              const texts = [...document.querySelectorAll('svg text')];
              const boxes = texts.map(text => [text.getBoundingClientRect(), text.closest('svg').getBoundingClientRect()]);
              return {
                overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
                background: rgb(document.body, 'backgroundColor'), colour: rgb(document.body, 'color'),
                label: rgb(texts[0], 'fill'), smallest: Math.min(...boxes.map(([box]) => box.height)),
                outside: boxes.filter(([box, svg]) => box.left < svg.left - 1 || box.right > svg.right + 1
                  || box.bottom > svg.bottom + 1).length,
                plots: document.querySelectorAll('svg').length,
                narrowest: Math.min(...[...document.querySelectorAll('svg')].map(svg => svg.clientWidth)),
              };
            }"""
        )
        browser.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert shown["overflow"] == 0  # nothing runs off a phone's edge
    assert shown["plots"] == 10
    assert shown["outside"] == 0  # no label is cut off
    assert shown["smallest"] >= 10  # pixels
    assert shown["narrowest"] >= 290
    dark = sum(shown["background"][:3]) < 3 * 64
    assert dark is (scheme == "dark")
    for text in (shown["colour"], shown["label"]):
        assert _contrast(text, shown["background"]) > 7
    assert _colours(picture.read_bytes()) > 20  # it shows something


def _contrast(first: list[float], second: list[float]) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(colour: list[float]) -> float:
        shares = [value / 255 for value in colour[:3]]
        linear = [share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _colours(png: bytes) -> int:
    """How many different bytes the filtered pixels of a PNG hold: 1 or 2 for an empty picture."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, data = 8, b""
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        data += png[place + 8 : place + 8 + length] if kind == b"IDAT" else b""
        place += 12 + length
    return len(set(zlib.decompress(data)))


COUNTED = """
int main(int argc, char **argv) {
    volatile int sum = 0;
    (void) argv;
    for (int i = 0; i < 1000000 * (argc - 1); i++) { sum += i; }
    return 0;
}
"""


@pytest.mark.compiler
@pytest.mark.system
def test_instructions_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("aarch64-linux-gnu-g++", "qemu-aarch64")
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "count.c").write_text(COUNTED, encoding="utf-8")
    build = ["aarch64-linux-gnu-gcc", "-O1", str(tmp_path / "count.c"), "-o", str(tmp_path / "count")]
    subprocess.run(build, check=True)
    emulated = cross.emulator()
    counts = []
    for number in range(3):
        file = tmp_path / f"{number}.txt"
        Programs(tmp_path, emulated.launcher(file)).run("count", ["x"] * number)
        counts.append(int(file.read_text(encoding="ascii")))
    loops = [counts[1] - counts[0], counts[2] - counts[1]]
    assert loops[0] == pytest.approx(loops[1], rel=1e-3)  # a million turns each
    assert 4_000_000 <= loops[0] <= 12_000_000  # of a handful of instructions


def test_an_excerpt_is_whole_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "long.txt").write_text("x" + "\u00e9" * 1000, encoding="utf-8")
    found = cross.excerpt(tmp_path / "long.txt", 4).read_text(encoding="utf-8")
    assert found == "x" + "\u00e9" * 31


@pytest.mark.llama
@pytest.mark.slow
def test_real_programs(each_work: Work, f16: Path, text: Path, tmp_path: Path) -> None:
    line: list[str | Path] = [
        "evaluate", "run", f16, "--text", text, "--bin", each_work.bin, "--types", "F16,Q8_0,Q8_A8", "--chunks", "3",
        "--ctx", "128", "--prompt", "32", "--gen", "4", "--rounds", "2", "--threads", "2", "--require", "none", "--json",
    ]  # fmt: skip
    env = environment(Q8A8_PATCH_CACHE=str(tmp_path / "cache"))
    done = q8a8_patch(*line, env=env)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    base, eight, ours = document["models"]
    assert (base["type"], eight["type"], ours["type"]) == ("F16", "Q8_0", "Q8_A8")
    assert ours["bytes"] / base["bytes"] == pytest.approx(0.535, abs=0.005)
    assert 1 < base["perplexity"] < 1000  # its words are at random
    assert ours["ppl_ratio"] == pytest.approx(1, abs=0.05)
    assert 0 < ours["kld"] < 0.05
    for model in document["models"]:
        assert model["pp_tokens_per_s"] > 0
        assert model["tg_tokens_per_s"] > 0
        assert model["load_ms"] > 0
        prompts, firsts = (model["series"][key]["samples"] for key in ("pp", "ttft"))
        assert firsts == pytest.approx([32 / speed * 1e3 for speed in prompts])
    # a packed Q8_A8 and its mapped file count both: what is held is less, what is counted may be more
    assert eight["peak_rss_bytes"] < base["peak_rss_bytes"]
    assert document["settings"]["stages_made"] == 9  # three texts, six rounds
    again = json.loads(q8a8_patch(*line, env=env).stdout)
    assert again["settings"]["stages_made"] == 0
    assert again["models"] == document["models"]


@pytest.mark.llama
@pytest.mark.slow
def test_outputs_that_people_have(each_work: Work, f16: Path, text: Path, tmp_path: Path) -> None:
    run = [
        str(each_work.bin / "llama-perplexity"),
        "-m",
        str(f16),
        "-f",
        str(text),
        "-c",
        "128",
        "--chunks",
        "3",
    ]
    both = subprocess.run(
        run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=True
    )
    alone = subprocess.run(run, capture_output=True, text=True, errors="replace", check=True)
    whole = parse_perplexity(both.stdout, "2>&1")
    plain = parse_perplexity(alone.stdout, ">")
    assert (whole.chunks, whole.context) == (3, 128)
    assert whole.error is not None
    assert plain.value == pytest.approx(whole.value, rel=1e-4)
    assert len(plain.running) == 3
    bench = [str(each_work.bin / "llama-bench"), "-m", str(f16), "-p", "32", "-n", "4", "-r", "2", "-o"]
    said = {
        form: subprocess.run([*bench, form], capture_output=True, text=True, check=True).stdout
        for form in ("json", "jsonl", "csv", "md")
    }
    rows = {form: parse_bench(output, form) for form, output in said.items()}
    for form, found in rows.items():
        assert [row.test for row in found] == ["pp32", "tg4"], form
        assert all(row.speed > 0 for row in found)
        assert found[0].model_bytes == pytest.approx(rows["json"][0].model_bytes, rel=1e-3)
    for form in ("md", "json"):
        (tmp_path / f"{form}.txt").write_text(said[form], encoding="utf-8")
    (tmp_path / "a.txt").write_text(both.stdout, encoding="utf-8")
    (tmp_path / "b.txt").write_text(alone.stdout, encoding="utf-8")
    names = [tmp_path / name for name in ("a.txt", "b.txt", "md.txt", "json.txt")]
    done = q8a8_patch("evaluate", "from-files", *names, "--require", "none", "--json")
    assert done.returncode == 0, done.stderr
    compared = {item["metric"]: item for item in json.loads(done.stdout)["comparison"]}
    assert {"size", "ppl", "pp", "tg", "ttft"} <= compared.keys()
    assert compared["ppl"]["ratio"] == pytest.approx(1, abs=1e-4)


@pytest.mark.llama
@pytest.mark.slow
def test_outputs_of_every_release_that_was_measured() -> None:
    """What the programs of each release printed under ``ci/matrix``: all of it is read, nothing is guessed."""
    folders = sorted(cache_dir("matrix").glob("*/outputs"))
    if not folders:
        pytest.skip("ci/matrix has not measured any release on this machine")
    for folder in folders:
        names = ("fp16_ppl.txt", "q8a8_ppl.txt", "fp16_bench.txt", "q8a8_bench.txt")
        base, ours = from_files.report([folder / name for name in names]).models
        assert base.perplexity is not None, folder
        assert base.perplexity_error is not None, folder
        assert ours.kld == pytest.approx(0.004, abs=0.004), folder
        assert ours.ppl_ratio == pytest.approx(1, abs=0.02), folder
        assert base.chunks == ours.chunks, folder
        assert base.bytes is not None, folder
        assert ours.bytes is not None, folder
        assert ours.bytes / base.bytes == pytest.approx(0.5315, abs=0.002), folder
        assert {"pp", "tg", "ttft"} <= base.series.keys() & ours.series.keys(), folder
