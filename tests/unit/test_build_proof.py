"""Programs that aren't ELF files: what stands in for reading their symbols, and that a run ends well."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from patcher import cli
from patcher.build import Built
from patcher.build.proof import without_elf
from tests import schemas

MACH_O = b"\xcf\xfa\xed\xfe" + bytes(60)


def folder_of(place: Path, **files: bytes) -> Path:
    place.mkdir(exist_ok=True)
    for name, data in files.items():
        (place / name).write_bytes(data)
    return place


@pytest.mark.parametrize(
    ("start", "name", "told"),
    [
        (MACH_O, "Mach-O", "told -Wl,-undefined,error"),
        (b"\xca\xfe\xba\xbe" + bytes(8), "Mach-O", "told -Wl,-undefined,error"),
        (b"MZ" + bytes(80), "PE", "told nothing: it always refuses"),
    ],
)
def test_the_linker_stands_in(start: bytes, name: str, told: str, tmp_path: Path) -> None:
    found = without_elf(folder_of(tmp_path / "bin", one=start, two=start, notes=b"text"), strict=True)
    assert found is not None
    assert (found.format, found.files) == (name, 2)
    assert told in found.text()


def test_a_linker_that_let_everything_pass_proves_nothing(tmp_path: Path) -> None:
    found = without_elf(folder_of(tmp_path / "bin", one=MACH_O), strict=False)
    assert found is not None
    assert "let undefined symbols pass" in found.text()


def test_elf_files_are_read(tmp_path: Path) -> None:
    assert without_elf(folder_of(tmp_path / "bin", one=MACH_O, two=b"\x7fELF"), strict=True) is None
    assert without_elf(folder_of(tmp_path / "none", notes=b"text"), strict=True) is None


def test_a_run_on_a_mac_ends_well(
    mini_repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All but the compiler is real."""
    bin_dir = folder_of(tmp_path / "bin", **{"llama-quantize": MACH_O})

    def build(request: object, **_: object) -> Built:
        log = tmp_path / "log"
        return Built(tmp_path, bin_dir, ("llama-quantize",), 1.0, 1, 1, "AppleClang 17", None, True, log)

    monkeypatch.setattr("patcher.build.build", build)
    monkeypatch.setattr("patcher.build.toolchain.require_compiler", lambda _: SimpleNamespace())
    monkeypatch.setattr("patcher.engine.build_fixes.wanted", lambda *_: [])
    work = str(tmp_path / "work")
    assert cli.run(["run", "--source", str(mini_repo), "--work", work]) == 0
    said = capsys.readouterr()
    assert "1 Mach-O files, which aren't read here; their linker refuses undefined symbols" in said.out
    assert cli.run(["run", "--source", str(mini_repo), "--work", work, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verify"] is None
    assert document["linker"]["format"] == "Mach-O"
    assert schemas.errors("run", document) == []
