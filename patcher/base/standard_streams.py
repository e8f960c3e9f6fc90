"""Standard output and errors that nobody reads, that are full, or that are closed: never a wrong exit code.

A command's exit code is its answer. Where the reader of its output has gone (``| head``) the answer stays;
where the output can't be written it is an error, said in one line.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

from patcher.base.errors import ExitCode
from patcher.base.os_errors import next_step, reason


class _Stream(io.FileIO):
    """A standard stream whose failures wait for :func:`settle`, instead of cutting the command off."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            # None: it would block, and whoever reads it is slower than a pipe holds
            return super().write(data) or 0
        except OSError as why:
            self.failure = self.failure or why
            return memoryview(data).nbytes


def install() -> None:
    """Take over the process's standard streams; one that is closed leads nowhere."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # a file that we open must not get the number, and receive what is printed
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
            continue
        buffer = getattr(stream, "buffer", None)
        if isinstance(getattr(buffer, "raw", buffer), io.FileIO):  # without a buffer it is one itself
            raw = _Stream(number, "wb", closefd=False)
            made = io.TextIOWrapper(
                io.BufferedWriter(raw),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering,
                write_through=stream.write_through,
            )
            setattr(sys, name, made)


def settle(code: int) -> int:
    """The exit code, now that everything is said: ``code``, or that of output which can't be written."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, _Stream) else None
    if failure is None or failure.errno == errno.EPIPE:
        return code
    hint = next_step(failure)
    print(
        f"error: standard output can't be written ({reason(failure)})" + (f"; {hint}" if hint else ""),
        file=sys.stderr,
        flush=True,
    )
    return code if code > ExitCode.FINDINGS else ExitCode.USAGE
