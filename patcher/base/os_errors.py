"""The one wording of what the system refuses: which file, what was tried, why not, the next step."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from patcher.base.errors import PatcherError, UsageError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# what a disk or the system's limits refuse, at any moment and anywhere
REFUSALS = (
    *DISK_FULL, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EXDEV, errno.EBUSY, errno.ENOMEM,
    errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.ELOOP, errno.ENAMETOOLONG,
)  # fmt: skip
_NEXT = {
    **dict.fromkeys(DISK_FULL, "free some space, then run the same command again"),
    errno.EROFS: "it lies on a disk that can only be read; name another place",
    errno.EIO: "the disk fails; look into the system's log",
}

# the same where nobody knows more of what was tried
_WAYS_OUT = {
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM), "see with 'ls -ld' whose it is, and name a place of your own"
    ),
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE), "close other programs, or allow more open files: ulimit -n 4096"
    ),
    errno.ENOMEM: "close other programs: the memory is used up",
    errno.ENOENT: "check how the path is spelled: 'ls -ld' shows which part of it is there",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "name a folder: a part of the path is a file",
    errno.ELOOP: "name a path without links: one in it leads back to itself",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EBUSY: "end the program that uses it, then run the same command again",
    errno.EXDEV: "name a place on the same disk",
}

STEPS = {**_WAYS_OUT, **_NEXT}
ANY = "look at the place with 'ls -ld', or name another one"


def reason(why: Exception) -> str:
    """The system's own word for ``why``, without numbers and names; what else it may be says itself."""
    if isinstance(why, OSError) and why.errno is not None:
        return os.strerror(why.errno)
    return str(why)


def next_step(why: Exception) -> str | None:
    """What can be done about ``why``; None where that depends on what was tried."""
    return _NEXT.get(getattr(why, "errno", None) or 0)


def way_out(why: Exception, otherwise: str = ANY) -> str:
    """The next step after ``why``, whatever was tried; ``otherwise`` where the system didn't refuse it."""
    return STEPS.get(getattr(why, "errno", None) or 0, otherwise)


def refused(
    place: Path | str,
    why: OSError,
    *,
    what: str = "written",
    failure: type[PatcherError] = UsageError,
    hint: str | None = None,
) -> PatcherError:
    """The error to raise where ``place`` can't be ``what`` (``written``, ``read``): one line, exit code of
    ``failure``. ``hint`` stands where the system's reason has no next step of its own.
    """
    return failure(f"{place}: can't be {what} ({reason(why)})", hint=next_step(why) or hint or way_out(why))
