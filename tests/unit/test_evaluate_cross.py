"""``--cross`` with an emulator and a build that only pretend: what is counted, and what it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from patcher.base.errors import BuildError, UsageError
from patcher.base.stages import StageCache
from patcher.evaluate import Programs
from patcher.evaluate.measure import cross, crossing, variant
from patcher.evaluate.report.markdown import markdown
from tests.unit.evaluate_fakes import calls, fake_programs, write_gguf

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="the fakes are scripts")

# takes 5000 instructions to load, and 7 a token and chunk; then runs what it was given
EMULATOR = """#!{python}
import os, sys
rest = sys.argv[sys.argv.index("-L") + 2:]
if rest[0] == "-plugin":
    out = rest[1].split("out=")[1]
    rest = rest[2:]
    option = lambda name: int(rest[rest.index(name) + 1])
    open(out, "w").write(str(5000 + 7 * option("-c") * option("--chunks")))
os.execv(rest[0], rest)
"""
TESTER = "#!/bin/sh\necho Testing q8_0\n{line}\n"


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> crossing.CrossRequest:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "emulator"
    place.write_text(EMULATOR.format(python=sys.executable), encoding="utf-8")
    place.chmod(0o755)
    monkeypatch.setattr(cross, "emulator", lambda: cross.Emulator(place, tmp_path / "plugin.so", tmp_path))
    folder = fake_programs(tmp_path / "arm")

    def built(*arguments: Any, **keywords: Any) -> SimpleNamespace:
        return SimpleNamespace(bin_dir=folder, targets=cross.TARGETS, seconds=1.0)

    monkeypatch.setattr(cross, "cross_build", built)
    write_tester(folder, "echo Testing q8_a8")
    text = tmp_path / "text.txt"
    text.write_text("some words " * 500, encoding="utf-8")
    return crossing.CrossRequest(
        write_gguf(tmp_path / "tiny.gguf", "F16"), text, tmp_path, tmp_path / "build",
        Programs(fake_programs(tmp_path / "bin")), variant.parse("F16,Q8_A8"), "F16", tmp_path / "models", 64,
    )  # fmt: skip


def write_tester(folder: Path, line: str) -> None:
    place = folder / "test-quantize-fns"
    place.write_text(TESTER.format(line=line), encoding="utf-8")
    place.chmod(0o755)


def test_loading_is_no_part_of_the_count(request_: crossing.CrossRequest) -> None:
    report = crossing.evaluate(request_, cache=StageCache())
    assert [model.type for model in report.models] == ["F16", "Q8_A8"]
    for model in report.models:
        assert model.median("instructions") == 7.0
        assert model.series.keys() == {"instructions"}  # no time of an emulator anywhere
        assert "no measure of time" in model.notes[0]
    assert (report.models[1].perplexity, report.models[1].chunks) == (10.05, 3)
    assert report.settings["correctness"] == "2 types right, q8_a8 among them"
    assert "no measure of time" in markdown(report, [])
    before = len(calls(request_.programs.folder.parent / "arm"))
    assert before == 4  # two lengths of two types
    crossing.evaluate(request_, cache=StageCache())
    assert len(calls(request_.programs.folder.parent / "arm")) == before


@pytest.mark.parametrize(
    ("line", "said"),
    [("echo Testing q4_0", "looked for q8_a8"), ("echo wrong; exit 3", "ended with exit code 3")],
)
def test_a_build_that_is_wrong_is_not_measured(request_: crossing.CrossRequest, line: str, said: str) -> None:
    folder = request_.programs.folder.parent / "arm"
    write_tester(folder, line)
    with pytest.raises(BuildError, match=said):
        crossing.evaluate(request_, cache=StageCache())
    assert calls(folder) == []


def test_programs_of_this_machine_are_asked_for_first(request_: crossing.CrossRequest) -> None:
    (request_.programs.folder / "llama-quantize").unlink()
    with pytest.raises(UsageError, match="looked for llama-quantize, found none"):
        crossing.evaluate(request_, cache=StageCache())
    assert calls(request_.programs.folder.parent / "arm") == []


@pytest.mark.parametrize(
    "below", ["usr/aarch64-linux-gnu", "usr/aarch64-linux-gnu/sys-root", "opt/cross/root"]
)
def test_the_compiler_knows_where_its_libraries_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    """Debian's place, Fedora's, and one of somebody's own; the compiler's answer goes by way of its own folder."""
    loader = tmp_path / below / "lib" / "ld-linux-aarch64.so.1"
    loader.parent.mkdir(parents=True)
    loader.touch()
    compiler = tmp_path / "bin" / "aarch64-linux-gnu-g++"
    compiler.parent.mkdir()
    compiler.write_text(
        f"#!/bin/sh\necho {tmp_path}/lib/gcc/12/../../../{below}/lib/${{1#*=}}\n", encoding="utf-8"
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(compiler.parent), prepend=":")
    assert cross.system_root() == tmp_path / below
    loader.unlink()
    with pytest.raises(BuildError, match=r"looked for the C library's ld-linux-aarch64\.so\.1 beside it"):
        cross.system_root()
    compiler.write_text("#!/bin/sh\necho ${1#*=}\n", encoding="utf-8")  # as gcc says of what it hasn't
    with pytest.raises(BuildError, match=r"libc6-dev-arm64-cross"):
        cross.system_root()
