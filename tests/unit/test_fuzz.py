"""A seeded piece of the fuzzing that ``benchmarks/fuzz.py`` does at length."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks import fuzz, fuzz_elf
from patcher.base.errors import PatcherError
from patcher.symbols.relocatable import members
from tests.elf_files import MIPS, Elf

INPUTS = {"types": 40, "c": 60, "python": 60, "cmake": 60}  # the slow ones; of the others ten times as many


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_nothing_but_our_errors(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    done = fuzz.run(kind, INPUTS.get(kind, 500), 3, said.append)
    assert not done.findings, said
    assert done.inputs == done.read + done.refused == INPUTS.get(kind, 500)


@pytest.mark.parametrize("kind", ["elf", "archives", "tar", "zip", "gguf", "types"])
def test_the_sound_inputs_reach_the_reader(kind: str, tmp_path: Path) -> None:
    seeds = fuzz.KINDS[kind].seeds()
    assert all(seeds)
    assert len(seeds) == len(set(seeds))
    read = 0  # one at least is read to its end: a model is no statistics, which the same reader wants too
    for seed in seeds:
        with suppress(PatcherError):
            fuzz.KINDS[kind].feed(tmp_path / "input.so", seed)
            read += 1
    assert read


def test_objects_are_found_in_the_sound_archives(tmp_path: Path) -> None:
    for seed in fuzz.KINDS["archives"].seeds()[:2]:  # with and without an index
        (tmp_path / "a.a").write_bytes(seed)
        assert len(list(members(tmp_path / "a.a", {b"own"}))) == 1


def test_what_escapes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, data: bytes) -> None:
        raise KeyError(data)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(fuzz.KINDS, "elf", fuzz.Kind(fuzz.KINDS["elf"].seeds, broken))
    said: list[str] = []
    assert fuzz.run("elf", 3, 1, said.append).findings == 3
    assert len(list(tmp_path.glob("fuzz-elf-1-*.bin"))) == 3
    assert "KeyError" in said[0]


@pytest.mark.parametrize("bits", range(8))
def test_visibility_is_two_bits_to_both_readers(bits: int, tmp_path: Path) -> None:
    """Found by the fuzz: a machine's own bits beside them made a hidden symbol an exported one."""
    data = bytearray(Elf(machine=MIPS, bits=32, little=False, sections=False, defines=["own"]).data())
    entry = data.index(bytes([0x12, 0, 0, 1]))  # a global function of section 1: info, other, section
    data[entry + 1] = bits | 0xA0
    fuzz_elf.compare(tmp_path / "a.so", bytes(data))
