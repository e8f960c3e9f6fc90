"""Being ended, and output that nobody takes: nothing is left running or lying about, and exit codes are true."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from patcher import cli
from patcher.base import interrupt, lock
from patcher.base.errors import UsageError
from tests.elf_files import Elf

PROGRAM = Path(sys.executable).parent / "q8a8-patch"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and streams of POSIX")


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():  # one that nobody waits for is dead, too
        return stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_what_was_started_and_leaves_no_draft(
    number: signal.Signals, mini: Path, tmp_path: Path
) -> None:
    said = tmp_path / "pid"
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\nsleep 300 &\necho $! $$ >{said}.part; mv {said}.part {said}\nwait\n")
    fake.chmod(0o755)
    out = tmp_path / "out"
    out.mkdir()
    with subprocess.Popen(
        [str(PROGRAM), "fetch", "--source", str(mini), str(out / "tree")],
        env=os.environ | {"PATH": f"{fake.parent}:{os.environ['PATH']}"},
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        end = time.monotonic() + 60
        while not said.exists() and time.monotonic() < end:
            time.sleep(0.02)
        pids = [int(word) for word in said.read_text(encoding="utf-8").split()]
        assert all(map(_alive, pids))
        run.send_signal(number)
        _, error = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    assert error.splitlines()[-1] == "error: interrupted"
    end = time.monotonic() + 30  # they were told, and take their time on a busy machine
    while any(map(_alive, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(map(_alive, pids))
    assert not list(out.iterdir())


def test_a_hang_up_that_is_ignored_stays_so() -> None:
    code = (
        "import os, signal; from patcher.base import interrupt\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); interrupt.listen()\n"
        "os.kill(os.getpid(), signal.SIGHUP); print('still here')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "still here\n"


def test_the_second_of_a_services_signals_does_not_cut_the_tidying_up() -> None:
    code = (
        "import os, signal; from patcher.base import interrupt\n"
        "interrupt.listen()\n"
        "try: os.kill(os.getpid(), signal.SIGTERM)\n"
        "except interrupt.Interrupted as why:\n"
        "    os.kill(os.getpid(), signal.SIGHUP); os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print(interrupt.exit_code(why))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "143\n"


def test_an_interruption_while_the_program_is_loaded_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n")
    code = "import sys; from patcher.start import main; main(['doctor'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (143, "error: interrupted\n")


def test_signals_wait_until_the_steps_are_done() -> None:
    done = []

    def steps(number: int, *, looks: bool) -> None:
        with interrupt.held() as hold:
            os.kill(os.getpid(), number)  # nothing but us would live through SIGTERM
            done.append("behind it")
            if looks:
                hold.check()

    with pytest.raises(KeyboardInterrupt):
        steps(signal.SIGINT, looks=False)
    with pytest.raises(interrupt.Interrupted) as caught:
        steps(signal.SIGTERM, looks=True)
    assert done == ["behind it"] * 2
    assert interrupt.exit_code(caught.value) == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# ---------------------------------------------------------------- output


def _run(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    script = f'set -o pipefail; q() {{ {PROGRAM} "$@"; }}; {command}'
    return subprocess.run(["bash", "-c", script], cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def findings(tmp_path: Path) -> Path:
    """Libraries with one undefined symbol each: more findings than a pipe holds."""
    for number in range(400):
        Elf(uses=[f"missing_{number}"]).write(tmp_path / f"lib{number}.so")
    return tmp_path


@pytest.mark.parametrize("options", ["", "--json", "-v", "-q"])
def test_findings_stay_findings_where_the_reader_goes(findings: Path, options: str) -> None:
    done = _run(f"q verify-symbols {options} . | head -c 1 >/dev/null", findings)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["status {}", "status --json {}", "diff {}", "--help", "doctor --offline"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_output_is_one_line(mini: Path, verb: str) -> None:
    done = _run(f"q {verb.format(mini)} >/dev/full", mini)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    full = "error: standard output can't be written (No space left on device); free some space, then run"
    assert len(lines) == 1
    assert lines[0].startswith(full)
    assert "Traceback" not in done.stderr
    # where nobody could read the error either, the exit code still says it
    assert _run(f"q {verb.format(mini)} >/dev/full 2>&1", mini).returncode == 2


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(mini: Path, closed: str) -> None:
    assert _run(f"q status {mini} {closed}", mini).returncode == 0
    assert _run(f"q status {mini / 'nowhere'} {closed}", mini).returncode == 2


# ---------------------------------------------------------------- locks


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_as_that(
    mini_repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    import fcntl

    def flock(handle: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert cli.run(["apply", "-q", str(mini_repo)]) == 2
    said = capsys.readouterr().err
    assert "lock: its file system can't lock files" in said
    assert "another q8a8-patch" not in said


def test_a_lock_that_is_held_is_waited_for_and_told(tmp_path: Path) -> None:
    place = tmp_path / "lock"
    with lock.hold(place, seconds=0), pytest.raises(UsageError, match="lock: another q8a8-patch holds it"):
        lock.hold(place, seconds=0.2).__enter__()
    with lock.hold(place, seconds=0):
        assert place.read_bytes() == b""
