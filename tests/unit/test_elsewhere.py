"""Systems without what Linux has: every module is imported, and a tree is patched and put back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from patcher.base import machine, system
from patcher.model.gguf import read
from tests import elsewhere
from tests.conftest import snapshot
from tests.tiny_models import write_model
from tests.unit.test_model_smooth import calibrated

ROOT = Path(__file__).resolve().parents[2]


def disguised(*words: str | Path) -> str:
    """What a command of ours says on a system that lacks what Windows lacks; it succeeds there."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.elsewhere", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_is_imported() -> None:
    assert int(disguised("import")) == len(elsewhere.modules()) > 200


def test_a_tree_is_patched_and_put_back(mini: Path) -> None:
    before = snapshot(mini)
    assert "applied" in disguised("apply", mini)
    assert snapshot(mini) != before
    assert "clean" not in disguised("status", mini)
    disguised("revert", mini)
    left = {path: data for path, data in snapshot(mini).items() if not path.startswith(".q8a8-patch/")}
    assert left == before


def test_a_model_is_smoothed(tmp_path: Path) -> None:
    """What is put in its place is synced first, by a handle that may write."""
    model = write_model(tmp_path / "m.gguf", "llama")
    stats = calibrated(model)
    disguised("smooth", model, "--stats", stats, "-o", tmp_path / "s.gguf", "--alpha", "0.5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.gguf", "m.stats", "s.gguf"]
    assert read(tmp_path / "s.gguf").get("smoothquant.enabled") is True


def test_what_is_asked_of_others_is_read_without_a_call_of_posix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "bytes"
    place.write_bytes(bytes(range(100)))
    monkeypatch.delattr("os.pread", raising=False)
    with place.open("rb") as file:
        assert system.read_at(file.fileno(), 5, 90) == bytes(range(90, 95))
        assert system.read_at(file.fileno(), 50, 3) == bytes(range(3, 53))
    monkeypatch.delattr("os.geteuid", raising=False)
    assert system.is_ours(place.stat())
    assert not system.is_root()


def test_the_machine_is_known_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory, what is free of it, a child's peak and others' work come from psutil where it is."""
    facts = SimpleNamespace(
        virtual_memory=lambda: SimpleNamespace(total=8 << 30, available=3 << 30),
        Process=lambda number: SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=5, peak_wset=number)),
        cpu_percent=lambda seconds: 100 * seconds,
        Error=RuntimeError,
    )
    monkeypatch.setattr(machine, "_proc", lambda name: "")
    monkeypatch.delattr("os.sysconf", raising=False)
    monkeypatch.setitem(sys.modules, "psutil", facts)
    assert (machine.memory_bytes(), machine.available_memory()) == (8 << 30, 3 << 30)
    assert machine.peak_memory(4711) == 4711
    assert machine.others_share(0.25) == 0.25
    monkeypatch.setitem(sys.modules, "psutil", None)  # not there
    assert (machine.memory_bytes(), machine.available_memory(), machine.peak_memory(1)) == (0, None, 0)
    assert machine.others_share() is None
