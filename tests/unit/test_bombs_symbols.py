"""ELF files of a few bytes that stand for many: names, versions, folders, chains, findings."""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from patcher import cli
from patcher.symbols import demangle as demangling
from patcher.symbols import findings as limits
from patcher.symbols.demangle import demangle
from patcher.symbols.elf import UnreadableElfError, read
from patcher.symbols.elf.gnu_hash import GnuHash, gnu_hash
from patcher.symbols.elf.image import Image
from patcher.symbols.elf.objects import MAX_ALIKE, Exports
from patcher.symbols.elf.reader import MAX_LOOKS, _Texts
from patcher.symbols.elf.table import Columns
from patcher.symbols.findings import Collection, SymbolFinding, SymbolReport, in_order
from patcher.symbols.formats import FORMATS
from patcher.symbols.instantiate import class_instance, directive, tidy
from patcher.symbols.relocatable import members
from patcher.symbols.report import text
from tests.elf_files import Elf
from tests.growth import LINEAR, exponent

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def doubling(times: int) -> str:
    """A mangled name whose text doubles with each part: every part names the one before it twice."""

    def back(number: int) -> str:
        if number == 0:
            return "S_"
        number, digits = number - 1, ""
        while True:
            digits, number = DIGITS[number % 36] + digits, number // 36
            if not number:
                return f"S{digits}_"

    parts = [f"S0_I{back(number)}{back(number)}E" for number in range(2, 2 + times)]
    return "_Z1f1A1PIS_S_E" + "".join(parts)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demangler of the test's own, that has lost no child yet."""
    one = demangling._Demangler()
    monkeypatch.setattr(demangling, "_demangler", lambda: one)
    demangle.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_a_doubling_name_stays_as_it_is() -> None:
    assert demangle(doubling(2)).startswith("f(A, P<A, A>, P<P<A, A>, P<A, A> >")
    for times in (12, 24, 60, 400):
        assert demangle(doubling(times)) == doubling(times)


@pytest.mark.usefixtures("fresh")
def test_names_that_kill_the_demangler_end_it() -> None:
    for times in range(60, 60 + 2 * demangling.LIVES):
        assert demangle(doubling(times)) == doubling(times)
    assert demangling._demangler()._lives == 0
    assert demangle("_Z1fi") == "_Z1fi"


def test_a_small_file_prints_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Elf(uses=[doubling(20)]).write(tmp_path / "libx.so")
    for form in (*FORMATS, "text"):
        assert cli.run(["verify-symbols", "--format", form, str(file)]) == 1
        assert len(capsys.readouterr().out) < 32_000  # SARIF alone has 17,000 for the rules


@pytest.mark.parametrize("shape", [
    lambda n: "void " + "a<b>::" * n + "f<int>(int)",
    lambda n: "void " + "a<" * n + "f" + ">" * n + "(int)",
    lambda n: "a" + "::a<b>" * n + "::f(int)",
    lambda n: "f(" + "std::vector<" * n + "int" + ", std::allocator<int> >" * n + ")",
    lambda n: "f(" + "std::vector<a, " * n + ")",
    lambda n: "x<" + "b, " * n + ">::f(std::allocator<int>)",
    lambda n: "int f<" + "(" * n + ")(",
    lambda n: "template " + "operator<" * n + "(int)",
])  # fmt: skip
def test_names_are_read_in_one_walk(shape: Callable[[int], str]) -> None:
    def work(name: str) -> None:
        directive(name), class_instance(tidy(name))

    assert exponent(shape, work, 2000) < LINEAR


def test_names_that_overlap_are_no_flood() -> None:
    strings = b"\0" + b"a" * 40_000 + b"\0"
    rows = b"".join(struct.pack("<IBBHQQ", at, 16, 0, 0, 0, 0) for at in range(1, 40_000))
    with pytest.raises(ValueError, match="names have more than"):
        Columns(rows, 64, True, strings)
    assert Columns(rows[:240], 64, True, strings).count == 10  # some may


def test_versions_that_overlap_are_no_flood(tmp_path: Path) -> None:
    with Image(Elf().write(tmp_path / "liba.so")) as image:
        texts = _Texts(image, b"\0" + (b"a" * 4000 + b"\0") * 100)
        with pytest.raises(UnreadableElfError, match="overlap without end"):
            list(map(texts.get, range(1, 400_000)))
        with pytest.raises(UnreadableElfError, match="not soon enough"):
            _Texts(image, b"a" * 5000 + b"\0").get(0)


def test_folders_times_libraries(tmp_path: Path) -> None:
    needed, folders = [f"lib{n}.so" for n in range(1000)], ":".join(f"/{n}" for n in range(1000))
    with pytest.raises(UnreadableElfError, match="1000 libraries are looked for in 1000 folders"):
        read(Elf(needed=needed, runpath=folders).write(tmp_path / "liba.so"))
    assert len(needed) * 1000 > MAX_LOOKS
    assert len(read(Elf(needed=needed, runpath="/a:/b").write(tmp_path / "libb.so")).needed) == 1000


def one_chain(count: int) -> tuple[Exports, list[bytes]]:
    """Exports whose hash table has all names in one chain, as colliding names are."""
    names = [b"n%d" % number for number in range(count)]
    strings, rows, at = b"\0" + b"\0".join(names) + b"\0", [bytes(24)], 1
    for name in names:
        rows.append(struct.pack("<IBBHQQ", at, 18, 0, 1, 1, 0))
        at += len(name) + 1
    chains = array("I", [gnu_hash(name) & ~1 for name in names[:-1]] + [gnu_hash(names[-1]) | 1])
    hashes = GnuHash(64, 1, 0, array("Q", [(1 << 64) - 1]), array("I", [1]), chains)
    return Exports(Columns(b"".join(rows), 64, True, strings), None, {}, hashes), names


def test_one_long_chain_is_walked_a_few_times_only() -> None:
    def work(given: tuple[Exports, list[bytes]]) -> None:
        exports, names = given
        assert all(exports.get(name) == 1 for name in names[:: max(1, len(names) // 2000)])
        assert exports.get(b"n") is None

    exports, names = one_chain(4000)
    work((exports, names))
    assert exports._hashes is not None
    assert exports._hashes.steps < 10 * len(names)


def test_a_name_with_a_version_for_each_symbol() -> None:
    def make(count: int) -> tuple[Columns, tuple[int, ...]]:
        row = struct.pack("<IBBHQQ", 1, 18, 0, 1, 1, 0)
        return Columns(row * count, 64, True, b"\0f\0"), tuple(n % 30_000 for n in range(count))

    exports = Exports(*make(5000), {})
    assert len(exports.of("f")) == MAX_ALIKE
    assert exponent(make, lambda given: Exports(*given, {}).names, 20_000) < LINEAR


def test_references_count_once(tmp_path: Path) -> None:
    assert len(read(Elf(uses=["f"] * 500).write(tmp_path / "liba.so")).references) == 1


def test_a_thin_archive_names_one_file_often(tmp_path: Path) -> None:
    Elf(type=1, defines=["f"]).write(tmp_path / "a.o")
    rows = [f"{name:<16}{0:<12}{0:<6}{0:<6}{644:<8}{10:<10}`\n" for name in ("a.o/", "./a.o/", ".//a.o/")]
    (tmp_path / "thin.a").write_bytes(b"!<thin>\n" + "".join(rows).encode())
    assert [unit.member for unit in members(tmp_path / "thin.a")] == ["a.o"]


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> SymbolReport:
    """Twelve findings, of which five errors and one note are listed."""
    monkeypatch.setattr(limits, "MOST", 5)
    kept = Collection()
    for number in range(11):
        kept.add(SymbolFinding("undefined-symbol", f"f{number}", "liba.so", ("liba.so",)))
    kept.add(SymbolFinding("runpath-only", "libb.so", "liba.so", ("liba.so",)))
    return SymbolReport(1, 12, in_order(list(kept)), omitted=kept.omitted)


def test_what_is_not_listed_is_counted(many: SymbolReport) -> None:
    assert (len(many.findings), many.more) == (6, "6 errors more, which are not listed")
    assert many._replace(findings=()).fails("error")  # ignores and baselines hide what is listed only
    assert not many._replace(omitted={"note": 3}, findings=()).fails("warning")


@pytest.mark.parametrize("form", ["text", *FORMATS])
def test_every_format_says_how_many_more(form: str, many: SymbolReport) -> None:
    shown = text(many) if form == "text" else FORMATS[form](many)
    if form == "json":
        assert json.loads(shown)["omitted"] == 6
    else:
        assert "6 errors more, which are not listed" in shown


def test_texts_of_findings_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LONGEST", 1000)
    kept = Collection()
    for number in range(5):
        kept.add(SymbolFinding("undefined-symbol", f"{number}" * 400, "a", ("a",)))
    assert (len(list(kept)), kept.omitted) == (2, {"error": 3})


def test_a_baseline_holds_all_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limits, "MOST", 2)
    file = Elf(uses=["f", "g", "h"]).write(tmp_path / "liba.so")
    place = tmp_path / "baseline.json"
    assert cli.run(["verify-symbols", str(file), "--write-baseline", str(place)]) == 2
    assert "1 error more, which are not listed; name fewer files" in capsys.readouterr().err
    assert not place.exists()
