"""What a user names as a source, told apart by its look and by what lies at that path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from patcher.errors import SourceError, UsageError

DEFAULT_URL = "https://github.com/ggml-org/llama.cpp"


class Kind(str, Enum):
    """Where a source comes from. The values are part of the JSON contract."""

    GIT_URL = "git-url"
    DIRECTORY = "directory"
    GIT_REPOSITORY = "git-repository"
    BUNDLE = "bundle"
    ARCHIVE = "archive"
    PYPI = "pypi"
    NPM = "npm"


@dataclass(frozen=True)
class Locator:
    """A parsed source. ``name`` is a URL, a path or a package; ``ref`` a git ref or a version."""

    kind: Kind
    name: str
    ref: str | None = None
    text: str = ""


_URL = re.compile(r"(?:https?|ssh|git|file)://")
_SCP = re.compile(r"[\w.-]+@[\w.-]+:(?!//)")
_PACKAGE = re.compile(r"(?:@[a-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")
_VERSION = re.compile(r"[0-9][\w.+!-]*")
_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".tar.xz", ".tar.bz2", ".zip")


def parse(text: str, ref: str | None = None) -> Locator:
    """Tell what ``text`` names; ``ref`` (from ``--ref``) is taken where the text has none of its own.

    Raises :class:`UsageError` for a text that is no locator, :class:`SourceError` for a path that is
    not there.
    """
    if not text or text.startswith("-") or "\0" in text or "\n" in text:
        raise UsageError(f"--source {text!r}: not a source", hint="see 'q8a8-patch fetch --help'")
    if text.startswith("pypi:"):
        return _package(Kind.PYPI, text, text[5:], "==", ref)
    if text.startswith("npm:"):
        return _package(Kind.NPM, text, text[4:], "@", ref)
    if _URL.match(text) or _SCP.match(text):
        return _url(text, ref)
    return _path(text, ref)


def _package(kind: Kind, text: str, spec: str, separator: str, ref: str | None) -> Locator:
    name, found, version = spec.rpartition(separator) if separator in spec[1:] else (spec, "", "")
    if not _PACKAGE.fullmatch(name) or (found and not _VERSION.fullmatch(version)):
        example = "pypi:llama-cpp-python==0.3.36" if kind is Kind.PYPI else "npm:node-llama-cpp@3.22.1"
        raise UsageError(f"--source {text}: not a package and version", hint=f"write it like {example}")
    return Locator(kind, name, version or ref, text)


def _url(text: str, ref: str | None) -> Locator:
    # the ref stands behind the last @ of the path: the one before the host is a user's name
    start = text.index("://") + 3 if _URL.match(text) else text.index("@") + 1
    slash = text.find("/", start)
    at = text.rfind("@", slash if slash >= 0 else len(text))
    if at < 0:
        return Locator(Kind.GIT_URL, text, ref, text)
    name, own = text[:at], text[at + 1 :]
    if not own or own.startswith("-"):
        raise UsageError(f"--source {text}: looked for a ref behind the @, found none")
    return Locator(Kind.GIT_URL, name, own, text)


def _path(text: str, ref: str | None) -> Locator:
    path, own = Path(text).expanduser(), None
    if not path.exists() and "@" in text:
        before, _, own = text.rpartition("@")
        path = Path(before).expanduser()
    if not path.exists():
        hint = "a path, a git URL, pypi:NAME==VERSION or npm:NAME@VERSION"
        raise SourceError(f"--source {text}: looked for a file or folder of that name, found none", hint=hint)
    ref = own or ref
    name = str(path.resolve())
    if path.is_dir():
        bare = (path / "HEAD").is_file() and (path / "objects").is_dir()
        kind = Kind.GIT_REPOSITORY if bare or (path / ".git").exists() else Kind.DIRECTORY
        return Locator(kind, name, ref, text)
    if path.name.endswith(_ARCHIVES):
        return Locator(Kind.ARCHIVE, name, ref, text)
    with path.open("rb") as file:
        if file.read(16).startswith((b"# v2 git bundle", b"# v3 git bundle")):
            return Locator(Kind.BUNDLE, name, ref, text)
    raise SourceError(f"--source {text}: is neither a git bundle nor one of {', '.join(_ARCHIVES)}")
