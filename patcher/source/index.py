"""Packages from the indexes that pip is set up for, without pip: pip builds what it downloads.

``pip download`` runs a source package's ``setup.py``, or its build backend, to learn its dependencies. Here
nothing of a package is run: the index is asked (the "simple" interface, as JSON or HTML, PEP 503, 691 and
700), the file is taken, and its hash compared with what the index says.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from patcher.base.errors import SourceError
from patcher.base.os_errors import next_step, reason
from patcher.source.pip_settings import PipSettings
from patcher.source.web import MAX_FILE, ONLINE, local_path, opened, read, without_password

_OTHER_INDEX = "take another index: 'pip config list' and PIP_INDEX_URL say which is asked"
_SDISTS = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tar")
_HASHES = ("sha512", "sha384", "sha256")


@dataclass(frozen=True)
class PackageFile:
    """One file of a package. ``hashes`` is algorithm -> hexadecimal digits, as the index says."""

    name: str
    url: str
    hashes: dict[str, str] = field(default_factory=dict)
    yanked: bool = False

    def version(self, package: str) -> str | None:
        """The version in the file's name; None where it is no source or wheel of ``package``."""
        if self.is_wheel:
            parts = self.name[:-4].split("-")
            return parts[1] if len(parts) >= 5 and normal(parts[0]) == normal(package) else None
        ending = next((one for one in _SDISTS if self.name.endswith(one)), None)
        if ending is None:
            return None
        stem = self.name[: -len(ending)]
        # older names keep their dashes: the version is what stands behind a name that is the package's
        for at in (found.start() for found in re.finditer("-", stem)):
            if normal(stem[:at]) == normal(package):
                return stem[at + 1 :]
        return None

    @property
    def is_wheel(self) -> bool:
        return self.name.endswith(".whl")


def normal(name: str) -> str:
    """A package's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def files(package: str, settings: PipSettings, *, wheels: bool) -> list[PackageFile]:
    """Every source (or wheel that fits any machine) of ``package``.

    Raises :class:`SourceError` where no index can be read, or none has one.
    """
    found: list[PackageFile] = []
    failures: list[str] = []
    asked: list[str] = []
    for place, is_index in settings.places():
        url = f"{place.rstrip('/')}/{normal(package)}/" if is_index else place
        asked.append(without_password(url))
        try:
            found += _listed(url, settings)
        except SourceError as why:
            failures.append(why.message)
    fitting = [
        file
        for file in found
        if file.is_wheel == wheels and file.version(package) and (not wheels or "-none-any" in file.name)
    ]
    if not fitting:
        what = "a wheel for any machine" if wheels else "a source archive"
        where = "; ".join(failures) or f"found none in {', '.join(asked) or 'no index (PIP_NO_INDEX)'}"
        raise SourceError(
            f"pypi:{package}: looked for {what}, {where}",
            hint="check the package's name and the network ('q8a8-patch doctor'), or set another index:"
            " PIP_INDEX_URL",
        )
    return fitting


def pick(package: str, version: str | None, found: Iterable[PackageFile]) -> PackageFile:
    """The file of ``version``, or of the newest that is neither withdrawn nor a preview. Raises
    :class:`SourceError` with the versions that there are."""
    versions: dict[str, PackageFile] = {}
    for file in found:
        of = file.version(package)
        if of is not None and (of not in versions or (versions[of].yanked and not file.yanked)):
            versions[of] = file
    if version is not None:
        for text, file in versions.items():
            if order(text) == order(version):
                return file
        newest = sorted(versions, key=order)[-5:]
        raise SourceError(
            f"pypi:{package}=={version}: looked for that version, found none; the newest are"
            f" {', '.join(newest)}",
            hint="name one of these",
        )
    kept = [text for text, file in versions.items() if not file.yanked] or list(versions)
    final = [text for text in kept if not _PREVIEW.search(text)] or kept
    return versions[max(final, key=order)]


_PREVIEW = re.compile(r"(?i)[-_.]?(?:a|b|c|rc|alpha|beta|pre|preview|dev)[-_.]?\d*(?:\D|$)")
_VERSION = re.compile(
    r"(?i)v?(?:(\d+)!)?(\d+(?:\.\d+)*)(?:[-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?(\d*))?"
    r"(?:(?:-(\d+))|[-_.]?(?:post|rev|r)[-_.]?(\d*))?(?:[-_.]?dev[-_.]?(\d*))?(?:\+([a-z0-9._-]+))?"
)


def order(version: str) -> tuple[object, ...]:
    """What sorts versions as PEP 440 does; what is none comes first."""
    found = _VERSION.fullmatch(version.strip())
    if found is None or len(version) > 200:
        return (-1,)
    epoch, release, stage, stage_number, implicit, post, dev, local = found.groups()
    numbers = [int(part) for part in release.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    ranks = {"a": 0, "alpha": 0, "b": 1, "beta": 1}
    if stage:
        pre: tuple[int, int] = (ranks.get(stage.lower(), 2), int(stage_number or 0))
    else:
        only_dev = dev is not None and implicit is None and post is None
        pre = (-1, 0) if only_dev else (3, 0)
    has_post = implicit is not None or re.search(r"(?i)post|rev|\dr\d*$", version) is not None
    after = int(implicit or post or 0) if has_post else -1
    before = int(dev or 0) if dev is not None else 1 << 62
    return (int(epoch or 0), tuple(numbers), pre, after, before, local or "")


# ---------------------------------------------------------------- what an index says


def _listed(url: str, settings: PipSettings) -> list[PackageFile]:
    """The files that a page, or a folder, names."""
    folder = local_path(url)
    if folder is not None and folder.is_dir():
        page = folder / "index.html"
        if not page.is_file():
            return [
                PackageFile(place.name, place.as_uri())
                for place in sorted(folder.iterdir())
                if place.is_file()
            ]
        url = page.as_uri()
        folder = page
    if folder is not None and not folder.is_file():
        raise SourceError(
            f"{folder}: looked for a package index, found none",
            hint="name a folder of packages, or its address, in pip's settings: 'pip config list' shows them",
        )
    data, content_type, url = read(url, settings)
    if "json" in content_type:
        found = list(_from_json(data, url))
    else:
        reader = _Page(url)
        reader.feed(data.decode("utf-8", "replace"))
        found = reader.files
    if folder is None and any(local_path(file.url) is not None for file in found):
        raise SourceError(
            f"{without_password(url)}: looked for files on servers, found one of this machine",
            hint=_OTHER_INDEX,
        )
    return found


def _from_json(data: bytes, url: str) -> Iterator[PackageFile]:
    try:
        entries = json.loads(data)["files"]
        for entry in entries:
            hashes = {str(name): str(value) for name, value in dict(entry.get("hashes") or {}).items()}
            yield PackageFile(
                str(entry["filename"]),
                urljoin(url, str(entry["url"])),
                hashes,
                bool(entry.get("yanked", False)),
            )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as why:
        raise SourceError(
            f"{without_password(url)}: looked for a package index, found {why!r}",
            hint=_OTHER_INDEX,
        ) from why


class _Page(HTMLParser):
    """The links of an HTML page."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.files: list[PackageFile] = []
        self._base = url

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "base" and values.get("href"):
            self._base = urljoin(self._base, values["href"])
        if tag != "a" or not values.get("href"):
            return
        with contextlib.suppress(ValueError):
            url, fragment = urldefrag(urljoin(self._base, values["href"]))
            name = unquote(urlsplit(url).path.rpartition("/")[2])
            algorithm, _, digits = fragment.partition("=")
            hashes = {algorithm: digits} if algorithm in _HASHES else {}
            self.files.append(PackageFile(name, url, hashes, "data-yanked" in values))


# ---------------------------------------------------------------- the file


def save(file: PackageFile, place: Path, settings: PipSettings) -> None:
    """Write a file of a package to ``place``, which doesn't exist.

    Raises :class:`SourceError`, also where the index gave another hash of it.
    """
    name = next((one for one in _HASHES if one in file.hashes), None)
    digest = hashlib.new(name or "sha256")
    path = local_path(file.url)
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(path.open("rb") if path is not None else opened(file.url, settings))
            size = 0
            with place.open("xb") as out:
                while block := source.read(1 << 20):
                    size += len(block)
                    if size > MAX_FILE:
                        raise SourceError(
                            f"{without_password(file.url)}: looked for a package, found more than"
                            f" {MAX_FILE >> 30} GB",
                            hint="name another version or --source: no release of llama.cpp is as large",
                        )
                    digest.update(block)
                    out.write(block)
        except (OSError, ValueError) as why:
            raise SourceError(
                f"{without_password(file.url)}: can't be had ({reason(why)})", hint=next_step(why) or ONLINE
            ) from why
    if name is not None and digest.hexdigest() != file.hashes[name].lower():
        said = f"the index says {name} {file.hashes[name][:16]}…, found {digest.hexdigest()[:16]}…"
        raise SourceError(
            f"{without_password(file.url)}: {said}",
            hint="run the same command again; where it stays so, take another index: 'pip config list'"
            " shows which is asked",
        )
