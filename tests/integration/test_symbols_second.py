"""The second reader: agrees on what the compiler makes, and says so where the first is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from patcher import cli
from patcher.symbols import Demands, SearchOptions, SymbolReport, check, scope, verdicts
from patcher.symbols.elf import Reference, reader
from patcher.symbols.elf.table import Columns
from tests.linking import Workshop, found, have, without_sections

pytestmark = [pytest.mark.compiler, pytest.mark.skipif(not have("gcc", "g++"), reason="needs gcc")]
MAIN = "int use(void); int main(void){return use();}"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def proven(shop: Workshop, *paths: Path) -> SymbolReport:
    return check(paths, options=SearchOptions((shop.folder,)), demands=Demands(second_reader=True))


def disagreements(report: SymbolReport) -> list[str]:
    return [f"{one.symbol}: {one.detail}" for one in report.findings if one.rule == "readers-disagree"]


def versioned(
    shop: Workshop, script: str, text: str = "int f(void){return 1;} int g(void){return 1;}"
) -> Path:
    shop.source("v.map", script)
    return shop.library("v", text, f"-Wl,--version-script={shop.folder}/v.map")


def test_both_say_what_is_lacking(shop: Workshop) -> None:
    """Every shape that the first reader's tests are about, once: lacking, weak, versions, gaps, C++."""
    other = shop.library("other", '__attribute__((visibility("hidden"))) int h(void){return 0;} int seen;')
    gone = shop.library("gone", "int gone(void){return 0;}")
    wants = versioned(shop, "V1 { g; }; V2 { f; };")
    excused = shop.library(
        "excused", "int gone(void), nowhere(void); int e(void){return gone() + nowhere();}", gone
    )
    use = shop.library(
        "use",
        "int f(void), g(void), h(void), e(void), lost(void); int w(void) __attribute__((weak)); extern __thread int t;"
        "int use(void){return f() + g() + h() + e() + lost() + (w ? w() : 0) + t;}",
        "-Wl,--no-as-needed", other, wants, excused,
    )  # fmt: skip
    cpp = shop.library(
        "cpp", "#include <iostream>\nvoid lack(); int cpp(){std::cout << 1.5; lack(); throw 1;}", ext="cpp"
    )
    program = shop.program("main", MAIN, use, cpp)
    gone.unlink()
    # V2 is gone as a whole; f is somewhere else, without a version
    versioned(shop, "V1 { g; };", "int g(void){return 1;}")
    report = proven(shop, program, use, other, wants, excused, cpp)
    assert disagreements(report) == []
    assert report.readers == 2
    assert {rule for rule, _ in found(report, "error")} == {
        "library-not-found",
        "undefined-symbol",
        "version-mismatch",
    }
    # where nothing is missing, everything is judged
    gone = shop.library("gone", "int gone(void){return 0;}")
    report = proven(shop, program, use, other, wants, excused, cpp)
    assert disagreements(report) == []
    assert {symbol for rule, symbol in found(report, "error") if rule == "undefined-symbol"} == {
        "lost", "t", "_Z4lackv", "nowhere",
    }  # fmt: skip
    assert ("hidden-definition", "h") in found(report, "error")
    # a library whose versions are all gone: glibc stops
    versioned(shop, "{ global: *; };", "int f(void){return 1;} int g(void){return 1;}")
    report = proven(shop, program, use, other, wants, excused, cpp)
    assert disagreements(report) == []
    assert {("version-mismatch", "f@V2"), ("version-mismatch", "g@V1")} <= found(report, "error")


def test_files_without_section_headers(shop: Workshop) -> None:
    library = shop.library("use", "int f(void); int use(void){return f();}")
    bare = without_sections(library, shop.folder / "bare.so")
    assert disagreements(proven(shop, bare)) == []
    assert ("undefined-symbol", "f") in found(proven(shop, bare))


@pytest.mark.parametrize("wrong", ["a reference", "a definition", "a verdict"])
def test_a_wrong_reader_is_found_out(shop: Workshop, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    definer = shop.library("def", "int f(void){return 1;} int other(void){return 1;}")
    library = shop.library("use", "int f(void); int use(void){return f();}", definer)
    program = shop.program("main", MAIN, library)
    assert disagreements(proven(shop, program, library, definer)) == []
    if wrong == "a reference":
        right = reader._references

        def forgetful(*arguments: object) -> dict[Reference, bytes]:
            found = right(*arguments)  # type: ignore[arg-type]
            return {one: name for one, name in found.items() if one.name != "f"}

        monkeypatch.setattr(reader, "_references", forgetful)
    elif wrong == "a definition":
        real = Columns.__init__

        def blind(self: Columns, raw: bytes, bits: int, little: bool, strings: bytes) -> None:
            real(self, raw, bits, little, strings.replace(b"\0other\0", b"\0otter\0"))

        monkeypatch.setattr(Columns, "__init__", blind)
    else:
        shop.library("def", "int other(void){return 1;}")
        for module in (scope, verdicts):
            monkeypatch.setattr(module, "provides", lambda *arguments: True)
        monkeypatch.setattr(verdicts.Verdicts, "_lacking_in", lambda *arguments: [])
    report = proven(shop, program, library, definer)
    told = disagreements(report)
    word = {"a reference": "wants: ", "a definition": "'other'", "a verdict": "pyelftools that it lacks it"}[
        wrong
    ]
    assert any(word in one for one in told), told
    finding = report.at_least("error")[0]
    assert finding.rule == "readers-disagree"
    assert "report it" in (finding.suggestion or "")


def test_the_command_says_who_read(shop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    library = shop.library("use", "int use(void){return 1;}")
    assert cli.run(["verify-symbols", "-q", "--second-reader", str(library)]) == 0
    assert "by two readers" in capsys.readouterr().out
    assert cli.run(["verify-symbols", "--json", "--second-reader", str(library)]) == 0
    assert json.loads(capsys.readouterr().out)["readers"] == 2


def test_pyelftools_is_loaded_where_it_is_asked_for(shop: Workshop) -> None:
    library = shop.library("use", "int use(void){return 1;}")

    def loaded(words: Sequence[str]) -> bool:
        code = f"import sys; from patcher import cli; cli.run({['verify-symbols', '-q', *words, str(library)]!r}); print('elftools' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1] == "True"

    assert not loaded([])
    assert loaded(["--second-reader"])


@pytest.mark.skipif(not have("musl-gcc"), reason="needs musl's compiler")
def test_musl(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, cc="musl-gcc")
    use = shop.library("use", "int f(void); int use(void){return f();}", versioned(shop, "V2 { f; };"))
    program = shop.program("main", MAIN, use)
    versioned(shop, "V1 { f; };")
    report = proven(shop, program, use)
    assert (disagreements(report), found(report)) == ([], set())
