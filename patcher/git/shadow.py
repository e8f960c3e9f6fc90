"""A stranger's repository, seen through a git folder of ours: its objects and refs, none of its settings.

Git has dozens of settings that name a program (filters, monitors, helpers, pagers, hooks, drivers of
differences), gets more with each release, and has no option to read no settings of a repository. So each
repository that we look at gets another folder, a temporary one of our own, in which objects and refs are
links to the real ones, HEAD is a copy, and the configuration is written by us: the few keys that say how
objects and files are stored, each with a value that is checked. Git reads that folder and no other.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from patcher.base import processes
from patcher.base.environment import asked
from patcher.base.errors import PatcherError, UsageError
from patcher.base.os_errors import reason, way_out
from patcher.git.soundness import CLONE_AGAIN, _below, _mode, led_to, require_file, require_sound, small_text

# What the repository's own configuration may say, and in which words.
_BOOLEAN = r"true|false|yes|no|on|off|1|0"
_KEYS = {
    "core.repositoryformatversion": r"[01]",
    "core.filemode": _BOOLEAN,
    "core.symlinks": _BOOLEAN,
    "core.ignorecase": _BOOLEAN,
    "core.precomposeunicode": _BOOLEAN,
    "core.sparsecheckout": _BOOLEAN,
    "core.sparsecheckoutcone": _BOOLEAN,
    # which line ends the work tree has; git runs nothing for them
    "core.autocrlf": rf"input|{_BOOLEAN}",
    "core.eol": r"lf|crlf|native",
    "core.sharedrepository": rf"umask|group|all|world|everybody|0[0-7]{{3}}|{_BOOLEAN}",
    "extensions.objectformat": r"sha1|sha256",
    "extensions.refstorage": r"files|reftable",
    # who commits; git takes them as they stand
    "user.name": r"[^\x00-\x1f\x7f\"\\]{1,200}",
    "user.email": r"[^\x00-\x1f\x7f\"\\]{1,200}",
}
_LINKED = ("objects", "refs", "packed-refs", "reftable")  # of the repository, shared by its work trees


@dataclass(frozen=True)
class Shadow:
    """``folder`` is what git is told is the git folder; ``real`` is it; ``top`` None for a bare one."""

    folder: Path
    real: Path
    top: Path | None

    def environment(self, *, worktree: bool) -> dict[str, str]:
        """What leads git here. Without ``worktree`` it reads no file of the tree, its attributes neither."""
        values = {"GIT_DIR": str(self.folder), "GIT_INDEX_FILE": str(self.real / "index")}
        if worktree and self.top is not None:
            values["GIT_WORK_TREE"] = str(self.top)
        return values


def git_folder(path: Path) -> tuple[Path | None, Path] | None:
    """The top of the work tree that ``path`` lies in, and its git folder; None where it lies in none.

    A bare repository has no top. Raises :class:`UsageError` for a ``.git`` that is neither folder nor file.
    """
    path = path.resolve()
    if is_repository(path):
        return None, path
    for top in (path, *path.parents):
        place = top / ".git"
        if place.is_dir():
            return top, place
        if os.path.lexists(place):
            return top, led_to(place)
    return None


def is_repository(folder: Path) -> bool:
    """Whether ``folder`` is itself a git folder."""
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir()


_KNOWN: dict[tuple[object, ...], Shadow] = {}


def shadow(folder: Path, failure: type[PatcherError] = UsageError) -> Shadow:
    """The shadow of the repository that ``folder`` lies in, made once for each.

    Raises ``failure`` where it lies in none, and for pipes and devices in the place of git's files.
    """
    if not folder.is_dir():
        raise failure(f"{folder}: looked for a folder, found none", hint="check how the path is spelled")
    try:
        found = git_folder(folder)
        if found is None:
            raise failure(
                f"{folder}: looked for a git repository here and in the folders above, found none",
                hint="name the folder of a clone; 'q8a8-patch fetch' makes one",
            )
        top, real = found
        common = _common(real)
        key = (str(real), str(top), _state(real), _state(common / "config"), _state(common / "refs"))
        if key not in _KNOWN:
            _KNOWN[key] = _made(top, real, common)
        _follow_heads(_KNOWN[key])
        return _KNOWN[key]
    except OSError as why:
        raise failure(f"{folder}: its repository can't be read ({reason(why)})", hint=way_out(why)) from why
    except UsageError as why:
        if failure is UsageError:
            raise
        raise failure(why.message, hint=why.hint) from why


def _common(real: Path) -> Path:
    """The git folder that several work trees share."""
    place = real / "commondir"
    if not os.path.lexists(place):
        return real
    return (real / small_text(place).strip()).resolve()


def _state(place: Path) -> tuple[int, ...]:
    """What tells a repository from another one that later has its name."""
    try:
        facts = place.stat()
    except OSError:
        return ()
    return (facts.st_dev, facts.st_ino, 0 if stat.S_ISDIR(facts.st_mode) else facts.st_mtime_ns)


def _made(top: Path | None, real: Path, common: Path) -> Shadow:
    if not is_repository(real) and not (os.path.lexists(real / "HEAD") and (common / "objects").is_dir()):
        raise UsageError(
            f"{real}: looked for a git repository (HEAD and objects), found none", hint=CLONE_AGAIN
        )
    for place in (real / "HEAD", real / "index"):
        require_file(place)
    for name in ("shallow", "config", "packed-refs"):
        require_file(common / name)
    require_sound(common / "refs")
    require_sound(common / "objects" / "info")
    require_sound(common / "objects" / "pack")
    folder = Path(tempfile.mkdtemp(prefix="q8a8-patch-git-"))  # ours alone: 0700
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in _LINKED:
        if name in ("objects", "refs") or (common / name).exists() or name == "packed-refs":
            (folder / name).symlink_to(common / name)
    (folder / "shallow").symlink_to(common / "shallow")
    for index in real.glob("sharedindex.*"):
        require_file(index)
        (folder / index.name).symlink_to(index)
    (folder / "info").mkdir()
    for name in ("exclude", "attributes", "sparse-checkout"):
        with suppress(UsageError):
            text = small_text((real if name.startswith("sparse") else common) / "info" / name)
            (folder / "info" / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    logged = _link_logs(folder, real, common)
    settings = {**_settings(common / "config"), "core.bare": "true", "core.logallrefupdates": logged}
    text = "".join('[{}]\n\t{} = "{}"\n'.format(*key.split("."), value) for key, value in settings.items())
    (folder / "config").write_text(text, encoding="utf-8", errors="surrogateescape")
    return Shadow(folder, real, top)


# What names a commit beside the refs. None is a link: git takes none that leads elsewhere.
_HEADS = ("HEAD", "ORIG_HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD", "FETCH_HEAD")


def _follow_heads(shadow: Shadow) -> None:
    """Let HEAD, and what stands beside it, be what they really are now."""
    for name in _HEADS:
        real, place = shadow.real / name, shadow.folder / name
        if not os.path.lexists(real):
            if os.path.lexists(place):
                place.unlink()
            continue
        text = small_text(real)
        if not place.is_file() or place.read_text(encoding="utf-8", errors="surrogateescape") != text:
            draft = shadow.folder / "head.new"
            draft.write_text(text, encoding="utf-8", errors="surrogateescape")
            draft.replace(place)


def _settings(place: Path) -> dict[str, str]:
    """What the configuration says that we let it say. Its includes are not followed: nothing is run."""
    if not place.is_file():
        return {}
    command = ["git", "config", "--file", str(place), "--no-includes", "--list", "-z"]
    env = asked(GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=os.devnull, GIT_DIR=os.devnull)
    try:
        done = processes.run(command, folder=place.parent, env=env, seconds=60.0, output=16 << 20)
    except processes.ProcessError as why:
        raise UsageError(f"git: {why.message}", hint="install git") from why
    if done.code != 0:
        raise UsageError(
            f"{place}: git can't read its settings ({(done.errors.strip().splitlines() or ['?'])[-1]})",
            hint="mend the line that is named: 'git config --list --show-origin' reads the file too",
        )
    found: dict[str, str] = {}
    for entry in done.out.decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = entry.partition("\n")
        allowed = _KEYS.get(key.lower())
        if allowed is not None and re.fullmatch(allowed, value):
            found[key.lower()] = value
    if "extensions.objectformat" in found or "extensions.refstorage" in found:
        found["core.repositoryformatversion"] = "1"
    return found


def _link_logs(folder: Path, real: Path, common: Path) -> str:
    """Let git note what it moves where it did before; a log that is a link stays untouched."""
    head, refs = real / "logs" / "HEAD", common / "logs" / "refs"
    plain = stat.S_ISREG(_mode(head)) and stat.S_ISDIR(_mode(refs)) and stat.S_ISDIR(_mode(head.parent))
    if not plain or any(path.is_symlink() for path in _below(refs)):
        return "false"
    (folder / "logs").mkdir()
    (folder / "logs" / "HEAD").symlink_to(head)
    (folder / "logs" / "refs").symlink_to(refs)
    return "true"
