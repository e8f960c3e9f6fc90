"""Git calls: what they find, that they are repeatable, and that a repository can't make them run anything."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patcher import git as patcher_git
from patcher.base.errors import SourceError, UsageError
from patcher.engine.records_folder import place_of
from patcher.git import objects, process, repository
from patcher.git.changes import require_identity, write_commit
from tests.conftest import git, snapshot

AUTHOR = ("Somebody Else", "somebody@localhost")
DATE = "1700000000 +0000"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A small repository with one commit: a file, a program, a link, a folder."""
    top = tmp_path / "repo"
    (top / "d").mkdir(parents=True)
    (top / "text").write_bytes(b"one\ntwo\nthree\n")
    (top / "d" / "run").write_bytes(b"#!/bin/sh\n")
    (top / "d" / "run").chmod(0o755)
    (top / "link").symlink_to("text")
    git(top, "init", "-q", "-b", "main")
    git(top, "add", "-A")
    git(top, "commit", "-qm", "base")
    return top


def commit(
    repo: Path, changes: dict[str, bytes | None], message: str = "change\n", parent: str = "HEAD"
) -> str:
    return patcher_git.commit_files(
        repo, parent=parent, changes=changes, message=message, author=AUTHOR, date=DATE
    )


@pytest.fixture
def trap(tmp_path: Path) -> Callable[[], str]:
    """A program ``trap`` that leaves a trace when it is run; the fixture's call tells what it has left."""
    program = tmp_path / "trap"
    program.write_text(f'#!/bin/sh\necho "$0 $@" >> {tmp_path}/sprung\ncat\n')
    program.chmod(0o755)
    return lambda: (tmp_path / "sprung").read_text() if (tmp_path / "sprung").exists() else ""


# where things lie


def test_the_toplevel(repo: Path, tmp_path: Path) -> None:
    for place in (repo, repo / "d", repo / "d" / "run", repo / "not" / "there"):
        assert patcher_git.find_toplevel(place) == repo
    (tmp_path / "elsewhere").mkdir()
    assert patcher_git.find_toplevel(tmp_path / "elsewhere") is None


def test_worktrees_and_submodules_have_a_file_for_git(repo: Path, tmp_path: Path) -> None:
    git(repo, "worktree", "add", "-q", str(tmp_path / "other"))
    assert patcher_git.find_toplevel(tmp_path / "other" / "d") == tmp_path / "other"
    assert place_of(tmp_path / "other" / "d").anchor == repo / ".git" / "worktrees" / "other"
    git(tmp_path, "init", "-q", "outer")
    outer = tmp_path / "outer"
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repo), "vendor/it")
    assert patcher_git.find_toplevel(outer / "vendor/it/d") == outer / "vendor/it"
    found = place_of(outer / "vendor/it").anchor
    assert found == outer / ".git/modules/vendor/it"
    assert str(found) == git(outer / "vendor/it", "rev-parse", "--absolute-git-dir")
    assert patcher_git.head(outer / "vendor/it") == patcher_git.head(repo)
    (outer / "vendor/it/.git").write_text("something else")
    with pytest.raises(UsageError, match="looked for 'gitdir:'"):
        place_of(outer / "vendor/it")


# refs


def test_resolve(repo: Path) -> None:
    head = git(repo, "rev-parse", "HEAD")
    git(repo, "tag", "-a", "v1.0.0", "-m", "x")
    for ref in ("HEAD", "main", "v1.0.0", head, head[:8], "refs/heads/main", "HEAD^0"):
        assert patcher_git.resolve(repo, ref) == head
    assert patcher_git.head(repo) == head


@pytest.mark.parametrize(
    "ref",
    ["-h", "--all", "--git-dir", "--end-of-options", "^HEAD", "HEAD..HEAD", "HEAD --all", "", "nope", "HEAD:text", "a\0b", "@{999}", "HEAD\n"],
)  # fmt: skip
def test_resolve_takes_no_option_and_no_range(repo: Path, ref: str) -> None:
    git(repo, "branch", "other")
    with pytest.raises(UsageError):
        patcher_git.resolve(repo, ref)


def test_base(repo: Path, tmp_path: Path) -> None:
    assert patcher_git.base(repo) is None
    first = git(repo, "rev-parse", "HEAD")
    patcher_git.record_base(repo, first)
    git(repo, "commit", "-qm", "more", "--allow-empty")
    assert patcher_git.base(repo) == first != patcher_git.head(repo)
    git(tmp_path, "init", "-q", "empty")
    assert patcher_git.head(tmp_path / "empty") is None


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="looked for a git repository here and in the folders above"):
        patcher_git.is_dirty(tmp_path)
    with pytest.raises(UsageError, match="looked for a folder"):
        patcher_git.is_dirty(tmp_path / "missing")
    assert patcher_git.head(tmp_path) is None


def test_no_git(repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"git: can't be run .*; install git"):
        patcher_git.is_dirty(repo)


# files


def test_files_of_a_commit(repo: Path) -> None:
    (repo / "ünï\ncode").write_bytes(b"\xff\x00")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "names")
    (repo / "text").write_bytes(b"not committed")
    assert sorted(patcher_git.list_files(repo, "HEAD")) == ["d/run", "link", "text", "ünï\ncode"]
    assert patcher_git.read_file(repo, "HEAD", "text") == b"one\ntwo\nthree\n"
    assert patcher_git.read_file(repo, git(repo, "rev-parse", "HEAD"), "ünï\ncode") == b"\xff\x00"
    assert patcher_git.read_file(repo, "HEAD~1", "ünï\ncode") is None
    for none in ("link", "d", "missing", "../repo/text", "", "text/", "-h"):
        assert patcher_git.read_file(repo, "HEAD", none) is None
    with pytest.raises(UsageError):
        patcher_git.read_file(repo, "f" * 40, "text")


def test_dirty(repo: Path) -> None:
    assert patcher_git.is_dirty(repo) == []
    (repo / "text").write_bytes(b"changed")
    (repo / "d" / "new one").write_bytes(b"x")
    git(repo, "mv", "d/run", "d/renamed")
    assert sorted(patcher_git.is_dirty(repo)) == ["d/new one", "d/renamed", "d/run", "text"]


def test_looking_writes_nothing(repo: Path) -> None:
    os.utime(repo / "text", (1, 1))  # git would refresh what it has noted about the file
    before = {path: path.read_bytes() for path in (repo / ".git").rglob("*") if path.is_file()}
    assert patcher_git.is_dirty(repo) == []
    assert {path: path.read_bytes() for path in (repo / ".git").rglob("*") if path.is_file()} == before


# commits


def test_commit_files(repo: Path) -> None:
    before, index, head = snapshot(repo), (repo / ".git/index").read_bytes(), git(repo, "rev-parse", "HEAD")
    made = commit(repo, {"text": b"new\r\n", "d/run": b"#!/bin/bash\n", "a/b/new *?[": b"\0", "link": None})
    assert (snapshot(repo), (repo / ".git/index").read_bytes(), git(repo, "rev-parse", "HEAD")) == (
        before,
        index,
        head,
    )
    assert git(repo, "rev-parse", f"{made}^") == head
    assert patcher_git.list_files(repo, made) == ["a/b/new *?[", "d/run", "text"]
    assert patcher_git.read_file(repo, made, "text") == b"new\r\n"
    assert git(repo, "ls-tree", made, "d/run").startswith("100755 ")
    assert git(repo, "show", "-s", "--format=%an|%ae|%at|%cn|%s", made) == (
        "Somebody Else|somebody@localhost|1700000000|Somebody Else|change"
    )
    assert patcher_git.commit_date(repo, made) == DATE


HOSTILE_USER = """
[user]
	name = Another
	email = another@localhost
[core]
	autocrlf = true
	attributesFile = {home}/attributes
	excludesFile = {home}/ignore
	quotePath = false
	abbrev = 4
[commit]
	gpgSign = true
	verbose = true
[i18n]
	commitEncoding = latin1
	logOutputEncoding = latin1
[init]
	templateDir = {home}/template
	defaultBranch = trunk
[color]
	ui = always
	diff = always
[diff]
	noprefix = true
	mnemonicPrefix = true
	algorithm = patience
	context = 9
	interHunkContext = 5
	renames = copies
	external = {home}/trap
	orderFile = {home}/order
	suppressBlankEmpty = true
	relative = true
	indentHeuristic = false
[filter "upper"]
	clean = tr a-z A-Z
	smudge = cat
[format]
	attach = true
	thread = deep
	signOff = true
	useAutoBase = true
	coverLetter = true
	numbered = false
	subjectPrefix = XXX
	suffix = .txt
	from = Me <me@localhost>
	headers = "X-Spam: yes\\n"
	to = you@localhost
	cc = him@localhost
	notes = true
	signature = mine
	filenameMaxLength = 12
	encodeEmailHeaders = false
	outputDirectory = /nowhere
	pretty = oneline
[log]
	showSignature = true
	date = relative
"""


@pytest.fixture
def hostile_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Calling it gives the user settings that would change every look of a patch or commit."""

    def be_hostile() -> None:
        home = tmp_path / "hostile"
        (home / "template" / "info").mkdir(parents=True)
        (home / "template" / "info" / "exclude").write_text("*\n")
        (home / "attributes").write_text("* text=auto filter=upper diff=cpp\n")
        (home / "ignore").write_text("*\n")
        (home / "order").write_text("text\n")
        (home / "config").write_text(HOSTILE_USER.format(home=home))
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / "config"))
        for name in (
            "GIT_AUTHOR_NAME",
            "GIT_COMMITTER_NAME",
            "GIT_AUTHOR_DATE",
            "GIT_DEFAULT_HASH",
            "GIT_DIFF_OPTS",
        ):
            monkeypatch.setenv(name, "sha256" if name.endswith("HASH") else "@1 +0000")

    return be_hostile


def test_commits_are_the_same_whatever_the_user_has_set(repo: Path, hostile_user: Callable[[], None]) -> None:
    changes: dict[str, bytes | None] = {"text": b"new\r\nlines\r\n", "new": b"x\r\n"}
    head = git(repo, "rev-parse", "HEAD")
    made = commit(repo, changes, "über\n")
    hostile_user()
    assert commit(repo, changes, "über\n", head) == made


def test_the_first_commit_is_the_bytes(tmp_path: Path, hostile_user: Callable[[], None]) -> None:
    files = {
        "text": b"crlf\r\n",
        ".gitattributes": b"* text=auto eol=crlf ident filter=upper\nutf16 working-tree-encoding=UTF-16\n",
        ".gitignore": b"ignored\n",
        "ignored": b"$Id$\n",
        "utf16": b"no utf-16",
    }
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        for path, data in files.items():
            (folder / path).write_bytes(data)
        (folder / "ignored").chmod(0o755)
        made.append(patcher_git.init_with_commit(folder, "as fetched"))
        assert {path: patcher_git.read_file(folder, "HEAD", path) for path in files} == files
        assert patcher_git.is_dirty(folder) == []
        if name == "one":
            hostile_user()
    assert made[0] == made[1]
    assert len(made[0]) == 40
    (tmp_path / "two" / "text").write_bytes(b"other")
    shutil.rmtree(tmp_path / "two" / ".git")
    assert patcher_git.init_with_commit(tmp_path / "two", "as fetched") != made[0]


def test_patches_are_the_same_whatever_the_user_has_set(
    repo: Path, tmp_path: Path, hostile_user: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = git(repo, "rev-parse", "HEAD")
    code = b"".join(b"int f%d() {\n\n  return %d;\n}\n" % (number, number) for number in range(9))
    first = commit(
        repo, {"code.cpp": code, "ünï": b"x\n", "bin": bytes(range(256))}, "add: the über code\n\nbody\n"
    )
    second = commit(
        repo,
        {"code.cpp": code.replace(b"return 4", b"return 44"), "d/run": None, "d/moved": b"#!/bin/sh\n"},
        "two\n",
        first,
    )
    made = patcher_git.format_patches(repo, base, second, tmp_path / "a")
    assert [path.name for path in made] == ["0001-add-the-ber-code.patch", "0002-two.patch"]
    hostile_user()
    again = patcher_git.format_patches(repo, base, second, tmp_path / "b")
    assert [path.name for path in again] == [path.name for path in made]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in made]
    assert b"+++ b/code.cpp" in made[0].read_bytes()
    assert b"\nFrom: Somebody Else <somebody@localhost>\n" in made[0].read_bytes()
    # and they are what git am takes
    git(tmp_path, "-c", "core.autocrlf=false", "clone", "-q", str(repo), "fresh")
    (tmp_path / "plain").write_text("[user]\n\tname = T\n\temail = t@localhost\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "plain"))
    monkeypatch.delenv("GIT_COMMITTER_NAME")
    git(tmp_path / "fresh", "reset", "-q", "--hard", base)
    git(tmp_path / "fresh", "am", "-q", *(str(path) for path in again))
    assert git(tmp_path / "fresh", "rev-parse", "HEAD^{tree}") == git(repo, "rev-parse", f"{second}^{{tree}}")


def test_move_the_branch(repo: Path) -> None:
    made = commit(repo, {"text": b"new\n"})
    (repo / "text").write_bytes(b"new\n")
    patcher_git.update_branch_commit(repo, made)
    assert git(repo, "rev-parse", "main") == made
    assert git(repo, "status", "--porcelain") == ""
    assert git(repo, "symbolic-ref", "HEAD") == "refs/heads/main"


# hostile repositories


def test_nothing_that_a_repository_names_is_run(repo: Path, tmp_path: Path, trap: Callable[[], str]) -> None:
    program = tmp_path / "trap"
    base = git(repo, "rev-parse", "HEAD")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for folder in (hooks, repo / ".git" / "hooks"):
        folder.mkdir(exist_ok=True)
        for hook in (
            "pre-commit",
            "post-checkout",
            "post-index-change",
            "reference-transaction",
            "post-commit",
        ):
            shutil.copy(program, folder / hook)
    (repo / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\nd/run filter=a=b\n")
    for key, value in {
        "core.fsmonitor": str(program),
        "core.hooksPath": str(hooks),
        "core.pager": str(program),
        "core.editor": str(program),
        "core.sshCommand": str(program),
        "diff.external": str(program),
        "diff.evil.command": str(program),
        "diff.evil.textconv": str(program),
        "merge.evil.driver": str(program),
        "filter.evil.clean": str(program),
        "filter.evil.smudge": str(program),
        "filter.evil.required": "true",
        "filter.a=b.clean": str(program),
        "filter.a=b.process": str(program),
        "gpg.program": str(program),
        "commit.gpgSign": "true",
        "log.showSignature": "true",
    }.items():
        git(repo, "config", key, value)
    signed = (
        f"tree {git(repo, 'rev-parse', 'HEAD^{tree}')}\nparent {base}\nauthor a <a> 1 +0000\ncommitter a <a> 1 +0000\n"
        "gpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\n\nsigned\n"
    )
    (tmp_path / "signed").write_text(signed)
    tip = git(repo, "hash-object", "-t", "commit", "-w", str(tmp_path / "signed"))
    (repo / "text").write_bytes(b"changed\n")
    patcher_git.is_dirty(repo)
    patcher_git.commit_date(repo, tip)
    made = commit(repo, {"text": b"changed\n"}, parent=tip)
    patcher_git.format_patches(repo, base, made, tmp_path / "series")
    patcher_git.record_base(repo, base)
    patcher_git.read_file(repo, "HEAD", "text")
    patcher_git.clone(str(repo), tmp_path / "clone", base)
    patcher_git.update_branch_commit(repo, commit(repo, {"text": b"changed\n"}))
    assert trap() == ""
    # and the trap does work
    git(repo, "add", "-A")
    assert "trap" in trap()


def test_a_missing_object_is_not_fetched(repo: Path, tmp_path: Path, trap: Callable[[], str]) -> None:
    head = git(repo, "rev-parse", "HEAD")
    blob = git(repo, "rev-parse", "HEAD:text")
    (repo / ".git/objects" / blob[:2] / blob[2:]).unlink()
    git(repo, "config", "extensions.partialClone", "evil")
    git(repo, "config", "remote.evil.promisor", "true")
    git(repo, "config", "remote.evil.url", str(tmp_path))
    git(repo, "config", "remote.evil.uploadpack", str(tmp_path / "trap"))
    with pytest.raises(UsageError):
        patcher_git.read_file(repo, head, "text")
    assert trap() == ""


def test_no_settings_of_the_repository_around(
    repo: Path, tmp_path: Path, trap: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    git(repo, "config", "core.sshCommand", str(tmp_path / "trap"))
    git(repo, "config", f"url.{tmp_path}/evil.insteadOf", "https://example.invalid/")
    monkeypatch.chdir(repo)
    with pytest.raises(SourceError):
        patcher_git.newest_release_tag("ssh://127.0.0.1:1/llama.cpp", timeout=10)
    assert trap() == ""


def test_no_command_as_transport(tmp_path: Path, trap: Callable[[], str]) -> None:
    with pytest.raises(SourceError):
        patcher_git.clone(f"ext::{tmp_path}/trap", tmp_path / "a")
    with pytest.raises(SourceError):
        patcher_git.clone(f"--upload-pack={tmp_path}/trap", tmp_path / "a")
    with pytest.raises(SourceError):
        patcher_git.clone("https://example.invalid/x", tmp_path / "a", f"--upload-pack={tmp_path}/trap")
    assert trap() == ""


def test_the_environment_leads_to_no_other_repository(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q", "other")
    head, names = git(repo, "rev-parse", "HEAD"), patcher_git.list_files(repo, "HEAD")
    misleading = {
        "GIT_DIR": str(tmp_path / "other" / ".git"),
        "GIT_WORK_TREE": str(tmp_path / "other"),
        "GIT_INDEX_FILE": str(tmp_path / "index"),
        "GIT_OBJECT_DIRECTORY": str(tmp_path / "objects"),
        "GIT_COMMON_DIR": str(tmp_path / "other" / ".git"),
        "GIT_NAMESPACE": "x",
        "GIT_EXTERNAL_DIFF": "false",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_PREFIX": "d/",
    }
    for name, value in misleading.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    assert patcher_git.resolve(repo, "HEAD") == head
    assert patcher_git.list_files(repo, head) == names
    assert patcher_git.read_file(repo, head, "text") == b"one\ntwo\nthree\n"
    assert patcher_git.is_dirty(repo) == []
    patcher_git.clone(str(repo), tmp_path / "clone")
    assert patcher_git.head(tmp_path / "clone") == head
    assert dict(os.environ) == before  # the process's own environment is its own
    assert not (tmp_path / "index").exists()


# sources elsewhere


def test_clone(repo: Path, tmp_path: Path) -> None:
    first = git(repo, "rev-parse", "HEAD")
    git(repo, "tag", "v1.0.0")
    git(repo, "commit", "-qm", "second", "--allow-empty")
    git(repo, "branch", "-q", "side")
    git(repo, "bundle", "create", "-q", str(tmp_path / "b.bundle"), "--all", "HEAD")
    second = git(repo, "rev-parse", "HEAD")
    sources = (str(repo), str(tmp_path / "b.bundle"), f"file://{repo}")
    for number, source in enumerate(sources):
        for ref, expected in ((None, second), ("v1.0.0", first), ("side", second), (first, first)):
            place = tmp_path / f"clone-{number}-{ref}"
            patcher_git.clone(source, place, ref)
            assert patcher_git.head(place) == expected, (source, ref)
        with pytest.raises(SourceError, match="nope"):
            patcher_git.clone(source, tmp_path / f"clone-{number}-none", "nope")
    assert (tmp_path / "clone-2-side" / ".git" / "shallow").is_file()


def test_a_bundle_without_a_head(repo: Path, tmp_path: Path) -> None:
    git(repo, "bundle", "create", "-q", str(tmp_path / "one.bundle"), "main")
    patcher_git.clone(str(tmp_path / "one.bundle"), tmp_path / "one")
    assert patcher_git.head(tmp_path / "one") == patcher_git.head(repo)
    assert (tmp_path / "one" / "text").is_file()
    git(repo, "commit", "-qm", "second", "--allow-empty")
    git(repo, "branch", "-q", "side", "HEAD~1")
    git(repo, "bundle", "create", "-q", str(tmp_path / "two.bundle"), "main", "side")
    with pytest.raises(
        SourceError, match=r"two\.bundle: looked for a HEAD.*2 refs \(main, side\); name one with --ref"
    ):
        patcher_git.clone(str(tmp_path / "two.bundle"), tmp_path / "two")
    patcher_git.clone(str(tmp_path / "two.bundle"), tmp_path / "side", "side")
    assert patcher_git.head(tmp_path / "side") == git(repo, "rev-parse", "side")


def test_nothing_to_clone(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "empty")
    with pytest.raises(SourceError, match="empty: looked for a HEAD to check out, found none and no commit"):
        patcher_git.clone(str(tmp_path / "empty"), tmp_path / "a")
    with pytest.raises(SourceError, match="git: fatal"):
        patcher_git.clone(f"file://{tmp_path}/missing", tmp_path / "b")
    (tmp_path / "bad.bundle").write_bytes(b"# v2 git bundle\nrubbish")
    with pytest.raises(SourceError, match=r"bad\.bundle"):
        patcher_git.clone(str(tmp_path / "bad.bundle"), tmp_path / "c")


def test_the_newest_release(repo: Path) -> None:
    with pytest.raises(SourceError, match=r"looked for release tags like .*, found none among 0 tags"):
        patcher_git.newest_release_tag(f"file://{repo}")
    for tag in ("b999", "b8390", "v0.5.0", "v0.10.0", "gguf-v9.9.9", "v0.11.0-rc1"):
        git(repo, "tag", tag)
    assert patcher_git.newest_release_tag(f"file://{repo}") == "v0.10.0"


def test_a_server_that_gives_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(tmp_path / "ssh"))
    with pytest.raises(SourceError, match=r"ssh://example.invalid/x: gave no answer in 0\.3 s"):
        patcher_git.newest_release_tag("ssh://example.invalid/x", timeout=0.3)


def test_the_order_of_releases() -> None:
    assert patcher_git.newest_of(["b9", "b10", "b1000"]) == "b1000"
    assert patcher_git.newest_of(["b99999", "v0.0.1"]) == "v0.0.1"
    assert patcher_git.newest_of(["v0.9.9", "v0.10.0", "v0.2.30"]) == "v0.10.0"
    odd = [
        "",
        "main",
        "b",
        "bx",
        "v1",
        "v1.2",
        "v1.2.3.4",
        "v1.2.3-rc1",
        "xb1",
        "b1x",
        "b\u0661",
        "b" + "9" * 9000,
    ]
    assert patcher_git.newest_of(odd) is None


@settings(max_examples=100, deadline=None)
@given(numbers=st.lists(st.tuples(*[st.integers(0, 99)] * 3), min_size=1), old=st.lists(st.integers(0, 9999)))
def test_the_newest_is_the_greatest_in_any_order(numbers: list[tuple[int, int, int]], old: list[int]) -> None:
    tags = [f"b{number}" for number in old] + ["v{}.{}.{}".format(*number) for number in numbers]
    assert patcher_git.newest_of(tags) == "v{}.{}.{}".format(*max(numbers))
    assert patcher_git.newest_of(reversed(tags)) == patcher_git.newest_of(tags)


# merge


def test_merge() -> None:
    base = b"1\n2\n3\n4\n5\n6\n7\n"
    ours, theirs = base.replace(b"1", b"one"), base.replace(b"7", b"seven")
    assert patcher_git.merge(ours, base=base, other=theirs) == b"one\n2\n3\n4\n5\n6\nseven\n"
    assert patcher_git.merge(base, base=base, other=theirs) == theirs
    assert patcher_git.merge(ours, base=base, other=ours) == ours
    assert patcher_git.merge(ours, base=base, other=base.replace(b"1", b"uno")) is None
    assert patcher_git.merge(b"a\r\n", base=b"a\r\n", other=b"b\r\n") == b"b\r\n"
    assert patcher_git.merge(b"\0a", base=b"\0b", other=b"\0c") is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")
def test_a_fork_asks_a_git_of_its_own(repo: Path) -> None:
    """Two that shared one pipe would get each other's answers."""
    blobs = {}
    for number in range(8):
        content = f"{number}\n".encode() * 100_000
        (repo / "big").write_bytes(content)
        blobs[git(repo, "hash-object", "-w", "big").strip()] = content
    first = next(iter(blobs))
    assert (
        patcher_git.read_blob(repo, first) == blobs[first]
    )  # the parent's git runs before there are children
    with multiprocessing.get_context("fork").Pool(3) as pool:
        asked = pool.starmap_async(patcher_git.read_blob, [(repo, blob) for blob in blobs] * 4)
        ours = [patcher_git.read_blob(repo, blob) for blob in blobs] * 4
        assert asked.get(timeout=60) == ours == list(blobs.values()) * 4
    assert patcher_git.read_blob(repo, first) == blobs[first]


def test_many_repositories_leave_few_processes(tmp_path: Path, repo: Path) -> None:
    """A library that reads a thousand clones doesn't gather a thousand of git's processes."""
    blob = git(repo, "rev-parse", "HEAD:text").strip()
    clones = [Path(shutil.copytree(repo, tmp_path / f"clone{number}", symlinks=True)) for number in range(20)]
    processes = []
    for clone in clones:
        assert patcher_git.read_blob(clone, blob) == b"one\ntwo\nthree\n"
        started = objects._shells[clone].cat_file_all
        assert started is not None
        processes.append(started.proc)
    assert list(objects._shells) == clones[-objects.SHELLS :]
    assert [one is not None and one.poll() is None for one in processes] == [False] * (
        20 - objects.SHELLS
    ) + [True] * objects.SHELLS
    assert patcher_git.read_blob(clones[0], blob) == b"one\ntwo\nthree\n"  # it is asked anew


def test_what_stops_git_before_it_looks_is_said_with_its_remedy(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git asks who owns a repository; ours, in which the stranger's objects are links, is always our own."""
    with pytest.raises(UsageError, match="git: fatal: detected dubious ownership in repository at") as caught:
        process.run(repo, "status", own=True, env={"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"})
    assert caught.value.hint == f"git config --global --add safe.directory {repo}"
    with pytest.raises(UsageError, match="looked for the commit nope, found none"):
        patcher_git.resolve(repo, "nope")
    real = process.complete

    def refusing(*arguments: Any, **keywords: Any) -> tuple[int, bytes, bytes]:
        env = {"GIT_DIR": str(repo / "nowhere")}
        return real(*arguments, own=True, env=env)

    monkeypatch.setattr(repository, "complete", refusing)
    for look in (patcher_git.head, patcher_git.base):  # None would say that there is no commit
        with pytest.raises(UsageError, match="git: fatal: not a git repository"):
            look(repo)


def test_an_identity_in_the_environment_is_one(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container often has no other."""
    (tmp_path / "none").write_text("[user]\n\tuseConfigOnly = true\n")  # none made up of the machine's name
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="doesn't know who commits"):
        require_identity(repo)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", f"The {role}")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "who@localhost")
    require_identity(repo)
    made = write_commit(repo, on="HEAD", changes={}, message=b"one\n")
    assert git(repo, "log", "-1", "--format=%an, %ce", made) == "The AUTHOR, who@localhost"
