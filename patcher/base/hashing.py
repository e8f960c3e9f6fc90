"""SHA-256 of files, remembered as long as size, time and inode stay the same: models are large."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from patcher.base.cache import cache_dir
from patcher.base.files import write_whole
from patcher.base.os_errors import refused
from patcher.base.progress import SILENT, Reporter

_BLOCK = 1 << 22
_REMEMBERED = 64 << 20  # bytes: smaller files are hashed each time, it takes less than the look-up


def of_file(path: Path, reporter: Reporter = SILENT) -> str:
    """The hexadecimal SHA-256 of ``path``. Raises :class:`UsageError` where it can't be read."""
    try:
        status = path.stat()
        if status.st_size < _REMEMBERED:
            return _hash(path, status.st_size, SILENT)
        identity = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}"
        note = cache_dir("evaluate", "hashes") / of_text(identity)
        if note.is_file():
            known = note.read_text(encoding="ascii").strip()
            if len(known) == 64:
                return known
        digest = _hash(path, status.st_size, reporter)
        write_whole(note, digest)
    except OSError as why:
        raise refused(path, why, what="read") from why
    return digest


def of_text(text: str) -> str:
    """The hexadecimal SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def of_values(values: object) -> str:
    """The hexadecimal SHA-256 of a JSON-able value; the order of keys doesn't matter."""
    return of_text(json.dumps(values, sort_keys=True, ensure_ascii=True))


def _hash(path: Path, size: int, reporter: Reporter) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file, reporter.step(f"Hashing {path.name}", total=max(1, size >> 20)) as step:
        done = 0
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            step.update(done=done >> 20)
    return digest.hexdigest()
