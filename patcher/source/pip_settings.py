"""What pip is set up for on this machine: its indexes, folders of packages, certificates."""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from patcher.base import processes
from patcher.base.cache import cache_dir
from patcher.base.environment import networked
from patcher.base.errors import SourceError

SECONDS = 60.0
# pip's own order: files, then variables; what stands for one command wins over what stands for all
_SECTIONS = ("global", "download", ":env:")


@dataclass(frozen=True)
class PipSettings:
    """Of all that pip can be told, what says where packages come from."""

    index: str
    more: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()  # find-links
    no_index: bool = False
    trusted_hosts: frozenset[str] = field(default_factory=frozenset)
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    timeout: float = 15.0

    def places(self) -> Iterator[tuple[str, bool]]:
        """Where to look, and whether it is an index (else a folder or a page of links)."""
        yield from ((place, False) for place in self.folders)
        if not self.no_index:
            yield from ((place, True) for place in (self.index, *self.more))


def pip_settings() -> PipSettings:
    """As ``pip config list`` tells. Raises :class:`SourceError` where there is no pip that answers."""
    return _read(_asked("config", "list"))


def _default_index() -> str:
    """Where pip looks where nobody says otherwise: its help names it."""
    said = " ".join(_asked("download", "--help").split())
    found = re.search(r"\(default (https?://[^\s)]+)\)", said.partition("--index-url <url> ")[2])
    if found is None:
        raise SourceError("pip download --help: looked for its index, found none", hint="set PIP_INDEX_URL")
    return found[1]


def _asked(*words: str) -> str:
    """What our own Python's pip says, or where it has none, the one on PATH. Raises :class:`SourceError`."""
    # -I: a pip.py in the folder that we are in is not pip
    programs = [[sys.executable, "-I", "-m", "pip"]]
    on_path = shutil.which("pip") or shutil.which("pip3")
    if on_path is not None:
        programs.append([os.path.abspath(on_path)])  # noqa: PTH100 - a link may be what makes it this one
    problem = ""
    for program in programs:
        try:
            done = processes.run(
                [*program, *words], folder=cache_dir(), env=networked("PIP_.*"), seconds=SECONDS
            )
        except processes.ProcessError as why:
            problem = why.message
            continue
        if done.code == 0:
            return done.text
        problem = (done.errors.strip().splitlines() or [f"exit status {done.code}"])[-1]
    if len(programs) == 1:
        raise SourceError("pip: not found", hint="python3 -m ensurepip, or use another --source")
    raise SourceError(
        f"pip {words[0]}: {problem}",
        hint="run 'pip config list': it fails in the same way; mend what it names, or use another --source",
    )


def _read(said: str) -> PipSettings:
    values: dict[str, str] = {}
    for section in _SECTIONS:
        for line in said.splitlines():
            name, equals, text = line.partition("=")
            of, _, key = name.rpartition(".")
            if not equals or of != section:
                continue
            try:
                value = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                value = text
            values[key.replace("_", "-").lower()] = str(value)
    many = {
        key: tuple(values.get(key, "").split()) for key in ("extra-index-url", "find-links", "trusted-host")
    }
    try:
        timeout = float(values.get("timeout") or values.get("default-timeout") or 15.0)
    except ValueError as why:
        raise SourceError(
            f"pip config: timeout: looked for seconds, found"
            f" {values.get('timeout') or values.get('default-timeout')!r}",
            hint="'pip config set global.timeout 15' sets it; PIP_TIMEOUT and PIP_DEFAULT_TIMEOUT do too",
        ) from why
    no_index = values.get("no-index", "").lower() in ("1", "true", "yes", "on")
    named = values.get("index-url") or values.get("pypi-url") or ""
    return PipSettings(
        index=named if named or no_index else _default_index(),
        more=many["extra-index-url"],
        folders=many["find-links"],
        no_index=no_index,
        trusted_hosts=frozenset(many["trusted-host"]),
        cert=values.get("cert") or os.environ.get("SSL_CERT_FILE") or None,
        client_cert=values.get("client-cert") or None,
        proxy=values.get("proxy") or None,
        timeout=timeout,
    )
