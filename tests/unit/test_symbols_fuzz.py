"""A seeded piece of the fuzzing that ``benchmarks/fuzz_elf.py`` does at length."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks import fuzz_elf
from patcher.symbols.elf import read, reader


def test_the_seeds_are_sound(tmp_path: Path) -> None:
    for number, data in enumerate(fuzz_elf.seeds()[:-1]):
        path = tmp_path / f"{number}.so"
        path.write_bytes(data)
        item = read(path)
        assert item.soname == "libsample.so.1"
        # the third has nothing that tells how many symbols there are
        assert len(item.references) == (0 if number == 2 else 3)


def test_nothing_escapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    assert fuzz_elf.run(4000, 7, said.append) == 0, said
    assert "'refused'" in said[-1]
    assert "'read'" in said[-1]


def test_what_escapes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, data: bytes, number: int) -> str:
        raise KeyError(number)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fuzz_elf, "feed", broken)
    assert fuzz_elf.run(3, 1, lambda text: None) == 3
    assert len(list(tmp_path.glob("fuzz-*.bin"))) == 3


def test_the_same_seed_gives_the_same_inputs() -> None:
    first, again = (fuzz_elf.mutants(random.Random(5), fuzz_elf.seeds()) for _ in (1, 2))  # noqa: S311
    assert [next(first) for _ in range(50)] == [next(again) for _ in range(50)]


def test_readers_that_differ_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = fuzz_elf.seeds()[0]
    path = tmp_path / "input.so"
    fuzz_elf.compare(path, data)
    right = reader._references
    monkeypatch.setattr(reader, "_references", lambda *arguments: dict([*right(*arguments).items()][1:]))
    with pytest.raises(AssertionError, match="readers disagree: wants"):
        fuzz_elf.compare(path, data)
