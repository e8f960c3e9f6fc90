"""Every git call (GitPython). Repositories are hostile input: no hooks, no helpers, no user settings.

Errors become :class:`UsageError` (a repository or a ref that can't be read) or :class:`SourceError`
(a clone or a fetch that fails).
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patcher.errors import PatcherError, SourceError, UsageError
from patcher.progress import SILENT, Reporter

if TYPE_CHECKING:
    from git import Repo

BASE_REF = "refs/q8a8-patch/base"

# What a repository's own configuration may not decide for us.
_HARDENED = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "core.safecrlf=false",
    "protocol.ext.allow=never",
    "commit.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
)
# Variables that would point git at another repository or let it ask questions.
_ENVIRONMENT: dict[str, str] = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"}
_UNSET = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_EXTERNAL_DIFF",
)


def run(
    folder: Path | None,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    failure: type[PatcherError] = UsageError,
    timeout: float | None = None,
) -> bytes:
    """Run git in ``folder`` and return what it prints. Raises ``failure`` with git's last line."""
    import git

    for name in _UNSET:
        os.environ.pop(name, None)
    settings = [part for setting in _HARDENED for part in ("-c", setting)]
    command = [git.Git.GIT_PYTHON_GIT_EXECUTABLE or "git", *settings, *arguments]
    shell = git.Git(str(folder) if folder is not None else None)
    keywords: dict[str, Any] = {"env": {**_ENVIRONMENT, **(env or {})}, "stdout_as_string": False}
    if timeout is not None:
        keywords["kill_after_timeout"] = timeout
    if stdin is not None:
        with tempfile.TemporaryFile() as feed:
            feed.write(stdin)
            feed.seek(0)
            return _execute(shell, command, {**keywords, "istream": feed}, folder, failure)
    return _execute(shell, command, keywords, folder, failure)


def _execute(
    shell: Any, command: list[str], keywords: dict[str, Any], folder: Path | None, failure: type[PatcherError]
) -> bytes:
    import git

    try:
        out: bytes = shell.execute(command, strip_newline_in_stdout=False, **keywords)
    except git.GitCommandNotFound as why:
        raise failure("git: not found", hint="install git") from why
    except git.GitCommandError as why:
        said = why.stderr if isinstance(why.stderr, str) else str(why.stderr or "")
        lines = [line for line in re.sub(r"^\s*stderr: '|'$", "", said.strip()).splitlines() if line.strip()]
        where = f"{folder}: " if folder is not None else ""
        reason = lines[-1].strip() if lines else f"exit status {why.status}"
        raise failure(f"{where}git: {reason}") from why
    return out


def _line(folder: Path, *arguments: str, **keywords: Any) -> str:
    return run(folder, *arguments, **keywords).decode("utf-8", "surrogateescape").strip()


def _repo(folder: Path) -> Repo:
    import git

    try:
        return git.Repo(folder, search_parent_directories=False)
    except (git.InvalidGitRepositoryError, git.NoSuchPathError) as why:
        raise UsageError(f"{folder}: looked for a git repository, found none") from why


def find_toplevel(path: Path) -> Path | None:
    """The top of the work tree that ``path`` lies in; None where it lies in none."""
    path = path.resolve()
    for folder in (path, *path.parents):
        if (folder / ".git").exists():
            return folder
    return None


def git_dir(path: Path) -> Path | None:
    """The git folder of the work tree that ``path`` lies in (of this work tree, where there are several)."""
    top = find_toplevel(path)
    if top is None:
        return None
    place = top / ".git"
    if place.is_dir():
        return place
    # a file: a worktree or a submodule, whose git folder is elsewhere
    found = re.match(r"gitdir:\s*(.+)", place.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise UsageError(f"{place}: looked for 'gitdir:', found something else")
    return (top / found.group(1).strip()).resolve()


def resolve(repo: Path, ref: str) -> str:
    """The commit that ``ref`` names. Raises :class:`UsageError` where it names none."""
    if ref.startswith("-"):
        raise UsageError(f"{ref}: not a git ref")
    try:
        return _line(repo, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except UsageError as why:
        raise UsageError(f"{repo}: looked for the commit {ref}, found none") from why


def head(repo: Path) -> str | None:
    """The commit that is checked out; None in a repository without one."""
    try:
        return resolve(repo, "HEAD")
    except UsageError:
        return None


def record_base(repo: Path, commit: str) -> None:
    """Remember ``commit`` as the state before any patch."""
    run(repo, "update-ref", BASE_REF, commit)


def base(repo: Path) -> str | None:
    """The commit that :func:`record_base` remembered."""
    try:
        return resolve(repo, BASE_REF)
    except UsageError:
        return None


def commit_date(repo: Path, commit: str) -> str:
    """The committer's date of ``commit``, as git takes it: seconds and zone."""
    return _line(repo, "show", "-s", "--format=%cd", "--date=raw", commit)


def list_files(repo: Path, commit: str) -> list[str]:
    """Every file of ``commit``."""
    out = run(repo, "ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
    return [name.decode("utf-8", "surrogateescape") for name in out.split(b"\0") if name]


def read_file(repo: Path, commit: str, path: str) -> bytes | None:
    """One file of ``commit`` from git's objects; None where it has no such file (a link is none)."""
    import git

    try:
        item = _repo(repo).commit(commit).tree / path
    except KeyError:
        return None
    except (ValueError, git.BadName, git.BadObject, git.GitCommandError) as why:
        raise UsageError(f"{repo}: {commit}:{path} can't be read ({why})") from why
    if item.type != "blob" or item.mode == git.Blob.link_mode:
        return None
    data: bytes = item.data_stream.read()
    return data


def init_with_commit(folder: Path, message: str) -> str:
    """Make ``folder`` a repository with one commit of all of it. The same bytes give the same commit."""
    run(folder, "init", "--quiet", "--initial-branch=main", ".")
    run(folder, "config", "core.autocrlf", "false")
    run(folder, "add", "--all", "--force", ".", env={"GIT_ATTR_NOSYSTEM": "1"})
    who = _identity("q8a8-patch", "q8a8-patch@localhost", "0 +0000")
    run(folder, "commit", "--quiet", "--allow-empty", "--no-verify", "-m", message, env=who)
    return resolve(folder, "HEAD")


def _identity(name: str, email: str, date: str) -> dict[str, str]:
    return {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", name), ("EMAIL", email), ("DATE", f"@{date}"))
    }


def clone(source: str, destination: Path, ref: str | None = None, reporter: Reporter = SILENT) -> None:
    """Clone a URL, a repository or a bundle, as shallow as the transport allows.

    Raises :class:`SourceError` where that fails.
    """
    arguments = ["clone", "--quiet", "--no-hardlinks", "--no-recurse-submodules", "-c", "core.autocrlf=false"]
    local = Path(source).exists()
    named = ref is not None and not local and re.fullmatch(r"[0-9a-f]{7,40}", ref) is None
    if not local:
        arguments += ["--depth", "1", "--branch", ref] if named and ref else []
    with reporter.step(f"Cloning {source}"):
        run(None, *arguments, "--", source, str(destination), failure=SourceError)
        if ref is not None and not named:
            try:
                commit = resolve(Path(source), ref) if local and Path(source).is_dir() else ref
                run(destination, "checkout", "--quiet", "--detach", commit, failure=SourceError)
            except UsageError as why:
                raise SourceError(str(why)) from why


_NEW = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_OLD = re.compile(r"b(\d+)")


def newest_of(tags: Iterable[str]) -> str | None:
    """The newest release among ``tags``: vX.Y.Z before bNNNN, by number; anything else is no release."""
    best: tuple[tuple[int, ...], str] | None = None
    for tag in tags:
        new, old = _NEW.fullmatch(tag), _OLD.fullmatch(tag)
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
    """The newest release that the repository at ``url`` has. Raises :class:`SourceError`."""
    out = run(None, "ls-remote", "--tags", "--refs", "--", url, failure=SourceError, timeout=timeout)
    tags = [line.rsplit(b"/", 1)[-1].decode("utf-8", "replace") for line in out.splitlines()]
    newest = newest_of(tags)
    if newest is None:
        raise SourceError(f"{url}: looked for release tags, found none of {len(tags)} tags")
    return newest


def worktree_tree(repo: Path) -> str:
    """The git tree hash of the work tree as it is, new files included; the index is not touched."""
    with tempfile.TemporaryDirectory(prefix="q8a8-patch-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if head(repo) is not None:
            run(repo, "read-tree", "HEAD", env=index)
        run(repo, "add", "--all", ".", env=index)
        return _line(repo, "write-tree", env=index)


def is_dirty(repo: Path) -> list[str]:
    """Paths, from the top, with changes that aren't committed; new files too."""
    out = run(repo, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all")
    return [item[3:].decode("utf-8", "surrogateescape") for item in out.split(b"\0") if item]


def commit_files(
    repo: Path,
    *,
    parent: str,
    changes: Mapping[str, bytes | None],
    message: str,
    author: tuple[str, str],
    date: str,
) -> str:
    """A commit on ``parent`` with ``changes`` (None deletes). No ref, index or file of the tree is touched.

    The same input gives the same commit.
    """
    with tempfile.TemporaryDirectory(prefix="q8a8-patch-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        run(repo, "read-tree", parent, env=index)
        lines = []
        for path, data in changes.items():
            if data is None:
                lines.append(b"0 " + b"0" * 40 + b"\t" + path.encode())
                continue
            known = _line(repo, "ls-files", "--stage", "--", f":(literal){path}", env=index)
            mode = known.split(" ", 1)[0] if known else "100644"
            blob = run(repo, "hash-object", "-w", "--no-filters", "--stdin", stdin=data).strip()
            lines.append(mode.encode() + b" " + blob + b"\t" + path.encode())
        run(repo, "update-index", "-z", "--index-info", env=index, stdin=b"\0".join(lines) + b"\0")
        tree = _line(repo, "write-tree", env=index)
    env = _identity(*author, date)
    return _line(repo, "commit-tree", tree, "-p", parent, env=env, stdin=message.encode())


# Everything that a user's settings could change in the look of a patch.
_PATCH_SETTINGS = (
    "diff.noprefix=false",
    "diff.mnemonicPrefix=false",
    "diff.algorithm=myers",
    "diff.context=3",
    "diff.interHunkContext=0",
    "diff.indentHeuristic=true",
    "diff.suppressBlankEmpty=false",
    "format.subjectPrefix=PATCH",
    "format.attach=false",
    "format.thread=false",
    "format.coverLetter=false",
    "format.signOff=false",
    "format.useAutoBase=false",
    "format.notes=false",
    "format.suffix=.patch",
    "format.headers=",
    "format.to=",
    "format.cc=",
    "i18n.logOutputEncoding=UTF-8",
)


def format_patches(repo: Path, base: str, tip: str, folder: Path) -> list[Path]:
    """The commits ``base``..``tip`` as numbered files that ``git am`` takes; the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = [part for setting in _PATCH_SETTINGS for part in ("-c", setting)]
    options = (
        "--zero-commit --no-signature --full-index --binary --no-renames --no-stat --no-color"
        " --no-ext-diff --no-textconv -O/dev/null"
    )
    out = run(repo, *settings, "format-patch", *options.split(), "-o", str(folder), f"{base}..{tip}")
    return [Path(os.fsdecode(line)) for line in out.splitlines() if line]


def update_branch_commit(repo: Path, commit: str) -> None:
    """Move HEAD (its branch, or itself where detached) to ``commit``, whose parent it must be.

    The index follows; the work tree is left as it is.
    """
    before = resolve(repo, "HEAD")
    run(repo, "update-ref", "-m", "q8a8-patch apply", "HEAD", commit, before)
    run(repo, "reset", "--quiet", "--mixed", commit)


def merge(now: bytes, *, base: bytes, other: bytes) -> bytes | None:
    """``now`` with the change ``base`` -> ``other`` made in it; None where both changed the same lines."""
    with tempfile.TemporaryDirectory(prefix="q8a8-patch-") as folder:
        files = [Path(folder) / name for name in ("now", "base", "other")]
        for path, data in zip(files, (now, base, other), strict=True):
            path.write_bytes(data)
        try:
            return run(Path(folder), "merge-file", "-p", "--quiet", *(path.name for path in files))
        except UsageError:
            return None
