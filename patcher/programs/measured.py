"""Child processes that are measured: what they say, their time, their peak of memory, how they end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from patcher.base.errors import BuildError
from patcher.base.os_errors import refused
from patcher.base.processes import GROUP, end
from patcher.programs.last_words import last_word

POLL_SECONDS = 0.05
_SIGNALS = {
    "SIGKILL": "most likely for want of memory: close other programs, or lower --prompt and --depths",
    "SIGILL": "the program was built for another processor: build it here, or with -DGGML_NATIVE=OFF",
    "SIGBUS": "a file shrank while it was mapped, or the disk is full",
    "SIGXFSZ": "a file grew beyond the allowed size (ulimit -f)",
    "SIGXCPU": "it used more processor time than is allowed (ulimit -t)",
    "SIGABRT": "an assertion of its own failed",
}
_REASONS = (
    (
        re.compile(r"No space left on device"),
        "the disk is full",
        "free some, then run the same command again",
    ),
    (
        re.compile(r"invalid ggml type (\d+)|unknown type (?:id )?(\d+)"),
        None,
        "this build doesn't know the type",
    ),
    (re.compile(r"unknown model architecture: '?([\w-]+)'?"), None, "this release doesn't know the model"),
    (
        re.compile(r"tokenizes to only (\d+) tokens"),
        None,
        "name a longer --text; a --ctx of half as many tokens, 32 at least, would do too",
    ),
    (re.compile(r"invalid ftype '([^']+)'"), None, "this build's llama-quantize doesn't know the type"),
)


class ChildError(BuildError):
    """A program of the build crashed, was killed, or ended with an error (exit 5). ``signal`` is its name."""

    def __init__(self, message: str, *, hint: str | None = None, signal_name: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.signal_name = signal_name
        self.output = ""  # all that it said


@dataclass(frozen=True)
class Ran:
    """A child that ended well. ``seconds`` is wall time; ``peak_rss`` is bytes, 0 where nobody says."""

    out: str
    err: str
    seconds: float
    peak_rss: int

    @property
    def text(self) -> str:
        """Both streams: newer releases split one result between them."""
        return f"{self.out}\n{self.err}"


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    on_text: Callable[[str], None] | None = None,
    seconds: float | None = None,
    pass_fds: Sequence[int] = (),
) -> Ran:
    """Run ``command`` to its end; ``on_text`` gets each piece of its output as it comes.

    ``pass_fds`` stay open in it. An interruption ends it and its children. Raises :class:`ChildError` where
    it fails, with the signal by name; :class:`UsageError` where it can't be started.
    """
    words = [str(word) for word in command]
    start = time.monotonic()
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env) if env is not None else None,
            start_new_session=GROUP,
            pass_fds=tuple(pass_fds),
        )
    except OSError as why:
        raise refused(words[0], why, what="started") from why
    streams = [_Reader(stream, on_text) for stream in (child.stdout, child.stderr) if stream is not None]
    try:
        code, peak = _wait(child, Path(words[0]).name, start, seconds)
    except BaseException:
        end(child)
        raise
    finally:
        for stream in streams:
            stream.join()
    took = time.monotonic() - start
    out, err = (stream.text for stream in streams)
    if code != 0:
        error = diagnose(words, code, out, err)
        error.output = f"{out}\n{err}"
        raise error
    return Ran(out, err, took, peak)


class _Reader(threading.Thread):
    """Empties a pipe, so that the child never waits for us."""

    def __init__(self, stream: IO[bytes], on_text: Callable[[str], None] | None) -> None:
        super().__init__(daemon=True)
        self._stream, self._on_text, self._parts = stream, on_text, bytearray()
        self.start()

    def run(self) -> None:
        with self._stream as stream:
            while piece := os.read(stream.fileno(), 1 << 16):
                self._parts += piece
                if self._on_text is not None:
                    self._on_text(piece.decode("utf-8", "replace"))

    @property
    def text(self) -> str:
        return self._parts.decode("utf-8", "replace")


def _wait(child: subprocess.Popen[bytes], name: str, start: float, seconds: float | None) -> tuple[int, int]:
    """The exit code (negative: the signal) and the peak of resident memory."""
    if not hasattr(os, "wait4"):
        return child.wait(timeout=seconds), 0
    seen = 0
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            # Linux counts what stood at the fork, which was our own memory: for a smaller child, ask /proc
            return child.returncode, peak if peak > _own_peak() or not seen else seen
        if seconds is not None and time.monotonic() - start > seconds:
            raise ChildError(
                f"{name}: did not end in {seconds:.0f} s", hint="the machine is too slow for this"
            )
        seen = max(seen, _high_water(child.pid))
        time.sleep(POLL_SECONDS)


def _own_peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _high_water(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0  # not Linux, or it has just ended
    found = re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def diagnose(command: Sequence[str], code: int, out: str, err: str) -> ChildError:
    """The one line for a child that failed: the signal by name, or its own last word."""
    name = Path(command[0]).name
    said = f"{err}\n{out}"
    for pattern, reason, remedy in _REASONS:
        found = pattern.search(said)
        if found:
            return ChildError(f"{name}: {reason or found[0]}", hint=remedy, signal_name=_signal_name(code))
    signal_name = _signal_name(code)
    if signal_name is not None:
        word = last_word(said) if signal_name == "SIGABRT" else ""
        from patcher.engine.build_fixes import advice

        hint = advice(signal_name, Path(command[0])) or _SIGNALS.get(signal_name)
        ended = "was killed by" if signal_name == "SIGKILL" else "died of"
        return ChildError(
            f"{name}: {ended} {signal_name}" + (f" ({word})" if word else ""),
            hint=hint,
            signal_name=signal_name,
        )
    return ChildError(f"{name}: ended with exit code {code} ({last_word(said) or 'without a word'})")


def _signal_name(code: int) -> str | None:
    """-11, or a shell's or emulator's 139 -> ``SIGSEGV``."""
    number = -code if code < 0 else code - 128
    if number <= 0:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}" if code < 0 else None
