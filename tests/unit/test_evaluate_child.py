"""Children that end well, fail, crash, are killed, or never end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patcher.base import partial_files
from patcher.base.errors import ExitCode, UsageError
from patcher.base.machine import machine_id
from patcher.engine import build_fixes
from patcher.programs import measured
from patcher.programs.exclusive import alone
from patcher.programs.measured import ChildError, run

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_streams_are_kept_apart() -> None:
    seen: list[str] = []
    ran = run(python("import sys; print('out'); print('err', file=sys.stderr)"), on_text=seen.append)
    assert (ran.out, ran.err) == ("out\n", "err\n")
    assert sorted("".join(seen)) == sorted("out\nerr\n")


def test_much_output_does_not_block() -> None:
    ran = run(python("import sys; sys.stderr.write('x' * 300000); sys.stdout.write('y' * 300000)"))
    assert (len(ran.out), len(ran.err)) == (300000, 300000)


def test_peak_memory_is_the_childs() -> None:
    small = run(python("import time; time.sleep(0.2)")).peak_rss
    large = run(
        python("import time; x = bytearray(200_000_000); x[::4096] = b'1' * len(x[::4096]); time.sleep(0.2)")
    )
    assert 2_000_000 < small < 100_000_000
    assert 200_000_000 < large.peak_rss < 300_000_000


def test_our_own_memory_is_not_counted() -> None:
    ballast = bytearray(150_000_000)
    ballast[::4096] = b"1" * len(ballast[::4096])
    assert run(python("import time; time.sleep(0.3)")).peak_rss < 100_000_000
    assert len(ballast) == 150_000_000


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SIGKILL", "memory"),
        ("SIGILL", "another processor"),
        ("SIGABRT", "assertion"),
        ("SIGBUS", "disk is full"),
    ],
)
def test_a_signal_is_named(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_fixes, "catalogue", dict)
    with pytest.raises(ChildError) as caught:
        run(python(f"import os, signal; os.kill(os.getpid(), signal.{name})"))
    assert caught.value.signal_name == name
    assert caught.value.exit_code is ExitCode.BUILD
    assert name in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_assertions_text_is_shown() -> None:
    code = "import os, sys; print('GGML_ASSERT(n > 0) failed', file=sys.stderr, flush=True); os.abort()"
    with pytest.raises(ChildError, match=r"SIGABRT \(GGML_ASSERT\(n > 0\) failed\)"):
        run(python(code))


def test_an_emulators_exit_code_is_a_signal() -> None:
    with pytest.raises(ChildError) as caught:
        run(python("import sys; sys.exit(139)"))
    assert caught.value.signal_name == "SIGSEGV"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("error: failed to load model 'x'", "failed to load model 'x'"),
        ("write failed: No space left on device", "the disk is full"),
        ("invalid ggml type 120", "doesn't know the type"),
        ("unknown model architecture: 'foo'", "unknown model architecture: 'foo'"),
    ],
)
def test_the_last_word_is_shown(words: str, said: str) -> None:
    with pytest.raises(ChildError) as caught:
        run(python(f"import sys; print({words!r}, file=sys.stderr); print('bye'); sys.exit(1)"))
    assert said in str(caught.value)
    assert words in caught.value.output


def test_the_catalogue_of_fixes_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_fixes, "advice", lambda name, program: f"known: {name} of {program.name}")
    assert "known: SIGSEGV of llama-bench" in str(measured.diagnose(["/b/bin/llama-bench"], -11, "", ""))
    monkeypatch.setattr(build_fixes, "advice", lambda name, program: None)
    assert "known" not in str(measured.diagnose(["/b/bin/llama-bench"], -11, "", ""))


def test_a_child_that_does_not_end_is_ended(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    start = time.monotonic()
    with pytest.raises(ChildError, match="did not end in 1 s"):
        run(python(code), seconds=1)
    assert time.monotonic() - start < 20
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_interruption_ends_the_child(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    inner = f"import os, time; open({str(place)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    outer = f"import sys; from patcher.programs.measured import run; run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen(python(outer), stderr=subprocess.PIPE) as parent:
        deadline = time.monotonic() + 60
        while not (place.exists() and place.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        parent.send_signal(signal.SIGINT)
        _, said = parent.communicate(timeout=60)
    assert b"KeyboardInterrupt" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int(place.read_text()), 0)


def test_a_timed_child_keeps_others_waiting_when_its_owner_is_killed(tmp_path: Path) -> None:
    lock, begun, ended = (tmp_path / name for name in ("lock", "begun", "ended"))
    inner = f"import pathlib, time; pathlib.Path({str(begun)!r}).touch(); time.sleep(2); pathlib.Path({str(ended)!r}).touch()"
    outer = (
        "import sys; from pathlib import Path; from patcher.programs.exclusive import alone\n"
        "from patcher.programs.measured import run\n"
        f"with alone(Path({str(lock)!r})) as held: run([sys.executable, '-c', {inner!r}], pass_fds=held)"
    )
    with subprocess.Popen(python(outer)) as parent:
        deadline = time.monotonic() + 60
        while not begun.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        parent.kill()
    assert not ended.exists()
    with alone(lock):
        assert ended.exists()


def test_drafts_of_the_dead_are_swept(tmp_path: Path) -> None:
    mine = partial_files.beside(tmp_path / "model.gguf")
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-"))
    elsewhere = dead.with_name(dead.name.replace(machine_id(), "0" * 12))
    others = [tmp_path / "model.gguf", tmp_path / ".other.draft"]
    for place in (mine, dead, elsewhere, *others):
        place.touch()
    assert partial_files.sweep(tmp_path) == [dead]
    assert sorted(tmp_path.iterdir()) == sorted([mine, elsewhere, *others])


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="can't be started"):
        run(["/nonexistent/llama-bench"])
