"""What the machine is doing beside us."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.base import machine


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="the system doesn't tell")
def test_another_program_is_seen() -> None:
    spin = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        share = machine.others_share(0.5)
    finally:
        spin.kill()
        spin.wait()
    assert share is not None
    assert 0 < share <= 1


def test_ticks_of_our_processors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a disk is no work; what a guest's host takes away is somebody's."""
    texts = iter(
        (
            "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 0 50 800 40 0 10 0 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\nintr 5",
            "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 110 0 55 870 50 0 10 5 0 0\ncpu1 90 1 1 1 1 1 1 1 0 0\nintr 5",
        )
    )
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: next(texts))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert machine.others_share(0.0) == 0.2


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError])
def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch, error: type[OSError]) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setitem(sys.modules, "psutil", None)  # nobody else to ask
    assert machine.others_share() is None
