"""Repositories elsewhere: by URL, on this disk, in a bundle."""

from __future__ import annotations

import re
from pathlib import Path

from patcher.base.errors import SourceError, UsageError
from patcher.base.progress import SILENT, Reporter
from patcher.git.process import line, local_repository, run
from patcher.git.repository import A_REF, head, resolve


def clone(source: str, destination: Path, ref: str | None = None, reporter: Reporter = SILENT) -> None:
    """Clone a URL, a repository or a bundle, as shallow as the transport allows, with ``ref`` checked out.

    Raises :class:`SourceError` where that fails, or where nothing would be checked out.
    """
    if ref is not None and ref.startswith("-"):
        raise SourceError(f"{source}: looked for a ref, found {ref!r}", hint=A_REF)
    local = Path(source).exists()
    source = str(Path(source).absolute()) if local else source
    destination = destination.absolute()
    arguments = ["clone", "--quiet", "--no-hardlinks", "--no-recurse-submodules", "-c", "core.autocrlf=false"]
    named = ref is not None and not local and re.fullmatch(r"[0-9a-f]{7,40}", ref) is None
    if not local:
        arguments += ["--depth", "1", "--branch", ref] if named and ref else []
    seen = local_repository(source, SourceError)
    arguments += ["--no-local"] if seen != source else []
    with reporter.step(f"Cloning {Path(source).name if local else source}"):
        try:
            run(None, *arguments, "--", seen, str(destination), failure=SourceError)
        except SourceError as why:
            raise SourceError(why.message.replace(seen, source), hint=why.hint) from why
        if seen != source:
            run(destination, "config", "remote.origin.url", source, own=True)
        try:
            if ref is not None and not named:
                commit = (
                    resolve(Path(source), ref) if local and Path(source).is_dir() else _find(destination, ref)
                )
                run(destination, "checkout", "--quiet", "--detach", commit, own=True, failure=SourceError)
            elif head(destination) is None:
                _check_out_only_ref(source, destination)
        except UsageError as why:
            raise SourceError(why.message.replace(str(destination), source), hint=why.hint) from why


def mirror(source: str, place: Path, *, since: str, reporter: Reporter = SILENT) -> None:
    """What ``source`` has checked out, back to the date ``since``, in the bare repository ``place``.

    Fetched again, it has what is new, and what is older where ``since`` is. Raises :class:`SourceError`.
    """
    source = str(Path(source).absolute()) if Path(source).exists() else source
    if not (place / "objects").is_dir():
        place.mkdir(parents=True, exist_ok=True)
        run(place, "init", "--quiet", "--bare", "--initial-branch=upstream", "--template=", ".", own=True)
    arguments = ["--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force"]
    seen = local_repository(source, SourceError)
    with reporter.step(f"Fetching {source}"):
        run(
            place, "fetch", *arguments, f"--shallow-since={since}", "--", seen, "+HEAD:refs/heads/upstream",
            own=True, failure=SourceError,
        )  # fmt: skip


def _find(clone: Path, ref: str) -> str:
    """The commit of ``ref`` in a clone, whose branches are its origin's."""
    try:
        return resolve(clone, ref)
    except UsageError:
        return resolve(clone, f"refs/remotes/origin/{ref}")


def _check_out_only_ref(source: str, destination: Path) -> None:
    """Check out what a repository or bundle without a HEAD holds, where that is one ref."""
    names = line(
        destination, "for-each-ref", "--format=%(refname)", "refs/remotes/origin", "refs/tags"
    ).split()
    if len(names) != 1:
        short = ", ".join(name.removeprefix("refs/remotes/origin/") for name in names[:5])
        found = f"{len(names)} refs ({short})" if names else "no commit at all"
        hint = "name one with --ref" if names else None
        raise SourceError(f"{source}: looked for a HEAD to check out, found none and {found}", hint=hint)
    commit = resolve(destination, names[0])
    run(destination, "checkout", "--quiet", "--detach", commit, own=True, failure=SourceError)
