"""A folder held open: what is done in it goes through its handle, and no link on the way is followed.

A path can be made to lead elsewhere between two steps, a handle can't. Every file that is made in or beside
a stranger's tree is made here. Where the system has no such handles (Windows) each name is looked at first.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from patcher.base import system
from patcher.base.errors import UsageError

HANDLES = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
_CLOEXEC = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _CLOEXEC
# what a type of file, as :mod:`stat` numbers it, is called
FILE_TYPES = defaultdict(
    lambda: "a device",
    {
        stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
    },
)  # fmt: skip
_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS)  # of fsync on a folder


class Folder:
    """One folder. What it does raises OSError, and :class:`UsageError` for a name that is a link, or a folder
    or pipe where a file is wanted: such names are refused, never followed and never waited for.
    """

    def __init__(self, path: Path, handle: int | None) -> None:
        self.path = path  # for messages, and for systems without handles
        self._handle = handle

    @classmethod
    def open(cls, path: Path) -> Folder:
        """The folder that the user named: links on the way to it are theirs, and are followed."""
        if not HANDLES:
            if not path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
            return cls(path, None)
        return cls(path, os.open(path, _FOLDER))

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the handle; may be said twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def enter(self, name: str, *, make: int | None = None) -> Folder:
        """The folder ``name`` in this one, made with the permissions ``make`` where it is missing and that is
        given. Raises FileNotFoundError, and :class:`UsageError` where it is a link or no folder.
        """
        if make is not None:
            with suppress(FileExistsError):
                place, at = self._at(name)
                os.mkdir(place, make, **at)  # noqa: PTH102 - by handle
        found = self.file_type(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path / name))
        if found != stat.S_IFDIR:
            raise self._strange(name, found, "a folder")
        place, at = self._at(name)
        if not HANDLES:
            return Folder(self.path / name, None)
        try:
            return Folder(self.path / name, os.open(place, _FOLDER | _NO_LINK, **at))
        except OSError as why:
            if why.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):  # exchanged since we looked
                raise self._strange(name, stat.S_IFLNK, "a folder") from why
            raise

    @contextmanager
    def parent_of(self, path: str, *, make: int | None = None) -> Iterator[tuple[Folder, str]]:
        """The folder that holds ``path`` (``a/b/c``), reached by handles all the way, and the last name."""
        *folders, name = path.split("/")
        with self.walk(folders, make=make) as folder:
            yield folder, name

    @contextmanager
    def walk(self, names: Sequence[str], *, make: int | None = None) -> Iterator[Folder]:
        """The folder ``names`` below this one."""
        here, opened = self, None
        try:
            for name in names:
                inner = here.enter(name, make=make)
                if opened is not None:
                    opened.close()
                here = opened = inner
            yield here
        finally:
            if opened is not None:
                opened.close()

    def file_type(self, name: str) -> int | None:
        """The type of ``name`` as :mod:`stat` numbers it (``S_IFREG``, ``S_IFLNK``...); None: not there."""
        try:
            return stat.S_IFMT(self.look(name).st_mode)
        except FileNotFoundError:
            return None

    def look(self, name: str) -> os.stat_result:
        """What ``name`` is, itself: a link is a link."""
        place, at = self._at(name)
        return os.stat(place, **at, follow_symlinks=False)  # noqa: PTH116 - by handle

    def itself(self) -> os.stat_result:
        """Owner and permissions of this folder."""
        return os.stat(self.path if self._handle is None else self._handle)  # noqa: PTH116

    def read(self, name: str, limit: int | None = None) -> bytes | None:
        """The bytes of the file ``name`` (at most ``limit``); None where there is nothing."""
        try:
            handle = self.handle(name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with os.fdopen(handle, "rb") as file:
            return file.read() if limit is None else file.read(limit)

    def handle(self, name: str, flags: int, mode: int = 0o600) -> int:
        """An open handle of the regular file ``name``; a pipe is refused at once instead of waited for."""
        found = self.file_type(name)
        if found not in (None, stat.S_IFREG):
            raise self._strange(name, found or 0, "a file")
        place, at = self._at(name)
        try:
            handle = os.open(place, flags | _NO_LINK | _CLOEXEC | getattr(os, "O_NONBLOCK", 0), mode, **at)
        except OSError as why:
            if why.errno in (errno.ELOOP, errno.EMLINK):
                raise self._strange(name, stat.S_IFLNK, "a file") from why
            raise
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise self._strange(name, 0, "a file")
        return handle

    def create(
        self, name: str, data: bytes, *, like: os.stat_result | None = None, mode: int = 0o666
    ) -> None:
        """Make the file ``name``, which must not be there, and let it reach the disk.

        It has the permissions of ``like`` where that is given, else ``mode`` less the umask.
        """
        place, at = self._at(name)
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK | _CLOEXEC, mode, **at)
        try:
            with os.fdopen(handle, "wb") as file:
                if like is not None and system.POSIX:
                    if system.is_root() and not system.is_ours(
                        like
                    ):  # whoever lends us a tree keeps their files
                        os.fchown(handle, like.st_uid, like.st_gid)
                    os.fchmod(handle, stat.S_IMODE(like.st_mode))
                file.write(data)
                file.flush()
                os.fsync(handle)
        except BaseException:
            with suppress(OSError):
                os.unlink(place, **at)
            raise

    def rename(self, name: str, to: str) -> None:
        """Give ``name`` the name ``to``, in one step; a file that had it is gone."""
        if HANDLES:
            os.rename(name, to, src_dir_fd=self._handle, dst_dir_fd=self._handle)
        else:
            (self.path / name).replace(self.path / to)

    def move(self, name: str, to: Folder, new: str) -> None:
        """Move ``name`` into the folder ``to`` as ``new``."""
        if HANDLES:
            os.rename(name, new, src_dir_fd=self._handle, dst_dir_fd=to._handle)
        else:
            (self.path / name).replace(to.path / new)

    def link(self, name: str, to: str) -> None:
        """Give the file ``name`` the name ``to`` as well, unless something has it: that stays."""
        with suppress(FileExistsError):
            if HANDLES:
                os.link(name, to, src_dir_fd=self._handle, dst_dir_fd=self._handle, follow_symlinks=False)
            else:
                os.link(self.path / name, self.path / to)

    def remove(self, name: str) -> None:
        """Remove the file ``name`` where it is there (a link itself, not what it leads to)."""
        place, at = self._at(name)
        with suppress(FileNotFoundError):
            os.unlink(place, **at)

    def remove_folder(self, name: str) -> bool:
        """Remove the folder ``name``, if it is one and empty; whether it is gone."""
        place, at = self._at(name)
        try:
            os.rmdir(place, **at)
        except FileNotFoundError:
            return True
        except OSError as why:
            if why.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                return False
            raise
        return True

    def names(self) -> list[str]:
        """What it holds, sorted."""
        return sorted(os.listdir(self.path if self._handle is None else self._handle))  # noqa: PTH208

    def sync(self) -> None:
        """Let the names that were made, changed and removed here reach the disk."""
        if self._handle is None:
            return  # Windows can't open a folder to sync it
        try:
            os.fsync(self._handle)
        except OSError as why:
            if why.errno not in _UNSUPPORTED:
                raise

    def _at(self, name: str) -> tuple[Any, dict[str, Any]]:
        if name in ("", ".", "..") or "/" in name or "\0" in name or (os.altsep and os.sep in name):
            raise UsageError(
                f"{self.path}: looked for the name of a file in it, found {name!r}",
                hint="give the file a name without '/'",
            )
        return (self.path / name, {}) if self._handle is None else (name, {"dir_fd": self._handle})

    def _strange(self, name: str, found: int, wanted: str) -> UsageError:
        place = self.path / name
        if found == stat.S_IFLNK:
            return UsageError(f"{place}: is a symbolic link", hint="replace it by what it leads to")
        return UsageError(
            f"{place}: looked for {wanted}, found {FILE_TYPES[found]}", hint="move it out of the way"
        )
