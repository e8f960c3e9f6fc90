"""A repository in which everything that a setting can name is a canary, and each git command that we use.

The commands are read out of the package; the settings are those of git's documentation that name a program, a
hook, another folder or another file. Each is set in the repository and in a nested one, a submodule that has
changed, in whose own configuration nobody but git would look.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from patcher import git as patcher_git
from patcher.base.errors import PatcherError
from patcher.git import process
from patcher.git.changes import changed, check_out_paths, stage_files
from patcher.git.remote import mirror

PACKAGE = Path(__file__).parents[1] / "patcher"
HOOKS = (
    "pre-commit prepare-commit-msg commit-msg post-commit post-checkout post-merge pre-push post-index-change"
    " reference-transaction post-rewrite fsmonitor-watchman pre-auto-gc update pre-receive post-update"
)
TRAP = "{trap}"
# name -> configuration; a key that begins with a colon is something else than a key
SETTINGS: dict[str, dict[str, str]] = {
    "filter.clean": {"filter.evil.clean": TRAP, "filter.evil.required": "true"},
    "filter.smudge": {"filter.evil.smudge": TRAP},
    "filter.process": {"filter.evil.process": TRAP},
    "core.fsmonitor": {"core.fsmonitor": TRAP},
    "core.fsmonitor v1": {"core.fsmonitor": TRAP, "core.fsmonitorHookVersion": "1"},
    "hooks": {":hooks": ".git/hooks"},
    "core.hooksPath": {":hooks": "evil-hooks", "core.hooksPath": "{repo}/evil-hooks"},
    "diff.external": {"diff.external": TRAP},
    "diff.*.command": {"diff.evil.command": TRAP},
    "diff.*.textconv": {"diff.evil.textconv": TRAP, "diff.evil.cachetextconv": "true"},
    "merge.*.driver": {"merge.evil.driver": TRAP, "merge.default": "evil"},
    "core.sshCommand": {"core.sshCommand": TRAP},
    "core.gitProxy": {"core.gitProxy": TRAP},
    "core.askPass": {"core.askPass": TRAP},
    "core.pager": {"core.pager": TRAP, "pager.log": TRAP, "pager.show": TRAP, "pager.status": TRAP},
    "core.editor": {"core.editor": TRAP, "sequence.editor": TRAP},
    "gpg.program": {"gpg.program": TRAP, "log.showSignature": "true", "commit.gpgSign": "true"},
    "gpg.ssh.program": {"gpg.format": "ssh", "gpg.ssh.program": TRAP, "gpg.ssh.defaultKeyCommand": TRAP,
                        "log.showSignature": "true", "commit.gpgSign": "true"},
    "credential.helper": {"credential.helper": f"!{TRAP}", "credential.https://x.helper": f"!{TRAP}"},
    "core.alternateRefsCommand": {"core.alternateRefsCommand": TRAP, ":alternates": "1"},
    "uploadpack.packObjectsHook": {"uploadpack.packObjectsHook": TRAP},
    "remote.*.uploadpack": {"remote.origin.uploadpack": TRAP, "remote.origin.receivepack": TRAP,
                            "remote.origin.url": "{repo}/inner"},
    "remote.*.vcs": {"remote.origin.vcs": "evil", "remote.origin.url": f"ext::{TRAP}", "protocol.ext.allow": "always"},
    "url.*.insteadOf": {f"url.ext::{TRAP} .insteadOf": "{repo}", "protocol.ext.allow": "always"},
    "promisor": {"extensions.partialClone": "evil", "remote.evil.promisor": "true", "remote.evil.url": "{repo}/inner",
                 "remote.evil.uploadpack": TRAP, ":missing": "1"},
    "submodule.*.update": {"submodule.inner.update": f"!{TRAP}", "submodule.inner.active": "true",
                           "submodule.recurse": "true", "fetch.recurseSubmodules": "true"},
    "submodule.*.ignore": {"submodule.inner.ignore": "none", "diff.ignoreSubmodules": "none",
                           "status.submoduleSummary": "true", "filter.evil.clean": TRAP},
    "include.path": {":include": "evil.config", "include.path": "{repo}/evil.config"},
    "includeIf": {":include": "evil.config", "includeIf.gitdir:/**.path": "{repo}/evil.config"},
    "config.worktree": {":worktree config": "1", "extensions.worktreeConfig": "true"},
    "core.worktree": {"core.worktree": "{repo}/inner", "filter.evil.clean": TRAP},
    "core.attributesFile": {":attributes": "evil.attributes", "core.attributesFile": "{repo}/evil.attributes",
                            "filter.evil.clean": TRAP, "diff.evil.textconv": TRAP},
    "info/attributes": {":attributes": ".git/info/attributes", "filter.evil.clean": TRAP, "diff.evil.command": TRAP},
    "alias": {f"alias.{verb}": f"!{TRAP}" for verb in ("status", "log", "show", "clone", "fetch", "add")},
    "trailer.*.command": {"trailer.x.command": TRAP, "trailer.x.cmd": TRAP, "format.signOff": "true"},
    "gc.recentObjectsHook": {"gc.recentObjectsHook": TRAP, "gc.auto": "1", "maintenance.auto": "true"},
    "init.templateDir": {":hooks": "evil-template/hooks", "init.templateDir": "{repo}/evil-template"},
    "interactive.diffFilter": {"interactive.diffFilter": TRAP, "difftool.x.cmd": TRAP, "mergetool.x.cmd": TRAP},
    "tar.*.command": {"tar.tgz.command": TRAP},
    "trace2": {"trace2.normalTarget": "{sprung}", "trace2.eventTarget": "{sprung}"},
}  # fmt: skip

# Settings that hide none of one another's canaries, to be set together: a process goes before a filter, a
# command before a text conversion, an external program before both. Those that change what a repository is
# stay alone.
FLOCKS = (
    ("filter.clean", "core.fsmonitor", "hooks", "merge.*.driver", "core.sshCommand", "gpg.program",
     "credential.helper", "uploadpack.packObjectsHook", "alias", "trailer.*.command", "tar.*.command"),
    ("filter.process", "core.fsmonitor v1", "core.hooksPath", "diff.*.command", "core.gitProxy", "core.askPass",
     "gpg.ssh.program", "core.alternateRefsCommand", "remote.*.uploadpack", "gc.recentObjectsHook",
     "interactive.diffFilter", "trace2"),
    ("filter.smudge", "diff.*.textconv", "core.pager", "core.editor", "remote.*.vcs", "submodule.*.update",
     "config.worktree", "init.templateDir", "info/attributes"),
    ("url.*.insteadOf", "submodule.*.ignore", "include.path", "diff.external"),
    ("includeIf", "core.attributesFile"),
    ("promisor",),
    ("core.worktree",),
)  # fmt: skip


@dataclass(frozen=True)
class Aviary:
    """The repository, its nested one, and the file that a canary leaves."""

    folder: Path
    repo: Path
    sprung: Path

    def run(self) -> bool:
        """Whether a canary has sung; it forgets."""
        there = self.sprung.exists()
        self.sprung.unlink(missing_ok=True)
        return there


def plain(repo: Path, *words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Git as anybody runs it."""
    command = ["git", *words]
    try:
        return subprocess.run(command, cwd=repo, input=stdin or b"", capture_output=True, timeout=10)
    except subprocess.TimeoutExpired:  # it waits for what a canary says
        return subprocess.CompletedProcess(command, -1, b"", b"")


def pattern(folder: Path) -> Path:
    """The repository without any setting, to be copied."""
    repo = folder / "pattern"
    for place in (repo, repo / "inner"):
        place.mkdir(parents=True)
        plain(place, "init", "-q", "-b", "main", ".")
    lines = "* filter=evil diff=evil merge=evil\n"
    for place in (repo / "inner", repo):
        (place / ".gitattributes").write_text(lines)
        (place / "text").write_text("one\n")
        if place == repo:
            modules = (
                '[submodule "inner"]\n\tpath = inner\n\turl = ./inner\n\tignore = none\n\tupdate = checkout\n'
            )
            (place / ".gitmodules").write_text(modules)
        plain(place, "add", "-A")
        plain(place, "commit", "-qm", "first")
    (repo / "text").write_text("two\n")
    plain(repo, "add", "text")
    tree = plain(repo, "write-tree").stdout.decode().strip()
    parent = plain(repo, "rev-parse", "HEAD").stdout.decode().strip()
    signed = (
        f"tree {tree}\nparent {parent}\nauthor a <a> 1700000000 +0000\ncommitter a <a> 1700000000 +0000\n"
        "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\nsigned\n"
    )
    tip = (
        plain(repo, "hash-object", "-t", "commit", "-w", "--stdin", stdin=signed.encode())
        .stdout.decode()
        .strip()
    )
    plain(repo, "reset", "-q", "--hard", tip)
    plain(repo, "tag", "v1.0.0", tip)
    return repo


def aviary(folder: Path, made: Path, *names: str) -> Aviary:
    """A copy of ``made`` with the settings ``names``, in it and in the nested repository."""
    folder.mkdir()
    repo = Path(shutil.copytree(made, folder / "repo", symlinks=True))
    birds = Aviary(folder, repo, folder / "sprung")
    trap = folder / "trap"
    trap.write_text(f"#!/bin/sh\necho $0 >>{birds.sprung}\ncat\n")
    trap.chmod(0o755)
    for place in (repo, repo / "inner"):
        lines: dict[str, str] = {}
        for key, value in (pair for name in names for pair in SETTINGS[name].items()):
            filled = value.format(trap=trap, repo=place, sprung=birds.sprung)
            if key.startswith(":"):
                _put(place, key[1:], filled, trap)
            else:
                lines[key.replace(TRAP, str(trap)).replace("{repo}", str(place))] = filled
        with (place / ".git/config").open("a", encoding="utf-8") as file:
            for key, value in lines.items():
                section, _, rest = key.partition(".")
                middle, _, last = rest.rpartition(".")
                head = f'[{section} "{middle}"]' if middle else f"[{section}]"
                file.write(f'{head}\n\t{last} = "{value}"\n')
        # what was noted of the files doesn't hold any more: git looks at them
        (place / "text").write_text("changed\n")
        os.utime(place / "text", (1, 1))
    return birds


def _put(place: Path, what: str, value: str, trap: Path) -> None:
    if what == "hooks":
        (place / value).mkdir(parents=True, exist_ok=True)
        for hook in HOOKS.split():
            shutil.copy(trap, place / value / hook)
    elif what == "include":
        (place / value).write_text(f'[filter "evil"]\n\tclean = {trap}\n[core]\n\tfsmonitor = {trap}\n')
    elif what == "worktree config":
        (place / ".git/config.worktree").write_text(f"[core]\n\tfsmonitor = {trap}\n")
    elif what == "attributes":
        (place / value).write_text("* filter=evil diff=evil\n")
    elif what == "alternates":
        other = place / "other.git"
        plain(place, "clone", "-q", "--bare", ".", str(other))
        (place / ".git/objects/info/alternates").write_text(f"{other}/objects\n")
    elif what == "missing":
        blob = plain(place, "rev-parse", "HEAD:text").stdout.decode().strip()
        loose = place / ".git/objects" / blob[:2] / blob[2:]
        loose.unlink(missing_ok=True)


# ---------------------------------------------------------------- the commands


def used() -> set[str]:
    """Every command of git that the package runs, out of its own code."""
    found = {"cat-file"}  # GitPython's, for contents of objects
    for file in PACKAGE.rglob("*.py"):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                found.update(_of_function(function, in_git=file.parent.name == "git"))
    return found


def _of_function(function: ast.FunctionDef, *, in_git: bool) -> Iterator[str]:
    lists: dict[str, str] = {}  # a local list of words -> its first
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List) and node.value.elts:
            first = node.value.elts[0]
            if isinstance(node.targets[0], ast.Name) and isinstance(first, ast.Constant):
                lists[node.targets[0].id] = str(first.value)
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        called, owner = node.func, getattr(node.func, "value", None)
        name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        ours = in_git and isinstance(called, ast.Name)
        if name in ("run", "line", "complete") and (
            ours or (isinstance(owner, ast.Name) and owner.id == "git")
        ):
            given = (_word(argument, lists) for argument in node.args[1:])
            yield from [word for word in given if word and not word.startswith("-")][:1]


def _word(argument: ast.expr, lists: dict[str, str]) -> str:
    if isinstance(argument, ast.Starred) and isinstance(argument.value, ast.Name):
        return lists.get(argument.value.id, "")
    return argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else ""


def words(verb: str, birds: Aviary) -> tuple[list[str], bytes | None]:
    """The command as anybody would give it, and its stdin."""
    out = str(birds.folder / "out")
    given: dict[str, list[str]] = {
        "cat-file": ["--filters", "HEAD:text"],
        "rev-parse": ["--verify", "HEAD^{commit}"],
        "ls-tree": ["-r", "-z", "--full-tree", "HEAD"],
        "log": ["--raw", "-z", "-m", "-p", "--root", "HEAD", "--", "text"],
        "show": ["--first-parent", "-m", "HEAD"],
        "status": ["--porcelain=v1", "-z", "--untracked-files=all"],
        "read-tree": ["--reset", "-u", "HEAD"],
        "ls-files": ["--stage", "--modified"],
        "update-index": ["--refresh"],
        "hash-object": ["-w", "text"],
        "write-tree": [],
        "commit-tree": ["HEAD^{tree}"],
        "update-ref": ["refs/heads/other", "HEAD"],
        "for-each-ref": [],
        "format-patch": ["--ext-diff", "-o", out, "HEAD~1..HEAD"],
        "clone": ["--quiet", ".", out],
        "fetch": ["--quiet", "./inner"],
        "ls-remote": ["--tags", "."],
        "init": ["-q", out],
        "add": ["--all", "."],
        "commit": ["-qam", "x"],
        "config": ["--list"],
        "checkout": ["--quiet", "--detach", "HEAD"],
        "merge-file": ["-p", "text", "text", "text"],
        "merge-base": ["HEAD", "HEAD~1"],
        "merge-tree": ["--write-tree", "HEAD", "HEAD~1"],
        "fast-import": ["--quiet"],
        "diff-tree": ["-r", "-p", "HEAD~1", "HEAD"],
        "var": ["GIT_COMMITTER_IDENT"],
        "symbolic-ref": ["HEAD", "refs/heads/main"],
        "show-ref": ["--verify", "refs/heads/main"],
        "check-ref-format": ["refs/heads/main"],
        "checkout-index": ["--force", "text"],
        "rev-list": ["--parents", "--merges", "HEAD"],
        "tag": ["--sort=-creatordate"],
    }
    return [verb, *given[verb]], {"commit-tree": b"x", "fast-import": b""}.get(verb)


def ours(verb: str, birds: Aviary) -> None:
    """What the package does where it runs ``verb``, in its own words where a function has them."""
    repo, out = birds.repo, birds.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    functions: dict[str, Callable[[], object]] = {
        "cat-file": lambda: patcher_git.read_file(repo, "HEAD", ".gitattributes"),
        "status": lambda: patcher_git.is_dirty(repo),
        "format-patch": lambda: patcher_git.format_patches(repo, "HEAD~1", "HEAD", out),
        "clone": lambda: patcher_git.clone(str(repo), out),
        "checkout": lambda: patcher_git.clone(str(repo), out, "HEAD~1"),
        "fetch": lambda: mirror(str(repo), out, since="2000-01-01"),
        "ls-remote": lambda: patcher_git.newest_release_tag(str(repo)),
        "merge-file": lambda: patcher_git.merge(b"a\n", base=b"b\n", other=b"c\n"),
        "read-tree": lambda: process.run(repo, "read-tree", "--reset", "HEAD"),
        "ls-files": lambda: process.run(repo, "ls-files", "--stage", "--", ":(top,literal)text"),
        "update-index": lambda: process.run(repo, "update-index", "-z", "--index-info", stdin=b""),
        "diff-tree": lambda: changed(repo, "HEAD~1", "HEAD"),
        "checkout-index": lambda: check_out_paths(repo, ["text"]),
        "add": lambda: stage_files(repo, ["text"]),
        "hash-object": lambda: process.run(repo, "hash-object", "-w", "--no-filters", "--stdin", stdin=b"x"),
    }
    if verb in ("init", "commit", "config"):
        # in a repository that we make, of files that are anybody's: fetch leaves each .git out
        shutil.copytree(repo, out, ignore=shutil.ignore_patterns(".git"))
        functions[verb] = lambda: patcher_git.init_with_commit(out, "x")
    given, stdin = words(verb, birds)
    work = functions.get(verb, lambda: process.run(repo, *given, stdin=stdin))
    work()


def matrix(folder: Path) -> dict[tuple[str, str], tuple[bool, bool]]:
    """(command, setting) -> whether plain git runs the canary, whether we do."""
    made = pattern(folder)
    found = {}
    verbs = sorted(used())
    for number, name in enumerate(SETTINGS):
        mine = aviary(folder / f"{number}", made, name)
        for verb in verbs:
            birds = aviary(folder / f"{number}-{verb}", made, name)
            given, stdin = words(verb, birds)
            plain(birds.repo, *given, stdin=stdin)
            by_git = birds.run()
            shutil.rmtree(birds.folder)
            try:
                ours(verb, mine)
            except PatcherError as why:  # refused, or its object isn't there
                print(f"{verb} with {name}: {why}", file=sys.stderr)
            found[verb, name] = (by_git, mine.run())
    return found


def page(found: dict[tuple[str, str], tuple[bool, bool]], version: str) -> str:
    """The matrix in Markdown."""
    verbs = sorted({verb for verb, _ in found})
    marks = {(True, False): "held", (False, False): "·", (True, True): "RUN", (False, True): "RUN"}
    held = sum(cell == (True, False) for cell in found.values())
    run = sum(ran for _, ran in found.values())
    lines = [
        "# Git's settings that run something",
        "",
        "<!-- made by `python -m benchmarks.git_canaries`; don't edit -->",
        "",
        "A repository's configuration can name programs, and so can that of a nested one. Here each command of git that",
        "q8a8-patch uses (they are read out of its code) meets each of these settings, in the repository and in a",
        "submodule that has changed. The program that is named leaves a mark.",
        "",
        f"**held**: git {version} by itself runs it, q8a8-patch doesn't. **·**: neither does. **RUN**: q8a8-patch runs it.",
        f"{len(found)} pairs, {held} held, {run} run. `tests/unit/test_git_canaries.py` tries all of them each time.",
        "",
        f"| | {' | '.join(verbs)} |",
        f"|---|{'|'.join('---' for _ in verbs)}|",
    ]
    for name in SETTINGS:
        shown = name.replace("*", "\\*")
        lines.append(f"| {shown} | {' | '.join(marks[found[verb, name]] for verb in verbs)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print the page; exit code 1 where something of a repository is run."""
    with tempfile.TemporaryDirectory(prefix="q8a8-canaries-") as folder:
        os.environ["GIT_CONFIG_GLOBAL"] = str(Path(folder) / "config")
        Path(os.environ["GIT_CONFIG_GLOBAL"]).write_text("[user]\n\tname = Test\n\temail = test@localhost\n")
        found = matrix(Path(folder))
    version = plain(Path.cwd(), "--version").stdout.decode().split()[2]
    print(page(found, version), end="")
    return int(any(ran for _, ran in found.values()))
