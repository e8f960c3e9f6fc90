"""Tar files as anybody may have made them: headers that describe others have a bound, too.

The standard library reads such a header (pax, GNU's long names) whole, whatever length it claims, keeps a
copy of the global ones for every member, and looks into them with patterns whose time grows by the square of
a run of digits.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

MAX_HEADER = 16 << 10  # bytes; a path and a link's target have 4096 at most each
MAX_GLOBAL = 64  # keys of global headers, which all members have; git writes one
_DESCRIBING = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_DIGITS = re.compile(rb"[0-9]{64}")


class _Info(tarfile.TarInfo):
    """A header that is looked at before it is obeyed."""

    def _proc_member(self, opened: Any) -> Any:
        if self.type in _DESCRIBING:
            if not 0 <= self.size <= MAX_HEADER:
                raise tarfile.ReadError(f"a header of {self.size} bytes")
            there = opened.fileobj.read(self._block(self.size))
            if _DIGITS.search(there):
                raise tarfile.ReadError("a header with a number of more than 64 digits")
            opened.fileobj.put_back(there)
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse file, which may be of any size")
        info = super()._proc_member(opened)  # type: ignore[misc]
        if len(opened.pax_headers) > MAX_GLOBAL:
            raise tarfile.ReadError(f"{len(opened.pax_headers)} global keys")
        return info

    def _block(self, count: int) -> int:
        return -(-count // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


class _TarStream:
    """What a tar file is read from; the last piece can be put back."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._back = b""
        self.name = getattr(file, "name", "")

    def put_back(self, data: bytes) -> None:
        self._back = data

    def read(self, size: int = -1) -> bytes:
        if self._back:
            if size == len(self._back) or size < 0:
                data, self._back = self._back, b""
                return data + (self._file.read() if size < 0 else b"")
            data, self._back = self._back[:size], self._back[size:]
            return data
        return self._file.read(size)

    def seek(self, position: int, whence: int = 0) -> int:
        self._back = b""
        return self._file.seek(position, whence)

    def tell(self) -> int:
        return self._file.tell() - len(self._back)

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()


@contextmanager
def opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """A tar file, packed or not. Raises what :mod:`tarfile` raises for what is none."""
    with _unpacked(archive) as file, tarfile.TarFile(fileobj=_TarStream(file), tarinfo=_Info) as found:  # type: ignore[arg-type]
        yield found


def is_tar(archive: Path) -> bool:
    """Whether the file begins as a tar file does, packed or not."""
    try:
        with opened(archive):
            return True
    except (tarfile.TarError, OSError, EOFError, ValueError, RuntimeError):
        return False


def _unpacked(archive: Path) -> IO[bytes]:
    import bz2
    import gzip
    import lzma

    with archive.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(archive))
    if start.startswith(b"BZh"):
        return bz2.open(archive)
    if start.startswith((b"\xfd7zXZ", b"\x5d\x00\x00")):
        return lzma.open(archive)
    return archive.open("rb")
