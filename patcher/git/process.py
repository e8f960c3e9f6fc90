"""One git process: its settings, its environment, its end."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from patcher.base import interrupt
from patcher.base.errors import PatcherError, UsageError
from patcher.base.os_errors import reason
from patcher.base.processes import GROUP, end

# What a repository's own configuration may not decide for us.
_HARDENED = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "core.safecrlf=false",
    "core.quotePath=true",
    "protocol.ext.allow=never",
    "commit.gpgSign=false",
    "log.showSignature=false",  # it would run the repository's gpg.program
    "diff.ignoreSubmodules=dirty",  # no git in a submodule, which has settings of its own
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
    "LC_ALL": "C",
    "LANGUAGE": "C",
}
# Of git's variables, those that say where the user's settings lie and how the network is reached. The
# others point git at another repository, index or identity: hooks and aliases leave them behind.
_KEPT = re.compile(
    r"GIT_(CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_\d+|VALUE_\d+)|SSH(_COMMAND|_VARIANT)?|SSL_\w+|PROXY_\w+"
    r"|HTTP_\w+|ALLOW_PROTOCOL|EXEC_PATH|ATTR_NOSYSTEM)"
)
# Commands that never look at the work tree, and so pass no file through filters. (write-tree does: it
# refreshes the index.)
_NEVER_FILTERING = frozenset(
    {"cat-file", "commit-tree", "config", "init", "ls-tree", "merge-file", "rev-parse", "show", "update-ref"}
)


def run(
    folder: Path | None,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    failure: type[PatcherError] = UsageError,
    timeout: float | None = None,
) -> bytes:
    """Run git in ``folder`` and return what it prints; in no repository at all where that is None.

    ``env`` is added to an environment in which nothing leads to another repository. Raises ``failure``
    with git's own word where it fails, is not there, or gives no answer in ``timeout`` seconds.
    """
    status, out, err = complete(folder, *arguments, env=env, stdin=stdin, failure=failure, timeout=timeout)
    if status != 0:
        where = f"{folder}: " if folder is not None else ""
        raise failure(f"{where}git: {_reason(err) or f'exit status {status}'}")
    return out


def line(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None
) -> str:
    """What :func:`run` gives, as one text without the space around it."""
    return run(folder, *arguments, env=env, stdin=stdin).decode("utf-8", "surrogateescape").strip()


def complete(
    folder: Path | None,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    failure: type[PatcherError] = UsageError,
    timeout: float | None = None,
) -> tuple[int, bytes, bytes]:
    """Exit status, output and errors of one git process. Raises ``failure`` only where there is no end."""
    settings = [part for setting in _HARDENED for part in ("-c", setting)]
    environment = {**environment_without_repository(), **(env or {})}
    if folder is not None and arguments[0] not in _NEVER_FILTERING:
        environment = _without_filters(folder, environment, failure)
    return _spawn(["git", *settings, *arguments], folder, environment, stdin, failure, timeout)


def environment_without_repository() -> dict[str, str]:
    """The process's own environment, less what would lead git to another repository, index or identity."""
    mine = {name: value for name, value in os.environ.items() if _keeps(name)}
    return {**mine, **ENVIRONMENT}


def _keeps(name: str) -> bool:
    return not name.startswith("GIT_") or _KEPT.fullmatch(name) is not None


def _without_filters(
    folder: Path, environment: dict[str, str], failure: type[PatcherError]
) -> dict[str, str]:
    """Switch off the filter drivers that the repository's own configuration brings.

    Together with a ``.gitattributes`` they are commands that run when a file is looked at. The user's
    own (LFS, say) stay. By environment, because ``-c`` can't name a driver with a ``=`` in it.
    """
    command = ["git", "config", "--show-scope", "--name-only", "-z", "--get-regexp", r"^filter\..*\."]
    _, out, _ = _spawn(command, folder, environment, None, failure, None)
    fields = out.decode("utf-8", "surrogateescape").split("\0")
    drivers = {
        name.rpartition(".")[0]
        for scope, name in zip(fields[::2], fields[1::2], strict=False)
        if scope in ("local", "worktree")
    }
    pairs = [
        (f"{driver}.{key}", "false" if key == "required" else "")
        for driver in sorted(drivers)
        for key in ("clean", "smudge", "process", "required")
    ]
    known = environment.get("GIT_CONFIG_COUNT", "")
    first = int(known) if known.isdigit() else 0
    added = {"GIT_CONFIG_COUNT": str(first + len(pairs))} if pairs else {}
    for number, (key, value) in enumerate(pairs, first):
        added |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return {**environment, **added}


def _spawn(
    command: list[str],
    folder: Path | None,
    environment: dict[str, str],
    stdin: bytes | None,
    failure: type[PatcherError],
    timeout: float | None,
) -> tuple[int, bytes, bytes]:
    # Without a repository git runs at the root: the settings of one around us are not asked for.
    place = folder if folder is not None else Path(os.path.abspath(os.sep))  # noqa: PTH100 - a drive's root
    if not place.is_dir():
        raise failure(f"{place}: looked for a folder, found none")
    child = None
    try:
        with interrupt.held():  # a signal between its start and our knowing of it would leave it running
            child = subprocess.Popen(
                command,
                cwd=place,
                env=environment,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=GROUP,
            )
        with child:
            try:
                out, err = child.communicate(stdin, timeout=timeout)
            except BaseException:
                end(child)
                raise
    except subprocess.TimeoutExpired as why:
        raise failure(f"git {command[-1]}: gave no answer in {timeout:g} s") from why
    except OSError as why:
        raise failure(f"git: can't be run ({reason(why)})", hint="install git") from why
    finally:
        if child is not None:
            end(child)  # which does nothing where it has ended
    return child.returncode, out, err


def _reason(said: bytes) -> str:
    """The line that says why: advice may follow it."""
    lines = [text.strip() for text in said.decode("utf-8", "replace").splitlines() if text.strip()]
    telling = [text for text in lines if text.startswith(("fatal:", "error:"))]
    return (telling or lines or [""])[-1]
