"""Differences between commits and files: a mail series, a three-way merge."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

from patcher.git.process import complete, run

# Everything that a user's settings could change in the look of a patch, and no option sets.
_SETTINGS = (
    "core.attributesFile=/dev/null",
    "diff.noprefix=false",
    "diff.mnemonicPrefix=false",
    "diff.srcPrefix=a/",
    "diff.dstPrefix=b/",
    "diff.relative=false",
    "diff.algorithm=myers",
    "diff.context=3",
    "diff.interHunkContext=0",
    "diff.indentHeuristic=true",
    "diff.suppressBlankEmpty=false",
    "format.noprefix=false",
    "format.subjectPrefix=PATCH",
    "format.numbered=auto",
    "format.encodeEmailHeaders=true",
    "format.filenameMaxLength=64",
    "format.pretty=email",
    "format.useAutoBase=false",
    "format.notes=false",
    "format.suffix=.patch",
    "i18n.logOutputEncoding=UTF-8",
)
# By option where there is one: format.attach=false is a boundary of that name, format.to adds to a list.
_OPTIONS = (
    "--no-attach --no-thread --no-cover-letter --no-signoff --no-from --no-to --no-cc --no-add-header"
    " --zero-commit --no-signature --full-index --binary --no-renames --no-stat --no-color"
    " --no-ext-diff --no-textconv -O/dev/null"
)


_NOWHERE = {"GIT_DIR": os.devnull}  # a repository above the temporary folder is nobody's business


def format_patches(repo: Path, base: str, tip: str, folder: Path) -> list[Path]:
    """The commits ``base``..``tip`` as numbered files that ``git am`` takes; the same bytes every time."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    options = [*_OPTIONS.split(), "-o", str(folder), "--end-of-options", f"{base}..{tip}"]
    out = run(repo, *settings, "format-patch", *options, env={"GIT_ATTR_NOSYSTEM": "1"})
    return [Path(os.fsdecode(name)) for name in out.splitlines() if name]


def merge(now: bytes, *, base: bytes, other: bytes) -> bytes | None:
    """``now`` with the change ``base`` -> ``other`` made in it; None where both changed the same lines.

    Where ``git merge-file`` says that they did, ``git merge`` is asked, which finds out by other means what
    was changed (its histograms, where the former takes the shortest difference): nobody is to settle by hand
    what a merge of git's settles.
    """
    data, is_clean = merge_marked(now, base=base, other=other)
    return data if is_clean else _merged_as_branches(now, base, other)


def merge_marked(
    now: bytes, *, base: bytes, other: bytes, labels: tuple[str, str, str] = ("now", "base", "other")
) -> tuple[bytes, bool]:
    """:func:`merge`, with both sides between marks where they meet; and whether they don't."""
    words = [part for label in labels for part in ("-L", label)]
    return _merge_file(words, now, base, other)


def merge_favoring(now: bytes, *, base: bytes, other: bytes, favored: Literal["ours", "theirs"]) -> bytes:
    """:func:`merge`, with ``now`` (``ours``) or ``other`` (``theirs``) where both changed the same lines."""
    return _merge_file([f"--{favored}"], now, base, other)[0]


def _merged_as_branches(now: bytes, base: bytes, other: bytes) -> bytes | None:
    """The three in a repository of their own, merged as git merges branches; None where that stops, too, or
    git is older than 2.38."""
    stream = b"".join(
        b"commit refs/heads/%s\ncommitter q8a8-patch <q8a8-patch@localhost> 0 +0000\ndata 0\n%s"
        b"M 100644 inline f\ndata %d\n%s\n" % (name, start, len(data), data)
        for name, start, data in (
            (b"base", b"", base),
            (b"now", b"from refs/heads/base\n", now),
            (b"other", b"from refs/heads/base\n", other),
        )
    )
    with tempfile.TemporaryDirectory(prefix="q8a8-patch-") as name:
        folder = Path(name)
        run(folder, "init", "--quiet", "--bare", "--template=", ".", own=True)
        own = {"GIT_DIR": name}
        run(folder, "fast-import", "--quiet", own=True, env=own, stdin=stream)
        status, out, _ = complete(folder, "merge-tree", "--write-tree", "now", "other", own=True, env=own)
        if status != 0:
            return None
        tree = out.split()[0].decode("ascii")
        return run(folder, "cat-file", "blob", f"{tree}:f", own=True, env=own)


def _merge_file(options: list[str], now: bytes, base: bytes, other: bytes) -> tuple[bytes, bool]:
    with tempfile.TemporaryDirectory(prefix="q8a8-patch-") as folder:
        files = [Path(folder) / name for name in ("now", "base", "other")]
        for path, data in zip(files, (now, base, other), strict=True):
            path.write_bytes(data)
        words = ["-p", "--quiet", *(path.name for path in files)]
        status, out, _ = complete(Path(folder), "merge-file", *options, *words, own=True, env=_NOWHERE)
    return out, status == 0
