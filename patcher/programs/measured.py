"""Child processes that are measured: what they say, their time, their peak of memory, how they end."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from patcher.base import processes
from patcher.base.environment import building
from patcher.base.errors import BuildError
from patcher.base.os_errors import refused
from patcher.programs.last_words import last_word

_NO_TYPE = "this build doesn't know the type: add it with 'q8a8-patch run', or name another build with --bin"
_SIGNALS = {
    "SIGKILL": "most likely for want of memory: close other programs, or lower --prompt and --depths",
    "SIGILL": "the program was built for another processor: build it here, or with -DGGML_NATIVE=OFF",
    "SIGBUS": "a file shrank while it was read, or the disk is full: free some, then run it again",
    "SIGXFSZ": "a file grew beyond the allowed size: raise it with ulimit -f",
    "SIGXCPU": "it used more processor time than is allowed: raise it with ulimit -t",
    "SIGABRT": "an assertion of its own failed: the file has what this build doesn't expect, or the build is "
    "at fault; take another file, or build it anew (q8a8-patch run)",
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
        _NO_TYPE,
    ),
    (
        re.compile(r"unknown model architecture: '?([\w-]+)'?"),
        None,
        "this release doesn't know the model: build a newer one",
    ),
    (
        re.compile(r"tokenizes to only (\d+) tokens"),
        None,
        "name a longer --text; a --ctx of half as many tokens, 32 at least, would do too",
    ),
    (
        re.compile(r"invalid ftype '([^']+)'"),
        None,
        _NO_TYPE,
    ),
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
    stop: threading.Event | None = None,
) -> Ran:
    """Run ``command`` to its end; ``on_text`` gets each piece of its output as it comes.

    ``pass_fds`` stay open in it. An interruption ends it and its children, and so does ``stop``, set by
    another thread (:class:`patcher.base.processes.StoppedError`). Raises :class:`ChildError` where it fails,
    with the signal by name; :class:`UsageError` where it can't be started.
    """
    words = [str(word) for word in command]
    try:
        done = processes.run(
            words,
            env=building() if env is None else env,
            on_text=on_text,
            seconds=seconds,
            pass_fds=pass_fds,
            stop=stop,
        )
    except processes.NotStartedError as why:
        raise refused(words[0], why.reason, what="started") from why
    except processes.StoppedError:
        raise
    except processes.ProcessError as why:
        raise ChildError(
            f"{Path(words[0]).name}: {why.message}", hint="the machine is too slow for this"
        ) from why
    if done.code != 0:
        error = diagnose(words, done.code, done.text, done.errors)
        error.output = f"{done.text}\n{done.errors}"
        raise error
    return Ran(done.text, done.errors, done.seconds, done.peak_rss)


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
    return ChildError(
        f"{name}: ended with exit code {code} ({last_word(said) or 'without a word'})",
        hint=f"run {name} by hand on the same files, to see all that it says",
    )


def _signal_name(code: int) -> str | None:
    """-11, or a shell's or emulator's 139 -> ``SIGSEGV``."""
    number = -code if code < 0 else code - 128
    if number <= 0:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}" if code < 0 else None
