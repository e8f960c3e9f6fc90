"""Packages through the user's own npm and pip: cached, hashed, and never half."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from patcher.base.cache import cache_dir
from patcher.base.errors import SourceError, UsageError
from patcher.base.progress import SILENT
from patcher.source import download

NPM = """
    case "$1" in
    view) echo '"3.22.1"' ;;
    pack) printf 'bytes of %s' "$2" > "$4/package.tgz" ;;
    esac
"""


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.said.append(message)

    def step(self, label: str, total: int | None = None) -> object:
        return SILENT.step(label, total)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Put a shell program of a name on PATH, before all others; gives the file that its calls are kept in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))

    def make(name: str, body: str) -> Path:
        calls = tmp_path / f"{name}.calls"
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{textwrap.dedent(body)}')
        program.chmod(0o755)
        return calls

    return make


def calls_of(calls: Path, verb: str) -> list[str]:
    return [call for call in calls.read_text().splitlines() if call.split()[0] == verb]


def cached(tmp_path: Path) -> list[str]:
    """What lies in the cache besides locks."""
    folder = tmp_path / "cache" / "downloads"
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock") if folder.exists() else []


Make = Callable[[str, str], Path]


def test_npm(programs: Make, tmp_path: Path) -> None:
    calls = programs("npm", NPM)
    made = download.npm("node-llama-cpp", "3.22.1")
    assert made.path.read_bytes() == b"bytes of node-llama-cpp@3.22.1"
    assert made.sha256 == hashlib.sha256(b"bytes of node-llama-cpp@3.22.1").hexdigest()
    assert made.version == "3.22.1"
    assert "--ignore-scripts" in calls_of(calls, "pack")[0]
    assert download.npm("node-llama-cpp", "3.22.1") == made
    assert len(calls_of(calls, "pack")) == 1
    assert calls_of(calls, "view") == []
    assert cached(tmp_path) == ["npm-node-llama-cpp-3.22.1"]


def test_the_newest_of_npm(programs: Make) -> None:
    calls = programs("npm", NPM)
    assert download.npm("node-llama-cpp", None).version == "3.22.1"
    assert calls_of(calls, "view") == ["view node-llama-cpp version --json"]
    programs("npm", NPM.replace("""'"3.22.1"'""", """'["3.22.0", "3.23.0"]'"""))
    assert download.npm("node-llama-cpp", None).version == "3.23.0"


@pytest.mark.parametrize(
    ("answer", "says"), [("oops", "no JSON"), ("{}", "found none"), ("[]", "found none")]
)
def test_npm_names_no_version(programs: Make, answer: str, says: str) -> None:
    programs("npm", f"echo '{answer}'")
    with pytest.raises(SourceError, match=f"npm:node-llama-cpp: looked for its newest version, .*{says}"):
        download.npm("node-llama-cpp", None)


def test_nothing_to_download_with(programs: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SourceError, match=r"npm not found; install Node\.js"):
        download.npm("node-llama-cpp", "1.0.0")
    with pytest.raises(SourceError, match="pip: not found; python3 -m ensurepip"):
        download.pypi("some-package", "1.0.0")
    assert cached(tmp_path) == []


def test_corrupted_in_the_cache(programs: Make) -> None:
    calls = programs("npm", NPM)
    made = download.npm("node-llama-cpp", "1.0.0")
    for damage in (b"bytes of node-llama-cpp@1.0.1", b""):
        made.path.write_bytes(damage)
        notes = Notes()
        assert download.npm("node-llama-cpp", "1.0.0", notes) == made  # type: ignore[arg-type]
        assert made.path.read_bytes() == b"bytes of node-llama-cpp@1.0.0"
        assert any("is not what was downloaded" in note for note in notes.said)
    assert len(calls_of(calls, "pack")) == 3


@pytest.mark.parametrize(
    "document", [None, "", "{", "[]", "{}", '{"file": 1}', '{"file": "..", "what": "", "sha256": ""}']
)
def test_half_written_in_the_cache(programs: Make, document: str | None) -> None:
    calls = programs("npm", NPM)
    made = download.npm("node-llama-cpp", "1.0.0")
    marker = made.path.parent / "download.json"
    if document is None:
        marker.unlink()
    else:
        marker.write_text(document)
    (made.path.parent / "litter").write_text("x")
    assert download.npm("node-llama-cpp", "1.0.0") == made
    assert sorted(path.name for path in made.path.parent.iterdir()) == ["download.json", "package.tgz"]
    assert len(calls_of(calls, "pack")) == 2


def test_two_packages_of_one_key(programs: Make) -> None:
    programs("npm", NPM)
    assert download.npm("a-1", "2").path.read_bytes() == b"bytes of a-1@2"
    assert download.npm("a", "1-2").path.read_bytes() == b"bytes of a@1-2"


def test_a_name_with_a_slash_stays_in_the_cache(programs: Make, tmp_path: Path) -> None:
    programs("npm", NPM)
    made = download.npm("@scope/name", "1.0.0")
    assert made.path.parent.parent == tmp_path / "cache" / "downloads"


NPM_404 = """
    exec >&2
    echo 'npm error code E404'
    echo 'npm error 404 Not Found - GET https://registry.invalid/nope'
    echo 'npm error 404 Note that you can also install from a'
    echo 'npm error A complete log of this run can be found in: /home/me/.npm/_logs/x.log'
    exit 1
"""
OLD_NPM = NPM_404.replace("npm error", "npm ERR!")
PIP_404 = """
    exec >&2
    echo 'WARNING: Retrying'
    echo 'ERROR: Could not find a version that satisfies the requirement x==9 (from versions: 1, 2, 3)'
    echo 'ERROR: No matching distribution found for x==9'
    exit 1
"""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (NPM_404, "npm:x@9: npm: npm error 404 Not Found - GET https://registry.invalid/nope"),
        (OLD_NPM, "npm:x@9: npm: npm ERR! 404 Not Found - GET https://registry.invalid/nope"),
        (PIP_404, "npm:x@9: npm: ERROR: No matching distribution found for x==9"),
        ("echo first; echo; echo 'the last word'; echo; exit 7", "npm:x@9: npm: the last word"),
        ("echo out; echo 'the last word' >&2; exit 7", "npm:x@9: npm: the last word"),
        ("exit 7", "npm:x@9: npm: exit status 7"),
        ("kill -9 $$", "npm:x@9: npm: exit status -9"),
        ("exit 0", "npm:x@9: looked for one file, found 0 in what was downloaded"),
        ('echo 1 > "$4/a"; echo 2 > "$4/b"', "npm:x@9: looked for one file, found 2 in what was downloaded"),
        ('ln -s /etc/passwd "$4/a"', "npm:x@9: looked for one file, found 0 in what was downloaded"),
    ],
)
def test_the_program_fails(programs: Make, tmp_path: Path, body: str, says: str) -> None:
    programs("npm", body)
    with pytest.raises(SourceError) as caught:
        download.npm("x", "9")
    assert caught.value.message == says
    assert cached(tmp_path) == []
    programs("npm", NPM)
    assert download.npm("x", "9").path.read_bytes() == b"bytes of x@9"


def test_the_program_is_no_program(programs: Make, tmp_path: Path) -> None:
    programs("npm", "")
    (tmp_path / "bin" / "npm").write_bytes(b"\x7fELF and nothing more")
    with pytest.raises(SourceError, match=r"npm:x@9: .*npm: can't be run"):
        download.npm("x", "9")


def gone(process: int) -> bool:
    """Whether a process has ended (a zombie has: it only waits to be asked)."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_no_answer_ends_the_program_and_its_children(
    programs: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "VERSION_SECONDS", 0.3)
    monkeypatch.setattr(download, "DOWNLOAD_SECONDS", 0.3)
    programs("npm", f"sleep 60 & echo $! >> {tmp_path}/children\nwait")
    with pytest.raises(SourceError, match=r"npm:x: npm gave no answer in 0\.3 s"):
        download.npm("x", None)
    with pytest.raises(SourceError, match=r"npm:x@9: npm gave no answer in 0\.3 s"):
        download.npm("x", "9")
    children = [int(line) for line in (tmp_path / "children").read_text().split()]
    assert len(children) == 2
    deadline = time.monotonic() + 5
    while not all(gone(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(gone(child) for child in children)
    assert cached(tmp_path) == []


def test_another_process_holds_the_lock(programs: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    programs("npm", NPM)
    monkeypatch.setattr(download, "LOCK_SECONDS", 0.1)
    with (
        FileLock(cache_dir("downloads") / "npm-x-9.lock"),
        pytest.raises(SourceError, match="npm:x@9: another process"),
    ):
        download.npm("x", "9")


ONE_FETCH = "from patcher.source import download; print(download.npm('x', '9').path.read_text())"


def start() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", ONE_FETCH], stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_call_the_program_once(programs: Make) -> None:
    calls = programs("npm", "sleep 0.5\n" + NPM)
    both = [start(), start()]
    assert [child.communicate(timeout=30)[0] for child in both] == ["bytes of x@9\n"] * 2
    assert len(calls_of(calls, "pack")) == 1


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle(programs: Make, tmp_path: Path, sent: signal.Signals) -> None:
    programs("npm", f'printf half > "$4/package.tgz"; echo $$ > {tmp_path}/pid; exec sleep 60')
    child = start()
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)  # until Python knows the program that it has started, and can end it
    child.send_signal(sent)
    child.communicate(timeout=20)
    assert child.returncode != 0
    program = int((tmp_path / "pid").read_text())
    if sent == signal.SIGINT:
        assert gone(program)
        assert cached(tmp_path) == []
    else:
        os.kill(program, signal.SIGKILL)  # nobody is left to end it
        assert "npm-x-9" not in cached(tmp_path)
    calls = programs("npm", NPM)
    assert download.npm("x", "9").path.read_bytes() == b"bytes of x@9"
    assert len(calls_of(calls, "pack")) == 2
    assert cached(tmp_path) == ["npm-x-9"]


def test_a_step_is_shown_only_while_downloading(programs: Make) -> None:
    programs("npm", NPM)
    labels: list[str] = []

    class Steps(Notes):
        def step(self, label: str, total: int | None = None) -> object:
            labels.append(label)
            return super().step(label, total)

    for _ in range(2):
        download.npm("x", "9", Steps())  # type: ignore[arg-type]
    assert labels == ["Downloading npm:x@9"]
    assert isinstance(json.loads((cache_dir("downloads") / "npm-x-9" / "download.json").read_text()), dict)


def test_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "mine"))
    assert cache_dir("a", "b") == tmp_path / "mine" / "a" / "b"
    assert (tmp_path / "mine" / "a" / "b").is_dir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("Q8A8_PATCH_CACHE", "relative")
    assert cache_dir() == tmp_path / "relative"
    monkeypatch.setenv("Q8A8_PATCH_CACHE", "~/cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir() == tmp_path / "home" / "cache"
    monkeypatch.delenv("Q8A8_PATCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "q8a8-patch"


def test_a_cache_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"the cache can't be made there .*; set Q8A8_PATCH_CACHE"):
        cache_dir("downloads")


def test_a_cache_that_another_user_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "theirs"
    place.mkdir()
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(place))
    assert cache_dir("a").is_dir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UsageError, match=r"theirs: belongs to another user .*; set Q8A8_PATCH_CACHE"):
        cache_dir("tools")
    assert not (place / "tools").exists()


def test_a_cache_where_anybody_writes_becomes_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for name in ("open", "new"):
        monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / name))
        cache_dir()
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o700


def test_no_home_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    monkeypatch.delenv("Q8A8_PATCH_CACHE", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_, **__: "~/.cache/q8a8-patch")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="looked for this user's home folder, found none"):
        cache_dir()
    assert not list(tmp_path.iterdir())
