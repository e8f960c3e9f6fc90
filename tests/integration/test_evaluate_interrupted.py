"""``evaluate`` that is killed, interrupted, or out of space: one clear line, and nothing is measured twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from patcher.evaluate import grid
from tests.integration.conftest import environment, q8a8_patch
from tests.programs import need
from tests.unit.evaluate_fakes import calls, fake_programs, write_gguf

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="the fakes are scripts")]


def moments(folder: Path) -> list[tuple[str, str, str, int, int, float]]:
    """What the fakes noted: begun or ended, what, the model, its process, its parent, when."""
    place = folder / "moments.jsonl"
    lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
    return [tuple(json.loads(line)) for line in lines]


def wait_for(found: Any, seconds: float = 120) -> Any:
    """What ``found`` gives once it gives anything."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@pytest.mark.slow
def test_a_worker_killed_while_it_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers, one killed under a running benchmark: every job is done, and each stage once."""
    pytest.importorskip("distributed")
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    folder = fake_programs(tmp_path / "bin", seconds=0.4)
    (tmp_path / "text.txt").write_text("some words " * 100, encoding="utf-8")
    lines = ["bin = 'bin'", "text = 'text.txt'", "types = 'F16,Q8_A8'", "rounds = 2", "threads = [1]"]
    for number in range(3):
        write_gguf(tmp_path / f"m{number}.gguf", "F16", name=f"m{number}")
        lines += ["[[model]]", f"path = 'm{number}.gguf'"]
    (tmp_path / "grid.toml").write_text("\n".join(lines), encoding="utf-8")
    victim: list[str] = []

    def kill_a_worker_that_measures() -> None:
        def timed() -> list[tuple[str, int]]:
            noted = moments(folder)
            ended = {pid for kind, _, _, pid, _, _ in noted if kind == "ended"}
            return [
                (model, parent)
                for kind, what, model, pid, parent, _ in noted
                if kind == "begun" and what == "bench Q8_A8" and pid not in ended
            ]

        model, parent = wait_for(timed)[0]
        os.kill(parent, signal.SIGKILL)
        victim.append(model)

    killer = threading.Thread(target=kill_a_worker_that_measures)
    killer.start()
    jobs = grid.load(tmp_path / "grid.toml")
    outcomes = grid.run(jobs, tmp_path / "results", executor="dask", workers=2)
    killer.join()
    assert [(item.failure, len(victim)) for item in outcomes] == [("", 1)] * 3
    for item in outcomes:
        document = json.loads(item.file.read_text(encoding="utf-8"))
        assert [model["type"] for model in document["models"]] == ["F16", "Q8_A8"]
        assert all(len(model["series"]["tg"]["samples"]) == 2 for model in document["models"])
    noted = moments(folder)
    counted = Counter(
        (what, model.split("-")[0].split(".")[0]) for kind, what, model, *_ in noted if kind == "begun"
    )
    again = victim[0].split("-")[0]
    for number in range(3):
        name = f"m{number}"
        more = 1 if name == again else 0  # the stage that was cut off, and nothing else
        assert counted["perplexity F16", name] == 1
        assert counted["perplexity Q8_A8 kld", name] == 1
        assert counted["bench Q8_A8", name] == 2 + more
        assert counted["bench Q8_A8 load", name] == 2 + more
        assert counted["bench F16 load", name] == 2


def command(tmp_path: Path, folder: Path) -> list[str | Path]:
    text = tmp_path / "text.txt"
    text.write_text("some words " * 100, encoding="utf-8")
    model = write_gguf(tmp_path / "tiny.gguf", "F16")
    return [
        "evaluate", "run", model, "--text", text, "--bin", folder, "--types", "F16,Q8_0,Q8_A8", "--rounds", "2",
        "--threads", "1", "--require", "none",
    ]  # fmt: skip


def test_an_interruption_keeps_what_was_measured(tmp_path: Path) -> None:
    folder = fake_programs(tmp_path / "bin", seconds=0.3)
    line = [sys.executable, "-m", "patcher", *map(str, command(tmp_path, folder))]
    env = environment(Q8A8_PATCH_CACHE=str(tmp_path / "cache"))
    with subprocess.Popen(
        line, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        wait_for(lambda: "bench Q8_0" in calls(folder))
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "are kept: the same command goes on from here" in said
    assert said.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in said
    before = calls(folder)
    done = q8a8_patch(*command(tmp_path, folder), env=env)
    assert done.returncode == 0, done.stderr
    assert "stages are there already" in done.stderr
    after = calls(folder)[len(before) :]
    assert not [call for call in after if call.startswith(("perplexity", "quantize"))]
    assert after.count("bench F16") == before.count("bench F16")  # two tastes each, and one of two rounds


def test_a_full_disk_is_one_line_and_nothing_is_lost(tmp_path: Path) -> None:
    """The cache on a small disk of its own (tmpfs in a namespace): it fills up, is emptied, and it goes on."""
    need("unshare")  # or no disk can be mounted here
    probe = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True
    )
    if probe.returncode != 0:
        pytest.skip("no disk can be mounted here: unprivileged namespaces are off")
    folder = fake_programs(tmp_path / "bin")
    disk = tmp_path / "disk"
    disk.mkdir()
    run = " ".join(
        f"'{word}'" for word in [sys.executable, "-m", "patcher", *map(str, command(tmp_path, folder))]
    )
    script = f"""
        mount -t tmpfs -o size=256k none {disk} || exit 99
        export Q8A8_PATCH_CACHE={disk}/cache
        cp {folder}/libfill.so {disk}/filler; sync
        {run} -q --no-kld; echo "first $?" >&2
        ls -A {disk}/cache/evaluate/stages | grep -c json >&2
        rm {disk}/filler
        {run} -q --no-kld --json; echo "second $?" >&2
    """
    (folder / "libfill.so").write_bytes(bytes(228 << 10))
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True)
    first, _, rest = done.stderr.partition("first ")
    assert rest.startswith("2\n"), done.stderr
    # A warning that other programs take the processors may come before it: here the other tests do.
    said = [line for line in first.splitlines() if not line.startswith("warning: ")]
    assert len(said) == 1, first
    assert said[0].startswith("error: ")
    assert (
        "no space left on the disk; what was measured is kept: free some, then run the same command again"
        in said[0]
    )
    assert rest.splitlines()[-1] == "second 0"
    assert len(json.loads(done.stdout)["models"]) == 3
