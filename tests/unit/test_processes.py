"""The one way to run a program: bounds, environment, and its end on every way out."""

from __future__ import annotations

import ast
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from patcher.base import environment, processes
from patcher.base.processes import NotStartedError, Politeness, TimeUpError, TooMuchError, end, run
from patcher.base.streams import Streams
from patcher.build.configure import BuildRequest
from patcher.build.configure import environment as build_environment

ROOT = Path(__file__).resolve().parents[2]
SLOW = "import time; open({!r}, 'w').write(str(__import__('os').getpid())); time.sleep(60)"


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-c", code]


def wait_for(place: Path, seconds: float = 20.0) -> int:
    until = time.monotonic() + seconds
    while not place.exists() or not place.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)
    return int(place.read_text())


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_what_it_says() -> None:
    code = "import sys; data = sys.stdin.buffer.read(); print(len(data)); print('e', file=sys.stderr); sys.exit(3)"
    done = run(python(code), stdin=b"x" * 300_000)
    assert (done.code, done.text, done.errors) == (3, "300000\n", "e\n")
    lines: list[str] = []
    code = "import sys; print('a', flush=True); print('b', file=sys.stderr, flush=True); print('c', end='')"
    done = run(python(code), merged=True, on_line=lines.append)
    assert lines == ["a", "b", "c"]
    assert done.text == "a\nb\nc"
    assert run(["kill", "-9", "0"] if os.name != "posix" else ["sh", "-c", "kill -9 $$"]).code == -9


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotStartedError, match="can't be run"):
        run([tmp_path / "missing"])
    with pytest.raises(NotStartedError):
        run(["a\0b"])
    with pytest.raises(TimeUpError, match=r"gave no answer in 0\.3 s"):
        run(python(SLOW.format(str(tmp_path / "pid"))), seconds=0.3)
    with pytest.raises(TooMuchError, match="says more than"):
        run(["yes"], output=1 << 20)
    # who follows the lines is spared the bound; the last of them are kept
    monkeypatch.setattr(processes, "TAIL", 1000)
    done = run(python("for n in range(5000): print(n)"), on_line=lambda line: None)
    assert done.text.endswith("4998\n4999\n")
    assert len(done.out) <= 70_000
    if sys.platform == "linux":
        assert run(python("import time; time.sleep(.5); bytearray(1 << 30)"), memory=400 << 20).code != 0


def test_a_daemon_that_holds_the_output_open_is_not_waited_for() -> None:
    start = time.monotonic()
    assert run(["sh", "-c", "sleep 30 & echo x"]).text == "x\n"
    assert time.monotonic() - start < 15


def test_what_was_said_is_there_though_the_machine_stood_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """For seconds, between a program's end and our looking: a laptop that was shut, a virtual machine."""
    take = Streams.take

    def slowly(streams: Streams, seconds: float) -> bool:
        time.sleep(0.005)
        return take(streams, seconds)

    clock = (time.monotonic() + 10.0 * turn for turn in itertools.count())
    monkeypatch.setattr(Streams, "take", slowly)
    monkeypatch.setattr(processes, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=time.sleep))
    assert len(run(python("print('x' * 3_000_000, end='')")).out) == 3_000_000


def test_a_daemon_that_goes_on_talking_is_not_listened_to() -> None:
    done = run(["sh", "-c", "(while sleep .01; do echo x; done) & echo y"], on_line=lambda _: None)
    assert done.out.count(b"x") < 500


@pytest.mark.parametrize("way", ["timeout", "listener"])
def test_children_of_children_end_too(way: str, tmp_path: Path) -> None:
    command = ["sh", "-c", f"sleep 60 & echo $! >{tmp_path}/pid; echo x; wait"]

    def refuse(line: str) -> None:
        wait_for(tmp_path / "pid")
        raise KeyboardInterrupt

    with pytest.raises(TimeUpError if way == "timeout" else KeyboardInterrupt):
        run(command, seconds=1.0 if way == "timeout" else None, on_line=refuse if way != "timeout" else None)
    process = wait_for(tmp_path / "pid")
    until = time.monotonic() + 5
    while not gone(process) and time.monotonic() < until:
        time.sleep(0.02)
    assert gone(process)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_program_first(sent: signal.Signals, tmp_path: Path) -> None:
    code = "import sys; from patcher.base.processes import run; run([sys.executable, '-c', sys.argv[1]])"
    child = subprocess.Popen(
        [sys.executable, "-c", code, SLOW.format(str(tmp_path / "pid"))], stderr=subprocess.DEVNULL
    )
    inner = wait_for(tmp_path / "pid")
    child.send_signal(sent)
    assert child.wait(timeout=20) in (-sent, 1)
    assert gone(inner)


@pytest.mark.parametrize("listening", [False, True], ids=["bare", "listening"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_at_the_fork_leaves_nothing_running(
    sent: signal.Signals, listening: bool, tmp_path: Path
) -> None:
    """It comes when the child is there and nobody holds it yet."""
    code = (
        "import os, subprocess, sys; from patcher.base import interrupt; from patcher.base.processes import run\n"
        "start = subprocess.Popen._execute_child\n"
        "def struck(self, *args):\n"
        "    start(self, *args)\n"
        "    open(sys.argv[1], 'w').write(str(self.pid))\n"
        f"    os.kill(os.getpid(), {int(sent)})\n"
        "subprocess.Popen._execute_child = struck\n"
        f"{'interrupt.listen()' if listening else ''}\n"
        "run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pid")], capture_output=True, timeout=50
    )
    assert done.returncode != 0
    inner = wait_for(tmp_path / "pid")
    assert gone(inner)


def test_what_does_not_obey_is_killed(tmp_path: Path) -> None:
    code = (
        f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLOW.format(str(tmp_path / 'pid'))}"
    )
    child = subprocess.Popen(python(code), start_new_session=True)
    wait_for(tmp_path / "pid")
    end(child, Politeness(seconds=0.2))
    assert child.returncode == -signal.SIGKILL


# ---------------------------------------------------------------- the environment

SECRETS = {
    "GITHUB_ENV": "/there",
    "GITHUB_PATH": "/there",
    "GITHUB_OUTPUT": "/there",
    "GITHUB_TOKEN": "x",
    "GH_TOKEN": "x",
    "ACTIONS_RUNTIME_TOKEN": "x",
    "CI_JOB_TOKEN": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "NPM_TOKEN": "x",
    "PIP_INDEX_URL": "https://me:x@host",
    "SCCACHE_REDIS_PASSWORD": "x",
    "CMAKE_TOKEN": "x",
    "SSH_AUTH_SOCK": "/there",
    "http_proxy": "http://me:x@host",
}
STEERING = ("COMPILER_PATH", "GCC_EXEC_PREFIX", "LD_PRELOAD", "CCC_OVERRIDE_OPTIONS", "BASH_ENV", "ENV")


@pytest.fixture
def rich(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for name in (*STEERING, "LD_LIBRARY_PATH", "CPATH", "LIBRARY_PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("CXXFLAGS", "-O1")
    monkeypatch.setenv("CCACHE_DIR", "/cache")


def test_a_build_gets_no_token_and_no_file_of_the_runner(
    rich: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = build_environment(BuildRequest(tmp_path / "a", tmp_path / "b"), tmp_path / "b")
    assert not set(given) & {*SECRETS, *STEERING, "PYTHONPATH"}
    assert (given["CXXFLAGS"], given["CCACHE_DIR"], given["PATH"]) == ("-O1", "/cache", os.environ["PATH"])
    monkeypatch.setenv(environment.PASSED, "GH_TOKEN, NOT_THERE")  # who wants one names it
    assert "GH_TOKEN" in environment.building()


def test_who_is_only_asked_something_gets_nothing_that_steers(rich: None) -> None:
    for given in (environment.asked(), environment.plain()):
        assert not set(given) & {*SECRETS, *STEERING, "LD_LIBRARY_PATH", "CPATH", "LIBRARY_PATH", "CXXFLAGS"}
    assert run(["env"]).text.count("TOKEN") == 0


# ---------------------------------------------------------------- the house


def test_no_other_module_starts_programs() -> None:
    """GitPython starts git for read_blob; everything else goes through one module."""
    starting = {"subprocess", "pty", "multiprocessing", "asyncio"}
    found = []
    for place in (ROOT / "patcher").rglob("*.py"):
        for node in ast.walk(ast.parse(place.read_text(encoding="utf-8"))):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").partition(".")[0]}
            elif (
                isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
            ):
                names = {"subprocess"} if node.attr.startswith(("system", "popen", "exec", "spawn", "posix_spawn")) else set()  # fmt: skip
            if names & starting:
                found.append(place.relative_to(ROOT).as_posix())
    assert set(found) == {"patcher/base/processes.py"}
