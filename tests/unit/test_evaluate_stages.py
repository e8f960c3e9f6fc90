"""Stages are kept, and run once."""

from __future__ import annotations

import errno
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from patcher.base import hashing, stages
from patcher.base.errors import UsageError
from patcher.base.stages import StageCache, require_space


def counting(result: dict[str, Any]) -> tuple[list[int], Callable[[], dict[str, Any]]]:
    runs: list[int] = []

    def measure() -> dict[str, Any]:
        runs.append(1)
        return result

    return runs, measure


def test_a_stage_runs_once(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    runs, measure = counting({"value": 1.5})
    assert cache.run("speed", {"a": 1, "b": 2}, measure) == {"value": 1.5}
    assert StageCache(tmp_path).run("speed", {"b": 2, "a": 1}, measure) == {"value": 1.5}
    assert len(runs) == 1
    cache.run("speed", {"a": 1, "b": 3}, measure)
    cache.run("perplexity", {"a": 1, "b": 2}, measure)
    assert len(runs) == 3
    assert (cache.made, cache.found) == (3, 0)


def test_fresh_measures_again_but_only_once(tmp_path: Path) -> None:
    runs, measure = counting({"value": 1})
    StageCache(tmp_path).run("speed", {}, measure)
    fresh = StageCache(tmp_path, fresh=True)
    fresh.run("speed", {}, measure)
    fresh.run("speed", {}, measure)
    assert len(runs) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"result": 3}'])
def test_a_damaged_stage_runs_again(tmp_path: Path, content: str) -> None:
    cache = StageCache(tmp_path)
    (tmp_path / f"{cache.key('speed', {})}.json").write_text(content, encoding="utf-8")
    runs, measure = counting({"value": 2})
    assert cache.run("speed", {}, measure) == {"value": 2}
    assert len(runs) == 1
    assert cache.get("speed", {}) == {"value": 2}


def test_a_stage_that_fails_is_not_kept(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)

    def fail() -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.run("speed", {}, fail)
    assert cache.get("speed", {}) is None
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(stages, "write_whole", full)
    with pytest.raises(UsageError, match=r"no space left on the disk.*is kept"):
        StageCache(tmp_path).run("speed", {}, dict)


def test_space_is_asked_for(tmp_path: Path) -> None:
    require_space(tmp_path, 1, "a byte")
    with pytest.raises(UsageError, match=r"a moon takes 1000000000 GB"):
        require_space(tmp_path, 10**18, "a moon")


def _work(root: str) -> None:
    def measure() -> dict[str, Any]:
        with (Path(root) / "runs.txt").open("a") as file:
            file.write("run\n")
        return {}

    StageCache(Path(root) / "stages").run("speed", {}, measure)


def test_two_processes_run_a_stage_once(tmp_path: Path) -> None:
    context = get_context("spawn")
    children = [context.Process(target=_work, args=(str(tmp_path),)) for _ in range(2)]
    for each in children:
        each.start()
    for each in children:
        each.join()
    assert (tmp_path / "runs.txt").read_text() == "run\n"


def test_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "_REMEMBERED", 1)
    place = tmp_path / "model"
    place.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert hashing.of_file(place) == hashing.of_file(place) == known
    place.write_bytes(b"abcd")
    assert hashing.of_file(place) != known
    with pytest.raises(UsageError, match="can't be read"):
        hashing.of_file(tmp_path / "none")
    assert hashing.of_values({"a": 1, "b": 2}) == hashing.of_values({"b": 2, "a": 1})
