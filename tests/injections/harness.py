"""One injection: a child does the command and is struck, another one is the next command, and what is then."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from patcher.base import interrupt
from tests.injections import shim
from tests.injections.commands import Command, Work, commands
from tests.injections.shim import Injection

SECONDS = 60.0
_RAISED = 99  # a traceback: nothing of ours ends so


@dataclass(frozen=True)
class Outcome:
    """What an injection led to. ``fault`` is empty where all was as it must be."""

    command: str
    call: str
    what: str
    turn: int
    code: int  # negative: killed by that signal
    state: str  # at once
    then: str  # after the next command
    fault: str = ""


def calls_of(command: Command, room: Path) -> list[str]:
    """The writing calls of ``command``, in order, when nothing strikes."""
    with _copy(command, room) as place:
        names = room / "names.json"

        def count(folder: Path) -> int:
            shim.count()
            code = command.work(folder)
            names.write_text(json.dumps(shim.counted()), encoding="utf-8")
            return code

        _wait(_start(count, place, room / "said"))
        found: list[str] = json.loads(names.read_text(encoding="utf-8"))
    return found


def inject(command: Command, injection: Injection, call: str, room: Path, *, following: int = 0) -> Outcome:
    """Strike ``command``, then let the next one (number ``following`` of those that may be) do its work."""
    with _copy(command, room) as place:

        def struck(folder: Path) -> int:
            injection.arm()
            return command.work(folder)

        children = [_start(struck, place, room / "said")]
        if command.beside is not None:
            children.append(_start(command.beside, place, room / "other"))
        codes = [_wait(child) for child in children]
        said = (room / "said").read_text(encoding="utf-8", errors="replace")
        state = command.state(place)
        fault = _fault(codes[0], injection, state, said)
        if len(codes) > 1 and codes[1] != 0:
            other = (room / "other").read_text(encoding="utf-8", errors="replace")
            # it may meet what the first one left half done, and heals that; nothing else may stop it
            fault = fault or f"the other one ended with {codes[1]}: {other}"
        work, wanted, allowed = command.following[following % len(command.following)]
        code = _wait(_start(work, place, room / "said"))
        then = command.settled(place)
        if code not in allowed or then != wanted:
            said = (room / "said").read_text(encoding="utf-8", errors="replace")
            fault = fault or f"the next command: exit {code}, {then}, wanted {wanted}: {said}"
    return Outcome(command.name, call, injection.what, injection.turn, codes[0], state, then, fault)


def _fault(code: int, injection: Injection, state: str, said: str) -> str:
    if code == _RAISED or "Traceback" in said or code == 70:
        return f"exit {code}: {said}"
    if injection.what == "SIGKILL":
        return "" if code in (-signal.SIGKILL, 0) else f"exit {code}"
    if injection.what in shim.SIGNALS:
        wanted = 128 + int(getattr(signal, injection.what))
        if code not in (wanted, 0):
            return f"exit {code}, not {wanted}: {said}"
    elif code != 0 and (lines := sum(line.startswith("error: ") for line in said.splitlines())) != 1:
        return f"{lines} error lines: {said}"
    if state == "between" and "between two states" not in said and "not committed" not in said:
        return f"between, unsaid: {said}"
    if code == 0 and state == "before":
        return f"exit 0, and nothing done: {said}"
    return ""


class _copy:  # noqa: N801 - a context manager, used like a function
    def __init__(self, command: Command, room: Path) -> None:
        self._place = Path(tempfile.mkdtemp(dir=room)) / "work"
        shutil.copytree(command.start, self._place, symlinks=True)

    def __enter__(self) -> Path:
        return self._place

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._place.parent)


def _start(work: Work, place: Path, said: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = _RAISED
    try:
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        for number in interrupt.SIGNALS:
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
        interrupt.listen()
        code = work(place)
        sys.stdout.flush()
        sys.stderr.flush()
    except KeyboardInterrupt as why:  # behind the command's end
        code = interrupt.exit_code(why)
    except BaseException:  # noqa: BLE001 - whatever it is, it is a finding
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code & 0xFF)


def _wait(child: int) -> int:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.003)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return _RAISED


def serve(
    choose: Callable[[dict[str, list[str]]], list[tuple[str, Injection, int]]], home: Path
) -> list[Outcome]:
    """All that ``choose`` picks of every command's calls; needs the shim before this process's calls."""
    known = {command.name: command for command in commands(home)}
    room = home / "room"
    room.mkdir()
    calls = {name: calls_of(command, room) for name, command in known.items()}
    return [
        inject(known[name], injection, calls[name][injection.turn - 1], room, following=following)
        for name, injection, following in choose(calls)
    ]


def document(outcomes: list[Outcome]) -> str:
    """Outcomes as they go from process to process."""
    return json.dumps([asdict(outcome) for outcome in outcomes])


def main(arguments: list[str]) -> int:
    """``python -m tests.injections.harness HOME OUT CHOICE``: CHOICE is ``seed:N:COUNT`` or ``all:PART/OF``."""
    home, out, choice = Path(arguments[0]), Path(arguments[1]), arguments[2]
    home.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_DATA_HOME"] = str(home / "data")
    os.environ["Q8A8_PATCH_CACHE"] = str(home / "cache")
    from tests.injections.choice import chosen

    out.write_text(document(serve(chosen(choice), home)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
