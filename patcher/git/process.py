"""One git process: its settings, its environment, its end."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from patcher.base import processes
from patcher.base.environment import networked
from patcher.base.errors import PatcherError, UsageError
from patcher.git.shadow import git_folder, shadow
from patcher.git.soundness import require_readable_tree

LOCAL_SECONDS = 900.0  # for a command that reaches no network: what waits for longer waits for a trap
MEMORY = 8 << 30  # bytes of address space: git maps packs
# What not even the user's own settings decide for us: they may name programs for their own work.
_HARDENED = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.safecrlf=false",
    "core.quotePath=true",
    "core.alternateRefsCommand=true",
    "protocol.ext.allow=never",
    "commit.gpgSign=false",
    "log.showSignature=false",  # it would run the repository's gpg.program
    "diff.ignoreSubmodules=all",  # no git in a submodule, which has settings of its own
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "status.submoduleSummary=false",
    "i18n.commitEncoding=UTF-8",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
)
ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_NO_LAZY_FETCH": "1",  # a missing object isn't fetched with a command that the repository names
    "GIT_OPTIONAL_LOCKS": "0",  # who only looks does not write the index
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "true",
    "LC_ALL": "C",
    "LANGUAGE": "C",
}
# Of git's variables, those that say where the user's settings lie, how the network is reached, and who
# commits: a container often has no other identity. The others point git at another repository or index, or
# make it run something: hooks and aliases leave them behind.
_KEPT = (
    r"GIT_(?:CONFIG_(?:GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_\d+|VALUE_\d+)|SSH(?:_COMMAND|_VARIANT)?|SSL_\w+"
    r"|PROXY_\w+|HTTP_\w+|ALLOW_PROTOCOL|EXEC_PATH|ATTR_NOSYSTEM|(?:AUTHOR|COMMITTER)_(?:NAME|EMAIL))|EMAIL"
    r"|SSH_AUTH_SOCK|SSH_AGENT_PID|LD_LIBRARY_PATH"
)
# Commands that want to know where the work tree is.
_IN_THE_TREE = frozenset({"add", "checkout-index", "ls-files", "read-tree", "status", "update-index"})
# Commands that move HEAD, which is a copy where the others look. They read the real configuration, and run
# nothing of it but hooks, which are overruled.
_OF_HEAD = frozenset({"symbolic-ref", "update-ref"})
_HEAD_SECONDS = 60.0  # what they read may include a pipe
# Where new objects go, where that isn't the repository.
_NEW_OBJECTS: ContextVar[Path | None] = ContextVar("new objects", default=None)


def run(
    folder: Path | None,
    *arguments: str,
    own: bool = False,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    failure: type[PatcherError] = UsageError,
    timeout: float | None = None,
) -> bytes:
    """Run git in ``folder`` and return what it prints; in no repository at all where that is None.

    The repository is read through its :func:`~patcher.git.shadow.shadow`, unless it is ``own``: one that we
    have just made, with settings of ours. ``env`` is added to an environment in which nothing leads to
    another one. Raises ``failure`` with git's own word where it fails, is not there, or gives no answer in
    ``timeout`` seconds.
    """
    status, out, err = complete(
        folder, *arguments, own=own, env=env, stdin=stdin, failure=failure, timeout=timeout
    )
    if status != 0:
        raise refusal(folder, status, err, failure)
    return out


def refusal(
    folder: Path | None, status: int, err: bytes, failure: type[PatcherError] = UsageError
) -> PatcherError:
    """Git's own word as an error of ours, with the remedy where git names one beside it."""
    where = f"{folder}: " if folder is not None else ""
    said = _reason(err)
    owned = re.search(r"dubious ownership in repository at '(.+)'", said)
    remedy = f"git config --global --add safe.directory {shlex.quote(owned[1])}" if owned else None
    return failure(f"{where}git: {said or f'exit status {status}'}", hint=remedy)


def line(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> str:
    """What :func:`run` gives, as one text without the space around it."""
    return run(folder, *arguments, env=env, stdin=stdin).decode("utf-8", "surrogateescape").strip()


def complete(
    folder: Path | None,
    *arguments: str,
    own: bool = False,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    failure: type[PatcherError] = UsageError,
    timeout: float | None = None,
) -> tuple[int, bytes, bytes]:
    """Exit status, output and errors of one git process. Raises ``failure`` only where there is no end."""
    verb = arguments[0]
    environment = environment_without_repository()
    # Without a repository git runs at the root: the settings of one around us are not asked for.
    place = folder if folder is not None else Path(os.path.abspath(os.sep))  # noqa: PTH100 - a drive's root
    if not place.is_dir():
        raise failure(f"{place}: looked for a folder, found none", hint="check how the path is spelled")
    if folder is not None and not own:
        seen = shadow(folder, failure)
        if seen.top is not None and _looks(arguments):
            require_readable_tree(seen.top)
        if verb == "status":  # nested repositories are no part of what is looked at
            arguments = (verb, "--ignore-submodules=all", *arguments[1:])
        environment |= seen.environment(worktree=verb in _IN_THE_TREE)
        aside = _NEW_OBJECTS.get()
        if aside is not None:
            environment["GIT_OBJECT_DIRECTORY"] = str(aside)
        timeout = timeout or LOCAL_SECONDS
        if verb in _OF_HEAD:
            environment["GIT_DIR"] = str(seen.real)
            timeout = min(timeout, _HEAD_SECONDS)
    # what we make ourselves is byte for byte what it was; anybody else's tree has line ends of its own
    plain = ("core.autocrlf=false",) if own or folder is None else ()
    settings = [part for setting in (*_HARDENED, *plain) for part in ("-c", setting)]
    command = [program(failure), *settings, *arguments]
    environment |= env or {}
    try:
        done = processes.run(
            command, folder=place, env=environment, stdin=stdin, seconds=timeout, memory=MEMORY
        )
    except processes.NotStartedError as why:
        raise failure(f"git: {why.message}", hint="install git") from why
    except processes.ProcessError as why:
        raise failure(f"git {arguments[-1]}: {why.message}", hint=why.hint) from why
    return done.code, done.out, done.err


@contextmanager
def objects_aside(repo: Path) -> Iterator[None]:
    """Within, what git makes of ``repo`` is kept elsewhere and gone afterwards: it may be one that
    can only be read. Raises :class:`UsageError` for what is no repository."""
    objects = shadow(repo).folder / "objects"
    with tempfile.TemporaryDirectory(prefix="q8a8-patch-") as folder:
        info = Path(folder, "info")
        info.mkdir()
        (info / "alternates").write_text(f"{objects}\n", encoding="utf-8")
        token = _NEW_OBJECTS.set(Path(folder))
        try:
            yield
        finally:
            _NEW_OBJECTS.reset(token)


def _looks(arguments: tuple[str, ...]) -> bool:
    """Whether the command reads files of the work tree, and so its attributes and ignored names."""
    verb, *words = arguments
    return verb in ("status", "add", "checkout-index") or "-u" in words or "--refresh" in words


def program(failure: type[PatcherError] = UsageError) -> str:
    """Git's own path: the folder that it is run in doesn't choose it."""
    found = shutil.which("git")
    if found is None:
        raise failure("git: can't be run (No such file or directory)", hint="install git")
    return os.path.abspath(found)  # noqa: PTH100 - links stay: git finds its other programs by its name


def environment_without_repository() -> dict[str, str]:
    """What git is given, less what would lead it to another repository or index."""
    return networked(_KEPT, **ENVIRONMENT)


def local_repository(source: str, failure: type[PatcherError] = UsageError) -> str:
    """``source``, or the shadow of a repository of this disk: none of its settings counts."""
    text = re.sub(r"^file://(?=/)", "", source)
    place = Path(text)
    if not place.is_dir():
        return source
    found = git_folder(place)
    if found is None or found[0] not in (None, place.resolve()):
        return source  # git says that it is none
    return str(shadow(place, failure).folder)


def _reason(said: bytes) -> str:
    """The line that says why: advice may follow it."""
    lines = [text.strip() for text in said.decode("utf-8", "replace").splitlines() if text.strip()]
    telling = [text for text in lines if text.startswith(("fatal:", "error:"))]
    return (telling or lines or [""])[-1]
