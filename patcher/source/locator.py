"""What a user names as a source, told apart by its look and by what lies at that path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from patcher.base.errors import SourceError, UsageError
from patcher.base.os_errors import reason, way_out

DEFAULT_URL = "https://github.com/ggml-org/llama.cpp"
_BEHIND = "write it as SOURCE@REF, with a branch, a tag or a commit, or leave the @ out"


class SourceForm(str, Enum):
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

    form: SourceForm
    name: str
    ref: str | None = None
    text: str = ""


_URL = re.compile(r"(?:https?|ssh|git|file)://")
_SCP = re.compile(r"[\w.-]+@[\w.-]+:(?!//)")
_PACKAGE = {
    SourceForm.PYPI: re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII),
    SourceForm.NPM: re.compile(r"(?:@[a-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII),
}
_VERSION = re.compile(r"[0-9][\w.+!-]*", re.ASCII)
_NPM_FILE = re.compile(r"\.(?:tgz|tar\.gz|tar)$", re.IGNORECASE)  # npm's own rule, for names and versions
_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".tar.xz", ".tar.bz2", ".zip")


def parse(text: str, ref: str | None = None) -> Locator:
    """Tell what ``text`` names; ``ref`` (from ``--ref``) is taken where the text has none of its own.

    Raises :class:`UsageError` for a text that is no locator, or has another ref of its own,
    :class:`SourceError` for a path that is not there.
    """
    if not text or text.startswith("-") or not text.isprintable():
        raise UsageError(f"--source {text!r}: not a source", hint="see 'q8a8-patch fetch --help'")
    if ref is not None and (not ref or ref.startswith("-") or not ref.isprintable()):
        raise UsageError(
            f"--ref {ref!r}: looked for a branch, tag or commit, found none",
            hint="name it as git does: --ref v0.5.0, --ref master",
        )
    if text.startswith("pypi:"):
        found = _package(SourceForm.PYPI, text, text[5:], "==", ref)
    elif text.startswith("npm:"):
        found = _package(SourceForm.NPM, text, text[4:], "@", ref)
    elif _URL.match(text) or _SCP.match(text):
        found = _url(text, ref)
    else:
        found = _path(text, ref)
    if ref not in (None, found.ref):
        raise UsageError(
            f"--source {text}: names {found.ref} itself, and --ref {ref}", hint="leave one of them out"
        )
    return found


def _package(form: SourceForm, text: str, spec: str, separator: str, ref: str | None) -> Locator:
    name, found, own = spec.rpartition(separator) if separator in spec[1:] else (spec, "", "")
    version = own if found else ref
    if not _PACKAGE[form].fullmatch(name) or (version is not None and not _VERSION.fullmatch(version)):
        example = "pypi:llama-cpp-python==0.3.36" if form is SourceForm.PYPI else "npm:node-llama-cpp@3.22.1"
        raise UsageError(f"--source {text}: not a package and version", hint=f"write it like {example}")
    if form is SourceForm.NPM and (
        _NPM_FILE.search(version or "") or ("/" not in name and _NPM_FILE.search(name))
    ):
        raise UsageError(
            f"--source {text}: ends like a file, and npm would take a file of that name for the package",
            hint="name the file itself by its path, without 'npm:'",
        )
    return Locator(form, name, version, text)


def _url(text: str, ref: str | None) -> Locator:
    # the ref stands behind the last @ of the path: the one before the host is a user's name, and the
    # one behind a slash begins a folder's
    scp = not _URL.match(text)
    start = text.index("@") + 1 if scp else text.index("://") + 3
    path = text.find(":" if scp else "/", start)
    at = text.rfind("@", path) if path >= 0 else -1
    if at < 0 or text[at - 1] == "/":
        return Locator(SourceForm.GIT_URL, text, ref, text)
    name, own = text[:at], text[at + 1 :]
    if not own or own.startswith("-"):
        raise UsageError(f"--source {text}: looked for a ref behind the @, found none", hint=_BEHIND)
    return Locator(SourceForm.GIT_URL, name, own, text)


def _path(text: str, ref: str | None) -> Locator:
    try:
        return _existing(text, ref)
    except (OSError, RuntimeError, ValueError) as why:  # no such user, too long a name, a circle of links
        raise SourceError(f"--source {text}: can't be read ({reason(why)})", hint=way_out(why)) from why


def _existing(text: str, ref: str | None) -> Locator:
    path = Path(text).expanduser()
    if not path.exists() and "@" in text:
        before, _, own = text.rpartition("@")
        path = Path(before).expanduser()
        if path.exists() and (not own or own.startswith("-")):
            raise UsageError(f"--source {text}: looked for a ref behind the @, found none", hint=_BEHIND)
        ref = own or ref
    if not path.exists():
        hint = "name a path, a git URL, pypi:NAME==VERSION or npm:NAME@VERSION"
        raise SourceError(f"--source {text}: looked for a file or folder of that name, found none", hint=hint)
    form = _form_of(path, text)
    if ref is not None and form in (SourceForm.DIRECTORY, SourceForm.ARCHIVE):
        what = "a folder without git" if form is SourceForm.DIRECTORY else "an archive"
        raise UsageError(
            f"--source {text}: looked for the ref {ref}, found {what}, which has no history",
            hint="leave the ref out, or name a git repository",
        )
    return Locator(form, str(path.resolve()), ref, text)


def _form_of(path: Path, text: str) -> SourceForm:
    if path.is_dir():
        bare = (path / "HEAD").is_file() and (path / "objects").is_dir()
        return SourceForm.GIT_REPOSITORY if bare or (path / ".git").exists() else SourceForm.DIRECTORY
    if not path.is_file():
        raise SourceError(
            f"--source {text}: looked for a file or a folder, found something else",
            hint="name a folder, a git bundle or an archive",
        )
    if path.name.endswith(_ARCHIVES):
        return SourceForm.ARCHIVE
    with path.open("rb") as file:
        if file.read(16).startswith((b"# v2 git bundle", b"# v3 git bundle")):
            return SourceForm.BUNDLE
    raise SourceError(
        f"--source {text}: looked for a git bundle or an archive, found neither",
        hint=f"name a folder, a bundle ('git bundle create'), or a file that ends in {', '.join(_ARCHIVES)}",
    )
