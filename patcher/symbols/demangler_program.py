"""What :mod:`patcher.symbols.demangle` runs: names in, each ended by a zero; texts out, the same way.

Run by path, without the package: it imports nothing of ours, so that it begins at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

MEMORY = 96 << 20  # bytes, besides what there is when it begins
SECONDS = 0.3  # of the processor, for one name; a long one takes a hundredth of it
_LIBRARIES = ("libstdc++.so.6", "libc++abi.so.1", "libc++abi.dylib", "libc++.1.dylib")


def main(longest: int) -> None:
    """Answer until there are no more questions. An empty answer: it is no name, or too long."""
    library = _runtime()
    demangle, free = library.__cxa_demangle, library.free
    demangle.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    status = ctypes.c_int()
    _limit_memory()
    waiting = b""
    while part := os.read(0, 1 << 16):
        *names, waiting = (waiting + part).split(b"\0")
        for name in names:
            # nobody handles the signal, so it ends us in the midst of the runtime's code
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            made = demangle(name, None, None, ctypes.byref(status))
            text = ctypes.string_at(made) if made and not status.value else b""
            free(made)
            sys.stdout.buffer.write((text if len(text) <= longest else b"") + b"\0")
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        sys.stdout.buffer.flush()


def _runtime() -> ctypes.CDLL:
    for name in _LIBRARIES:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name)
    sys.exit(1)


def _limit_memory() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - begins faster without
            there = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (there + MEMORY, there + MEMORY))


if __name__ == "__main__":
    main(int(sys.argv[1]))
