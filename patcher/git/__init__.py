"""Every git call. Repositories are hostile input: no hooks, no helpers, no settings of theirs.

Errors become :class:`UsageError` (a repository or a ref that can't be read) or :class:`SourceError`
(a clone or a fetch that fails). Objects are read through GitPython; commands that change or compare
something run with an environment of their own, which GitPython can't give: it hands on the whole one.
"""

from __future__ import annotations

from patcher.git.commits import commit_files, init_with_commit, update_branch_commit
from patcher.git.objects import read_blob
from patcher.git.patches import format_patches, merge, merge_favoring, merge_marked
from patcher.git.process import objects_aside, run
from patcher.git.releases import newest_of, newest_release_tag
from patcher.git.remote import clone, mirror
from patcher.git.repository import (
    BASE_REF,
    base,
    commit_date,
    entries,
    find_toplevel,
    git_dir,
    head,
    is_dirty,
    left_out,
    list_files,
    prefix,
    read_file,
    record_base,
    resolve,
)

__all__ = [
    "BASE_REF",
    "base",
    "clone",
    "commit_date",
    "commit_files",
    "entries",
    "find_toplevel",
    "format_patches",
    "git_dir",
    "head",
    "init_with_commit",
    "is_dirty",
    "left_out",
    "list_files",
    "merge",
    "merge_favoring",
    "merge_marked",
    "mirror",
    "newest_of",
    "newest_release_tag",
    "objects_aside",
    "prefix",
    "read_blob",
    "read_file",
    "record_base",
    "resolve",
    "run",
    "update_branch_commit",
]
