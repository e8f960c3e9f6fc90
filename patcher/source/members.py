"""What an archive says that it holds: tar's and zip's members in one form, within the limits of a bomb."""

from __future__ import annotations

import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from patcher.base.errors import SourceError
from patcher.source import tar_reader

MAX_MEMBERS = 50_000
MAX_BYTES = 2 << 30
MAX_RATIO = 100  # bytes that come out of one; sources are packed to a fifth or an eighth
SPARE = 64 << 20  # bytes that any archive may unpack to
MAX_PATH = 4096  # bytes of a name and of a link's target, as PATH_MAX has it
MAX_NAMES = 16 << 20  # of all of them together
MAX_DIRECTORY = 16 << 20  # bytes of a zip's directory, which is read whole
# What the readers of the standard library raise for damaged files. RuntimeError: an encrypted or
# unknown form of member in a zip.
BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    MemoryError,  # a dictionary of any size, of LZMA
    OverflowError,
    struct.error,
)


@dataclass(frozen=True)
class Member:
    """One entry: where it goes, what it is, how to read it."""

    path: PurePosixPath
    file_type: str  # file, folder, link
    size: int
    mode: int
    target: str | None  # of a link
    open: Callable[[], IO[bytes] | None]


AGAIN = "download it again"


def refusal(archive: Path, member: Member, problem: str) -> SourceError:
    """What is raised for a member: nothing of its archive is written."""
    return SourceError(
        f"{archive}: member {shown(str(member.path))} {problem}; nothing was unpacked",
        hint="download it again from the project itself: an archive of llama.cpp has nothing of that kind",
    )


def shown(text: str) -> str:
    """A name of a stranger's, as it may stand in a message."""
    return repr(text if len(text) <= 200 else text[:200] + "...")


@contextmanager
def members_of(archive: Path) -> Iterator[list[Member]]:
    """All members, while the archive is open. Raises :class:`SourceError` for a damaged one or a bomb."""
    try:
        if _is_zip(archive) and not tar_reader.is_tar(archive):
            _check_directory(archive)
            with zipfile.ZipFile(archive) as opened:
                yield _limited(archive, (_from_zip(archive, opened, info) for info in opened.infolist()))
        else:
            with tar_reader.opened(archive) as opened_tar:
                yield _limited(archive, (_from_tar(opened_tar, info) for info in opened_tar))
    except BROKEN as why:
        reason = str(why).partition("\n")[0].rstrip(":")  # tarfile says in more lines what it has tried
        raise SourceError(f"{archive}: can't be read as an archive ({reason})", hint=AGAIN) from why


def _is_zip(archive: Path) -> bool:
    """Whether it is one, or begins like one: Python's releases differ in how much they want of its end."""
    with archive.open("rb") as file:
        return file.read(4) == b"PK\x03\x04" or zipfile.is_zipfile(archive)


def _check_directory(archive: Path) -> None:
    """Raise ``ValueError`` for a zip whose directory is longer than any that is meant to be unpacked.

    Its length stands in the record at the file's end (or in another before that, in a zip of more than 4 GB),
    and the standard library reads as much, and makes an object of each entry, before it gives us any.
    """
    with archive.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - (1 << 16) - 64))
        tail = file.read()
    if b"PK\x06\x07" in tail:
        raise ValueError("it is written for more than 4 GB or 65,535 members")
    at = tail.find(b"PK\x05\x06")
    while at >= 0:
        length = int.from_bytes(tail[at + 12 : at + 16], "little")
        if length > MAX_DIRECTORY and len(tail) - at >= 22:
            raise ValueError(f"its directory has {length} bytes, {MAX_DIRECTORY} at most are read")
        at = tail.find(b"PK\x05\x06", at + 1)


def _limited(archive: Path, members: Iterable[Member]) -> list[Member]:
    """All members, while they are within the limits: the data of a bomb isn't even skipped."""
    kept: list[Member] = []
    most = min(MAX_BYTES, MAX_RATIO * archive.stat().st_size + SPARE)
    size = names = 0
    for member in members:
        kept.append(member)
        size += max(member.size, 0)
        names += len(str(member.path)) + len(member.target or "")
        if len(kept) > MAX_MEMBERS:
            raise refusal(archive, member, f"is one more than the {MAX_MEMBERS} that an archive may have")
        if size > most:
            raise refusal(archive, member, f"brings the size above {most / (1 << 20):g} MB")
        if names > MAX_NAMES:
            raise refusal(archive, member, f"brings the names above {MAX_NAMES >> 20} MB")
    return kept


def _begun(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with opened.open(info) as file:
        return file.read(MAX_PATH + 1)


def _from_tar(opened: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    file_type, target = "special file", None
    info.pax_headers = {}  # a copy for each
    if info.isfile() and not info.issparse():
        file_type = "file"
    elif info.isdir():
        file_type = "folder"
    elif info.issym():
        file_type, target = "link", info.linkname
    elif info.islnk():
        file_type = "hard link"
    return Member(
        PurePosixPath(info.name), file_type, info.size, info.mode, target, lambda: opened.extractfile(info)
    )


def _from_zip(archive: Path, opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    mode = info.external_attr >> 16
    # ZipFile cleans names up; the raw one is what has to be looked at
    path = PurePosixPath(info.orig_filename)
    member = Member(path, "file", info.file_size, mode, None, lambda: opened.open(info))
    if stat.S_ISLNK(mode):
        if info.file_size > MAX_PATH:
            raise refusal(archive, member, f"is a link to a path of {info.file_size} bytes")
        return replace(
            member, file_type="link", target=_begun(opened, info).decode("utf-8", "surrogateescape")
        )
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return replace(member, file_type="special file")
    # not is_dir(), which some Pythons can't say of a member without a name
    return replace(member, file_type="folder") if info.filename.endswith("/") else member
