"""Files that are there whole or not at all: the one way in which this package writes a file of its user's."""

from __future__ import annotations

import codecs
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from patcher.base import interrupt
from patcher.base.errors import PatcherError, UsageError
from patcher.base.folder import HANDLES, Folder
from patcher.base.os_errors import next_step, reason, refused

_PIECE = 1 << 20  # bytes of a text that are looked at at once


def require_place(path: Path) -> None:
    """Raise :class:`UsageError` where nothing can be written at ``path``: before the work, not after it."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(
            f"{path}: can't be written: looked for the folder {folder}, found none", hint="name another place"
        )
    if path.is_dir():
        raise UsageError(f"{path}: can't be written, it is a folder", hint="name another place")


def require_replaceable(path: Path) -> None:
    """Raise :class:`UsageError` where ``path`` is something that no file may take the place of.

    A device or a pipe would be gone, ``/dev/null`` for everybody.
    """
    if path.is_dir():
        raise UsageError(f"{path}: can't be written, it is a folder", hint="name a file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: can't be replaced, it is no plain file", hint="name another place")


def require_utf8(text: Path) -> None:
    """Raise :class:`UsageError` for a text in another encoding: a model would read noise."""
    decoder, read = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        with text.open("rb") as file:
            while piece := file.read(_PIECE):
                decoder.decode(piece)
                read += len(piece)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as why:
        raise UsageError(
            f"{text}: looked for a text in UTF-8, found the byte 0x{why.object[why.start]:02x} near byte"
            f" {read + why.start}",
            hint="convert it: iconv -f ENCODING -t UTF-8",
        ) from why
    except OSError as why:
        raise refused(text, why, what="read") from why


def write_wanted(path: Path, text: str) -> Path:
    """Write what somebody asked for. Raises :class:`UsageError` where it can't be written.

    Where ``path`` is a device or a pipe (``/dev/null``, ``/dev/stdout``) it stays one; a link stays a link.
    """
    require_place(path)
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            write_whole(path.resolve(), text)
    except OSError as why:
        raise refused(path, why) from why
    return path


def write_whole(path: Path, data: str | bytes) -> None:
    """Write ``path`` so that nobody ever reads half of it, and it outlives a crash. Raises OSError."""
    content = data.encode("utf-8") if isinstance(data, str) else data
    with Folder.open(path.parent) as folder:
        draft = f".{path.name[:100]}.{secrets.token_hex(16)}"
        there = folder.look(path.name) if folder.file_type(path.name) == stat.S_IFREG else None
        try:
            folder.create(draft, content, like=there)
            folder.rename(draft, path.name)
        except BaseException:
            with suppress(OSError):
                folder.remove(draft)
            raise
        folder.sync()


@contextmanager
def made_whole(path: Path, *, failure: type[PatcherError] = UsageError) -> Iterator[Path]:
    """A draft beside ``path`` for whoever makes large files, or has a program make them.

    It takes the place of ``path`` where the block ends well, and is gone where it doesn't. Nobody can know
    its name before, and it is there when the block begins, empty and ours. Raises ``failure`` where the
    system refuses to write it.
    """
    from patcher.base import partial_files

    draft = partial_files.beside(path)
    try:
        try:
            partial_files.sweep(path.parent)  # of processes that were killed
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            yield draft
            settle(draft, path)
        except OSError as why:
            raise refused(path, why, failure=failure) from why
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


@contextmanager
def all_made_whole(
    paths: Sequence[Path], *, failure: type[PatcherError] = UsageError
) -> Iterator[list[Path]]:
    """The same for the parts of one thing: all take their places where the block ends well, or none."""
    from patcher.base import partial_files

    drafts = [partial_files.beside(path) for path in paths]
    try:
        try:
            for path in paths:
                partial_files.sweep(path.parent)
            for draft in drafts:
                os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            yield drafts
            settle_parts(drafts, paths, failure=failure)
        except OSError as why:
            raise refused(paths[0], why, failure=failure) from why
    finally:
        for draft in drafts:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def settle(draft: Path, path: Path) -> None:
    """Put ``draft``, which is whole, in the place of ``path``, for good. Raises OSError."""
    _sync(draft)
    draft.replace(path)
    with Folder.open(path.parent) as folder:
        folder.sync()


def settle_parts(
    drafts: Sequence[Path], paths: Sequence[Path], *, failure: type[PatcherError] = UsageError
) -> None:
    """Put ``drafts``, the parts of one thing, in the places of ``paths``, for good.

    Whoever reads them begins with the first: where there are several, an older first part goes before
    anything else and the new one comes last, so that whatever cuts us off, nobody reads a mixture. What is
    cut off has no first part, which every reader says.

    Raises OSError where nothing was changed, ``failure`` where there are only some of the parts.
    """
    if len(paths) == 1:
        return settle(drafts[0], paths[0])
    for draft in drafts:
        _sync(draft)
    first = paths[0]
    with interrupt.held(), Folder.open(first.parent) as folder:
        folder.remove(first.name)
        try:
            folder.sync()
            for draft, path in list(zip(drafts, paths, strict=True))[:0:-1]:
                draft.replace(path)
            folder.sync()
            drafts[0].replace(first)
            folder.sync()
        except OSError as why:
            raise failure(
                f"{first}: the model's parts are between two states ({reason(why)})",
                hint=next_step(why) or "run the same command again",
            ) from why


def _sync(draft: Path) -> None:
    handle = os.open(draft, os.O_RDONLY if HANDLES else os.O_RDWR)  # Windows syncs only what it may write
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
