"""Commits in a row, and which of a set of paths each has touched, without a checkout."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from patcher.git.process import complete, run
from patcher.git.repository import resolve

_NONE = re.compile(r"0+")
_MANY = 400  # paths that one command line takes in one go


@dataclass(frozen=True)
class Commit:
    """One commit of a row, and the paths of interest that it changed: path -> blob, None for gone."""

    id: str
    subject: str
    date: str  # of its committer, YYYY-MM-DD
    changes: dict[str, str | None]


def commits(
    repo: Path,
    tip: str,
    paths: Iterable[str],
    *,
    base: str | None = None,
    since: str | None = None,
    below: str = "",
) -> list[Commit]:
    """``base``..``tip`` along the first parents, oldest first; all up to ``tip`` without a base.

    ``paths`` are seen from the folder ``below`` (``a/b/``) of the repository ``repo``, here and in
    :func:`blobs` and :func:`hunks`.
    Raises :class:`UsageError` for a ref that names no commit.
    """
    last = resolve(repo, tip)
    wanted = f"{resolve(repo, base)}..{last}" if base else last
    options = ["--first-parent", "--reverse"] + ([f"--since={since}"] if since else [])
    out = run(repo, "log", *options, "--no-show-signature", "--format=%H%x00%cs%x00%s", wanted, "--")
    touched = dict(_touched(repo, wanted, options, paths, below))
    rows = []
    for line in out.decode("utf-8", "replace").splitlines():
        name, date, subject = line.split("\0", 2)
        rows.append(Commit(name, subject, date, touched.get(name, {})))
    return rows


def commit(repo: Path, ref: str) -> Commit:
    """One commit by itself. Raises :class:`UsageError` for a ref that names none."""
    out = run(repo, "show", "-s", "--no-show-signature", "--format=%H%x00%cs%x00%s", resolve(repo, ref))
    name, date, subject = out.decode("utf-8", "replace").strip().split("\0", 2)
    return Commit(name, subject, date, {})


def _touched(
    repo: Path, wanted: str, options: list[str], paths: Iterable[str], below: str
) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Commit -> what it did to the paths, out of one walk through git's own index of changes."""
    chosen = sorted(paths)[:_MANY]
    log = run(
        repo, "log", *options, "--no-show-signature", "--raw", "--no-abbrev", "--no-renames", "-z", "-m",
        "--root", "--format=%x01%H", wanted, "--", *(f":(literal){below}{path}" for path in chosen),
    )  # fmt: skip
    for block in log.split(b"\x01")[1:]:
        head, *rest = (field for field in (part.strip(b"\n") for part in block.split(b"\0")) if field)
        changes: dict[str, str | None] = {}
        for facts, path in zip(rest[::2], rest[1::2], strict=False):
            _, mode, _, blob, _ = facts.decode("ascii").lstrip(":").split(" ")
            there = mode.startswith("100") and not _NONE.fullmatch(blob)
            name = path.decode("utf-8", "surrogateescape").removeprefix(below)
            changes[name] = blob if there else None
        yield head.decode("ascii"), changes


def blobs(repo: Path, name: str, paths: Iterable[str], below: str = "") -> dict[str, str]:
    """The blob of each of ``paths`` that is a file in the commit ``name``."""
    out = run(repo, "ls-tree", "-z", "--full-tree", name, "--", *(below + path for path in sorted(paths)))
    found = {}
    for entry in out.split(b"\0"):
        if not entry:
            continue
        facts, _, path = entry.partition(b"\t")
        mode, _, blob = facts.decode("ascii").split(" ")
        if mode.startswith("100"):
            found[path.decode("utf-8", "surrogateescape").removeprefix(below)] = blob
    return found


def hunks(repo: Path, name: str, path: str, below: str = "") -> list[str]:
    """What the commit ``name`` did to ``path``, hunk by hunk, with a little context."""
    out = run(
        repo, "show", "--first-parent", "-m", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames",
        "-U2", "--format=", name, "--", f":(literal){below}{path}",
    )  # fmt: skip
    parts = re.split(r"^(?=@@ )", out.decode("utf-8", "replace"), flags=re.MULTILINE)
    return parts[1:]


def merge_bases(repo: Path, one: str, *others: str) -> list[str]:
    """The newest commits that ``one`` and a merge of ``others`` have in common.

    Several where the two have merged each other, none without any.
    """
    names = [resolve(repo, commit) for commit in (one, *others)]
    status, out, _ = complete(repo, "merge-base", "--all", "--end-of-options", *names)
    return out.decode("ascii").split() if status == 0 else []


def is_shallow(repo: Path) -> bool:
    """Whether the repository's history was cut off when it was cloned."""
    return run(repo, "rev-parse", "--is-shallow-repository").strip() == b"true"


def merges(repo: Path, base: str, tip: str) -> list[str]:
    """The commits with several parents that ``tip`` has and ``base`` hasn't, oldest first."""
    wanted = [resolve(repo, tip), f"^{resolve(repo, base)}"]
    return (
        run(repo, "rev-list", "--merges", "--topo-order", "--reverse", *wanted, "--").decode("ascii").split()
    )


def logged(repo: Path) -> list[str]:
    """Commits that changes which are not committed may have grown from, the likeliest first.

    Those that the latest stashes were made on, then those that HEAD was at; none where no logs are kept.
    """
    found: list[str] = []
    for ref, place in (("refs/stash", "%P"), ("HEAD", "%H")):
        status, out, _ = complete(repo, "log", "-g", "-n", "32", f"--format={place}", ref, "--")
        lines = out.decode("ascii").splitlines() if status == 0 else []
        found += [line.split()[0] for line in lines if line]
    return list(dict.fromkeys(found))


def renames(repo: Path, old: str, new: str) -> dict[str, str]:
    """Files of ``old`` that ``new`` has under another name, as git finds it out: by half of their lines."""
    words = ("-r", "-M", "-l7000", "-z", "--name-status", "--diff-filter=R")
    fields = os.fsdecode(run(repo, "diff-tree", *words, resolve(repo, old), resolve(repo, new))).split("\0")
    return dict(zip(fields[1::3], fields[2::3], strict=False))
