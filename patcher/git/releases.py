"""Upstream's releases, by the names of their tags."""

from __future__ import annotations

import re
from collections.abc import Iterable

from patcher.base.errors import SourceError
from patcher.git.process import local_repository, run

_NEW = re.compile(r"v(\d+)\.(\d+)\.(\d+)", re.ASCII)
_OLD = re.compile(r"b(\d+)", re.ASCII)


def newest_of(tags: Iterable[str]) -> str | None:
    """The newest release among ``tags``: vX.Y.Z before bNNNN, by number; anything else is no release."""
    best: tuple[tuple[int, ...], str] | None = None
    for tag in tags:
        new, old = _NEW.fullmatch(tag), _OLD.fullmatch(tag)
        if len(tag) > 64:  # a name that is no release, and a number that Python would not read
            continue
        if new:
            key: tuple[int, ...] = (1, *(int(part) for part in new.groups()))
        elif old:
            key = (0, int(old.group(1)))
        else:
            continue
        if best is None or key > best[0]:
            best = (key, tag)
    return best[1] if best else None


def newest_release_tag(url: str, timeout: float = 20.0) -> str:
    """The newest release that the repository at ``url`` has, within ``timeout`` seconds.

    Raises :class:`SourceError`.
    """
    seen = local_repository(url, SourceError)
    out = run(None, "ls-remote", "--tags", "--refs", "--", seen, failure=SourceError, timeout=timeout)
    tags = [entry.rsplit(b"/", 1)[-1].decode("utf-8", "replace") for entry in out.splitlines()]
    newest = newest_of(tags)
    if newest is None:
        raise SourceError(
            f"{url}: looked for release tags like b4980 or v0.5.0, found none among {len(tags)} tags",
            hint="name a commit or a branch with --ref, or another --source",
        )
    return newest
