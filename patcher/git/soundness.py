"""Files that git would wait at, or never come to the end of: found before git reads them, and refused."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from patcher.base import system
from patcher.base.errors import UsageError
from patcher.base.os_errors import way_out

MAX_TEXT = 4 << 20  # bytes of a configuration, a list of ignored files or of attributes
MAX_REFS = 500_000
CLONE_AGAIN = "the repository is damaged, or was made by hand: clone it again, and name the clone"
TAKE_BACK = "put back the one of the release (git checkout -- FILE), or remove it"


def led_to(place: Path) -> Path:
    """The git folder that the file ``.git`` of a worktree or a submodule names."""
    text = small_text(place)
    found = re.match(r"gitdir:\s*(.+)", text)
    if found is None or "\0" in text:
        raise UsageError(
            f"{place}: looked for 'gitdir:', found something else",
            hint="'git worktree repair' or 'git submodule update --init' writes it again",
        )
    return (place.parent / found.group(1).strip()).resolve()


def small_text(place: Path) -> str:
    """A regular file's text. Raises :class:`UsageError` for a pipe, a device, or more than any such file has.

    Nothing is waited for: whoever opens a pipe waits for a writer.
    """
    try:
        handle = os.open(place, system.READ)
    except OSError as why:
        raise UsageError(
            f"{place}: can't be read ({os.strerror(why.errno or 0)})", hint=way_out(why)
        ) from why
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise UsageError(
                f"{place}: looked for a file of git's, found {_file_type(facts.st_mode)}", hint=CLONE_AGAIN
            )
        if facts.st_size > MAX_TEXT:
            raise UsageError(
                f"{place}: looked for a file of git's, found more than {MAX_TEXT >> 20} MB", hint=CLONE_AGAIN
            )
        return file.read(MAX_TEXT).decode("utf-8", "surrogateescape")


def _mode(place: Path) -> int:
    try:
        return place.lstat().st_mode
    except OSError:
        return 0


def require_file(place: Path) -> None:
    """Raise :class:`UsageError` for a pipe, a device or a folder, where git looks for a file."""
    try:
        mode = place.stat().st_mode
    except OSError:
        return  # it isn't there, or leads nowhere: git says so
    if not stat.S_ISREG(mode):
        raise UsageError(f"{place}: looked for a file of git's, found {_file_type(mode)}", hint=CLONE_AGAIN)


def _below(folder: Path) -> list[Path]:
    found: list[Path] = []
    todo = [folder]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    found.append(Path(entry.path))
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(Path(entry.path))
        except OSError:
            continue
        if len(found) > MAX_REFS:
            raise UsageError(
                f"{folder}: looked for up to {MAX_REFS} files, found more",
                hint="'git pack-refs --all' makes one file of them",
            )
    return found


def require_sound(folder: Path) -> None:
    """No pipe, socket or device, at which git would wait, and no end."""
    for place in _below(folder):
        mode = _mode(place)
        if stat.S_ISLNK(mode):
            try:
                mode = place.stat().st_mode
            except OSError:
                continue
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise UsageError(
                f"{place}: looked for a file of git's, found {_file_type(mode)}", hint=CLONE_AGAIN
            )


def require_readable_tree(top: Path) -> None:
    """Raise :class:`UsageError` for a ``.gitignore`` or ``.gitattributes`` that git would wait at."""
    todo = [str(top)]
    while todo:
        try:
            entries = list(os.scandir(todo.pop()))
        except OSError:
            continue
        for entry in entries:
            if entry.name in (".gitignore", ".gitattributes"):
                mode = _mode(Path(entry.path))
                if stat.S_ISREG(mode) and entry.stat(follow_symlinks=False).st_size > MAX_TEXT:
                    raise UsageError(
                        f"{entry.path}: looked for a list of patterns, found more than {MAX_TEXT >> 20} MB",
                        hint=TAKE_BACK,
                    )
                if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode) and not stat.S_ISLNK(mode):
                    raise UsageError(
                        f"{entry.path}: looked for a file, found {_file_type(mode)}", hint=TAKE_BACK
                    )
            elif entry.name == ".git":
                _require_nested(Path(entry.path))
            elif entry.is_dir(follow_symlinks=False):
                todo.append(entry.path)


def _require_nested(place: Path) -> None:
    """What git reads of a nested repository to learn that it is one, and what it has checked out."""
    with suppress(UsageError):
        place = place if place.is_dir() else led_to(place)
    if place.is_dir():
        for name in ("HEAD", "config", "config.worktree", "commondir", "packed-refs"):
            require_file(place / name)
        require_sound(place / "refs")


def _file_type(mode: int) -> str:
    words = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISDIR: "a folder"}
    return next((word for is_one, word in words.items() if is_one(mode)), "a device")
