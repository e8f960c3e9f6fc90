"""A disguise: this interpreter as one of Windows' is, as far as what it lacks can be taken away.

``python -m tests.elsewhere COMMAND...`` runs our command in it; ``import`` imports every module of ours instead.
What the standard library itself needs on this system stays: it has chosen when it was imported.
"""

from __future__ import annotations

import ctypes  # noqa: F401 - imported here, before anything is missing
import errno
import importlib
import os
import pkgutil
import shutil  # noqa: F401
import signal
import subprocess  # noqa: F401
import sys
import tempfile  # noqa: F401
import uuid  # noqa: F401
from typing import Any

import git  # noqa: F401
import platformdirs  # noqa: F401

GONE = ("fcntl", "resource", "pwd", "grp", "termios", "pty", "tty", "syslog", "posix", "readline", "curses")
OF_OS = (
    "O_CLOEXEC", "O_NONBLOCK", "O_NOFOLLOW", "O_DIRECTORY", "O_SYNC", "chown", "chroot", "fchmod", "fchown", "fork",
    "forkpty", "geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getuid", "killpg", "lchown", "mkfifo",
    "mknod", "nice", "openpty", "pidfd_open", "posix_spawn", "pread", "pwrite", "sched_getaffinity", "sendfile",
    "setsid", "sync", "sysconf", "uname", "wait3", "wait4", "waitid",
)  # fmt: skip
OF_SIGNAL = (
    "SIGALRM",
    "SIGCHLD",
    "SIGHUP",
    "SIGKILL",
    "SIGPIPE",
    "SIGQUIT",
    "SIGUSR1",
    "pthread_sigmask",
    "setitimer",
)


class _Missing:
    """Finds no module of another system."""

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] in GONE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def disguise() -> None:
    """Take away what Windows lacks. The standard library has been imported by now, and stays as it is."""
    _refuse_what_windows_refuses()
    for name in GONE:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, _Missing())
    for name in OF_OS:
        if hasattr(os, name):
            delattr(os, name)
    for name in OF_SIGNAL:
        if hasattr(signal, name):
            delattr(signal, name)
    os.supports_dir_fd = set()
    os.supports_fd = set()
    os.supports_follow_symlinks = set()
    os.name = "elsewhere"  # no "nt": paths are this system's
    sys.platform = "elsewhere"


def _refuse_what_windows_refuses() -> None:
    """A read-only handle is not synced, a folder is not opened, and nothing is renamed onto what is there."""
    import fcntl

    real_open, real_sync, real_rename = os.open, os.fsync, os.rename

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        if not isinstance(path, int) and os.path.isdir(path):  # noqa: PTH112 - pathlib is what asks us
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real_open(path, flags, mode)

    def synced(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real_sync(handle)

    def renamed(old: Any, new: Any, **more: Any) -> None:
        if more:
            raise NotImplementedError("dir_fd unavailable on this platform")
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
        real_rename(old, new)

    for name, function in (("open", opened), ("fsync", synced), ("rename", renamed)):
        setattr(os, name, function)


def modules() -> list[str]:
    """Every module of ours, but what a child process begins with."""
    import patcher

    return sorted(found.name for found in pkgutil.walk_packages(patcher.__path__, "patcher."))


def main(words: list[str]) -> int:
    disguise()
    if words == ["import"]:
        for name in modules():
            if name not in ("patcher.__main__", "patcher.start"):
                importlib.import_module(name)
        print(len(modules()))
        return 0
    from patcher import cli

    return int(cli.run(words))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
