"""Any source becomes a checkout with a recorded base, or nothing at all."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from patcher import cli, source
from patcher import git as patcher_git
from patcher.base.errors import SourceError, UsageError
from patcher.base.progress import SILENT, Step
from patcher.source.download import Download
from tests.conftest import git, snapshot


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def step(self, label: str, total: int | None = None) -> AbstractContextManager[Step]:
        return SILENT.step(label, total)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A destination whose parent holds nothing else, so that leftovers are seen."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work" / "llama.cpp"


def leftovers(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir() if path != place)


def check(made: source.Checkout, place: Path, files: dict[str, bytes]) -> None:
    """What every fetch promises."""
    assert made.path == place
    assert patcher_git.base(place) == made.base == patcher_git.head(place)
    assert patcher_git.is_dirty(place) == []
    assert snapshot(place) == files
    assert leftovers(place) == []
    marker = json.loads((place / ".git" / "q8a8-patch.json").read_text())
    assert (marker["base"], marker["locator"], marker["path"]) == (made.base, made.locator, str(place))


# folders


def test_a_folder(mini: Path, place: Path) -> None:
    made = source.fetch(str(mini), place)
    check(made, place, snapshot(mini))
    assert (made.form, made.release, made.notes) == ("directory", None, (str(mini),))
    assert git(place, "show", "-s", "--format=%an %at %s") == "q8a8-patch 0 llama.cpp as it was fetched"


def test_the_same_bytes_give_the_same_commit(mini: Path, place: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(mini, copied)
    for path in copied.rglob("*"):
        os.utime(path, (1, 1))
    first, second = source.fetch(str(mini), place), source.fetch(str(copied), place.with_name("second"))
    assert first.base == second.base
    (copied / "new").write_bytes(b"")
    assert source.fetch(str(copied), place.with_name("third")).base != first.base


def test_a_project_that_vendors_it(mini: Path, place: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "vendor").mkdir(parents=True)
    (project / "setup.py").write_text("")
    mini.rename(project / "vendor" / "llama.cpp")
    made = source.fetch(str(project), place)
    check(made, place, snapshot(project / "vendor" / "llama.cpp"))
    assert made.notes == (f"{project}/vendor/llama.cpp",)


def test_links_of_a_folder_are_not_followed(mini: Path, place: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("private")
    (mini / "out").symlink_to(secret)
    (mini / "file").symlink_to("../secret/key")
    (mini / "inner").symlink_to("include/llama.h")
    source.fetch(str(mini), place)
    assert (place / "out").readlink() == secret
    assert str((place / "file").readlink()) == "../secret/key"
    assert b"private" not in b"".join(
        patcher_git.read_file(place, "HEAD", name) or b"" for name in ("out", "file")
    )
    assert git(place, "ls-tree", "HEAD", "out", "file", "inner").count("120000 blob") == 3
    assert not any("key" in name for name in patcher_git.list_files(place, "HEAD"))


def test_a_vendored_link_that_leads_out_is_refused(mini: Path, place: Path, tmp_path: Path) -> None:
    (tmp_path / "project" / "vendor").mkdir(parents=True)
    (tmp_path / "project" / "vendor" / "llama.cpp").symlink_to(mini)
    with pytest.raises(SourceError, match=r"is a link that leads out of .*; name the folder it leads to"):
        source.fetch(str(tmp_path / "project"), place)
    assert leftovers(place) == []


def test_what_a_folder_keeps_to_itself(mini: Path, place: Path) -> None:
    expected = snapshot(mini)
    (mini / ".q8a8-patch").mkdir()
    (mini / ".q8a8-patch" / "journal").write_text("x")
    (mini / "kompute" / ".git").mkdir(parents=True)
    (mini / "kompute" / ".git" / "config").write_text("[core]\n\tfsmonitor = evil\n")
    (mini / "kompute" / "file").write_text("kept")
    os.mkfifo(mini / "pipe")
    check(source.fetch(str(mini), place), place, expected | {"kompute/file": b"kept"})


def test_a_folder_is_not_copied_into_itself(mini: Path) -> None:
    before = snapshot(mini)
    for place in (mini / "llama.cpp", mini / "src" / "new", mini):
        with pytest.raises(UsageError):
            source.fetch(str(mini), place)
    assert snapshot(mini) == before


@pytest.mark.parametrize("missing", ["ggml/include/ggml.h", "include/llama.h"])
def test_no_llama_tree(mini: Path, place: Path, missing: str) -> None:
    (mini / missing).unlink()
    with pytest.raises(
        SourceError, match=r"mini: looked for a llama\.cpp tree \(ggml/.*\), found common, conversion, "
    ):
        source.fetch(str(mini), place)
    assert leftovers(place) == []
    assert not place.exists()


# repositories


def test_a_repository(mini_repo: Path, place: Path) -> None:
    committed = snapshot(mini_repo)
    notes = Notes()
    made = source.fetch(str(mini_repo), place, reporter=notes)
    check(made, place, committed)
    assert (made.form, made.base, made.notes) == ("git-repository", git(mini_repo, "rev-parse", "HEAD"), ())
    assert notes.warnings == []


def test_what_is_not_committed_is_left_out_and_said(mini_repo: Path, place: Path) -> None:
    committed = snapshot(mini_repo)
    (mini_repo / "include/llama.h").write_text("changed")
    (mini_repo / "new").write_text("new")
    notes = Notes()
    made = source.fetch(str(mini_repo), place, reporter=notes)
    check(made, place, committed)
    assert made.notes == ("changes that aren't committed were left out",)
    assert notes.warnings == [f"{mini_repo}: changes that aren't committed were left out"]


def test_a_ref(mini_repo: Path, place: Path) -> None:
    git(mini_repo, "tag", "v0.5.0")
    first, old = git(mini_repo, "rev-parse", "HEAD"), snapshot(mini_repo)
    (mini_repo / "later").write_text("x")
    git(mini_repo, "add", "-A")
    git(mini_repo, "commit", "-qm", "later")
    made = source.fetch(f"{mini_repo}@v0.5.0", place)
    check(made, place, old)
    assert (made.base, made.release) == (first, "v0.5.0")
    by_option = source.fetch(str(mini_repo), place.with_name("b"), ref="v0.5.0")
    assert (by_option.base, by_option.release) == (first, "v0.5.0")
    assert source.fetch(str(mini_repo), place.with_name("c"), ref=first[:10]).base == first
    with pytest.raises(SourceError, match="looked for the commit nope, found none"):
        source.fetch(str(mini_repo), place.with_name("d"), ref="nope")
    assert not place.with_name("d").exists()


def test_a_url(mini_repo: Path, place: Path) -> None:
    git(mini_repo, "tag", "b100")
    git(mini_repo, "commit", "-qm", "later", "--allow-empty")
    url = f"file://{mini_repo}"
    newest = source.fetch(url, place)
    assert (newest.form, newest.release, newest.notes) == ("git-url", "b100", (f"{url}@b100",))
    branch = source.fetch(f"{url}@main", place.with_name("b"))
    assert (branch.release, branch.base) == (None, git(mini_repo, "rev-parse", "main"))
    with pytest.raises(SourceError, match="git: fatal: Remote branch nope not found"):
        source.fetch(f"{url}@nope", place.with_name("c"))


def test_a_bundle(mini_repo: Path, place: Path, tmp_path: Path) -> None:
    git(mini_repo, "tag", "v0.5.0")
    git(mini_repo, "bundle", "create", "-q", str(tmp_path / "b.bundle"), "--all")
    made = source.fetch(str(tmp_path / "b.bundle"), place)
    check(made, place, snapshot(mini_repo))
    assert (made.form, made.base) == ("bundle", git(mini_repo, "rev-parse", "HEAD"))
    assert source.fetch(f"{tmp_path}/b.bundle@v0.5.0", place.with_name("b")).release == "v0.5.0"


def test_an_empty_repository(place: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "empty")
    with pytest.raises(SourceError, match="no commit at all"):
        source.fetch(str(tmp_path / "empty"), place)
    assert leftovers(place) == []


# archives and packages


def pack(tree: Path, archive: Path, top: str) -> Path:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as out:
            for path in sorted(tree.rglob("*")):
                out.write(path, f"{top}/{path.relative_to(tree).as_posix()}")
        return archive
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tree, arcname=top)
    return archive


@pytest.mark.parametrize(
    ("name", "top"),
    [("llama.cpp-b1.tar.gz", "llama.cpp-b1"), ("a.zip", "llama.cpp-b1"), ("flat.tgz", "."), ("sdist.tar.gz", "p-1/vendor/llama.cpp")],
)  # fmt: skip
def test_an_archive(mini: Path, place: Path, tmp_path: Path, name: str, top: str) -> None:
    expected = snapshot(mini)
    (mini / ".git").write_text("gitdir: ../../../.git/modules/vendor/llama.cpp\n")
    archive = pack(mini, tmp_path / name, top)
    made = source.fetch(str(archive), place)
    check(made, place, expected)
    assert made.form == "archive"
    (mini / ".git").unlink()
    assert made.base == source.fetch(str(mini), place.with_name("b")).base


def test_an_archive_of_something_else(mini: Path, place: Path, tmp_path: Path) -> None:
    shutil.rmtree(mini / "ggml" / "include")
    archive = pack(mini, tmp_path / "other.tar.gz", "other")
    with pytest.raises(
        SourceError, match=r"other\.tar\.gz: looked for ggml/include/ggml\.h in it, found none"
    ):
        source.fetch(str(archive), place)
    assert leftovers(place) == []


def test_a_hostile_archive_leaves_nothing(mini: Path, place: Path, tmp_path: Path) -> None:
    (mini / "link").symlink_to("/etc/passwd")
    archive = pack(mini, tmp_path / "a.tar.gz", "top")
    with pytest.raises(
        SourceError, match="'top/link' is a link that leads out, to '/etc/passwd'; nothing was unpacked"
    ):
        source.fetch(str(archive), place)
    assert leftovers(place) == []
    assert not place.exists()


def npm_package(mini_repo: Path, tmp_path: Path, info: str | None) -> Path:
    folder = tmp_path / "package"
    (folder / "llama").mkdir(parents=True)
    git(mini_repo, "bundle", "create", "-q", str(folder / "llama" / "gitRelease.bundle"), "HEAD", "main")
    if info is not None:
        (folder / "llama" / "llama.cpp.info.json").write_text(info)
    return pack(folder, tmp_path / "package.tgz", "package")


@pytest.mark.parametrize(
    ("info", "release"),
    [
        ('{"tag": "b8390"}', "b8390"),
        (None, None),
        ("{", None),
        ("[" * 100_000, None),
        ('{"tag": 1}', None),
        ('{"tag": "\\u001b[2J"}', None),
    ],
    ids=["good", "none", "cut", "deep", "number", "escape"],
)
def test_a_package_of_npm(
    mini_repo: Path,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    info: str | None,
    release: str | None,
) -> None:
    package = npm_package(mini_repo, tmp_path, info)
    monkeypatch.setattr(source.download, "npm", lambda *_: Download(package, "5ha", "3.22.1"))
    notes = Notes()
    made = source.fetch("npm:node-llama-cpp@3.22.1", place, reporter=notes)
    check(made, place, snapshot(mini_repo))
    assert (made.form, made.release, made.sha256) == ("npm", release, "5ha")
    assert made.notes == ("npm:node-llama-cpp@3.22.1", "3.22.1")
    assert bool(notes.warnings) == (release is None)


def test_a_package_without_a_bundle(
    mini: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pack(mini, tmp_path / "package.tgz", "package")
    monkeypatch.setattr(source.download, "npm", lambda *_: Download(package, "5ha", "1.0.0"))
    with pytest.raises(
        SourceError, match=r"npm:other@1\.0\.0: looked for package/llama/gitRelease\.bundle, found none"
    ):
        source.fetch("npm:other", place)
    assert leftovers(place) == []


def test_a_package_of_pypi(mini: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pack(
        mini, tmp_path / "llama_cpp_python-0.3.1.tar.gz", "llama_cpp_python-0.3.1/vendor/llama.cpp"
    )
    monkeypatch.setattr(source.download, "pypi", lambda *_: Download(package, "5ha", "0.3.1"))
    made = source.fetch("pypi:llama-cpp-python", place)
    check(made, place, snapshot(mini))
    assert (made.form, made.sha256, made.notes) == ("pypi", "5ha", ("pypi:llama-cpp-python==0.3.1", "0.3.1"))


# the destination


def test_a_folder_of_somebody_else_is_refused(mini: Path, place: Path) -> None:
    place.mkdir()
    (place / "mine").write_text("precious")
    with pytest.raises(UsageError, match="is not empty, and not a checkout that fetch made"):
        source.fetch(str(mini), place)
    assert snapshot(place) == {"mine": b"precious"}
    (place / "mine").rename(place.parent / "file")
    for bad in (place.parent / "file", place.parent / "file" / "below"):
        with pytest.raises(UsageError):
            source.fetch(str(mini), bad)
    assert leftovers(place) == ["file"]


def test_an_empty_folder_is_filled(mini: Path, place: Path, tmp_path: Path) -> None:
    place.mkdir()
    check(source.fetch(str(mini), place), place, snapshot(mini))
    (tmp_path / "really").mkdir()
    (tmp_path / "link").symlink_to("really")
    assert source.fetch(str(mini), tmp_path / "link").path == tmp_path / "really"
    (tmp_path / "dangling").symlink_to("new")
    assert source.fetch(str(mini), tmp_path / "dangling").path == tmp_path / "new"


def test_fetched_before(mini: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = source.fetch(str(mini), place)
    (place / "include/llama.h").write_text("my work")
    notes = Notes()
    assert source.fetch(str(mini), place, reporter=notes) == made
    assert "is there already" in notes.notes[0]
    assert (place / "include/llama.h").read_text() == "my work"
    monkeypatch.chdir(mini)
    assert source.fetch(".", place).base == made.base  # the same folder by another name
    place.rename(place.with_name("moved"))
    assert source.fetch(str(mini), place.with_name("moved")).path == place.with_name("moved")


def test_fetched_before_from_elsewhere(mini: Path, mini_repo: Path, place: Path, tmp_path: Path) -> None:
    shutil.copytree(mini, tmp_path / "other", ignore=shutil.ignore_patterns(".git"))
    source.fetch(str(tmp_path / "other"), place)
    before = snapshot(place)
    for text in (str(mini_repo), "npm:node-llama-cpp@1.0.0", None):
        with pytest.raises(
            UsageError, match=f"holds {tmp_path}/other, not .*; name a folder that doesn't exist yet"
        ):
            source.fetch(text, place)
    assert snapshot(place) == before


def test_fetched_before_at_another_ref(mini_repo: Path, place: Path) -> None:
    git(mini_repo, "tag", "v0.5.0")
    git(mini_repo, "tag", "b100")
    url = f"file://{mini_repo}"
    made = source.fetch(url, place, ref="main")
    assert source.fetch(url, place, ref="main") == made
    assert source.fetch(f"{url}@main", place) == made
    assert source.fetch(url, place) == made
    for ref in ("b100", "side"):
        with pytest.raises(UsageError, match=f"holds {url} at main, not {url} at {ref}"):
            source.fetch(url, place, ref=ref)
    newest = source.fetch(url, place.with_name("b"))
    assert source.fetch(url, place.with_name("b"), ref="v0.5.0") == newest


def test_the_default_at_another_ref(mini_repo: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(mini_repo, "tag", "b100")
    monkeypatch.setattr(source, "DEFAULT_URL", f"file://{mini_repo}")
    made = source.fetch(None, place)
    assert source.fetch(None, place, ref="b100") == made
    with pytest.raises(UsageError, match=f"holds file://{mini_repo}, not file://{mini_repo} at b8390"):
        source.fetch(None, place, ref="b8390")


@pytest.mark.parametrize("marker", ["", "{", "[]", "{}", "3", '{"asked": 1}', "\udcff"])
def test_a_marker_that_cannot_be_read(mini: Path, place: Path, marker: str) -> None:
    source.fetch(str(mini), place)
    (place / ".git" / "q8a8-patch.json").write_bytes(os.fsencode(marker))
    with pytest.raises(UsageError, match=r"q8a8-patch\.json: can't be read"):
        source.fetch(str(mini), place)


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), OSError(28, "No space left on device"), SourceError("x")]
)
@pytest.mark.parametrize("step", ["init_with_commit", "record_base"])
def test_interrupted(
    mini: Path, place: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, step: str
) -> None:
    def fail(*_: object) -> str:
        assert leftovers(place) != []  # work is under way, beside the destination
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(patcher_git, step, fail)
        expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else SourceError
        with pytest.raises(expected):
            source.fetch(str(mini), place)
    assert leftovers(place) == []
    assert not place.exists()
    check(source.fetch(str(mini), place), place, snapshot(mini))


# the default


Attempt = Callable[..., source.Checkout]


@pytest.fixture
def attempts(mini: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Say which of the three ways work; gives the list of those that were tried."""

    def only(*working: str) -> list[str]:
        tried: list[str] = []

        def way(name: str, note: str) -> Attempt:
            def attempt(locator: source.Locator, place: Path, _: object) -> source.Checkout:
                tried.append(f"{name} {locator.name}")
                place.mkdir()
                if name not in working:
                    (place / "half").write_text("x")
                    raise SourceError(f"{name} is out of reach")
                shutil.copytree(mini, place, dirs_exist_ok=True)
                commit = patcher_git.init_with_commit(place, "x")
                return source.Checkout(place, commit, locator.text, locator.form.value, None, None, (note,))

            return attempt

        monkeypatch.setattr(source, "_git_url", way("git", f"{source.DEFAULT_URL}@v1.0.0"))
        monkeypatch.setattr(source, "_npm", way("npm", "npm:node-llama-cpp@1.0.0"))
        monkeypatch.setattr(source, "_pypi", way("pypi", "pypi:llama-cpp-python==1.0.0"))
        return tried

    return only


GIT, NPM, PYPI = f"git {source.DEFAULT_URL}", "npm node-llama-cpp", "pypi llama-cpp-python"


def test_the_default_is_the_repository(mini: Path, place: Path, attempts: Callable[..., list[str]]) -> None:
    tried, notes = attempts("git", "npm", "pypi"), Notes()
    made = source.fetch(None, place, reporter=notes)
    check(made, place, snapshot(mini))
    assert (tried, notes.warnings, made.locator) == ([GIT], [], source.DEFAULT_URL)


@pytest.mark.parametrize(
    ("working", "expected", "note"),
    [
        ("npm", [GIT, NPM], "npm:node-llama-cpp@1.0.0"),
        ("pypi", [GIT, NPM, PYPI], "pypi:llama-cpp-python==1.0.0"),
    ],
)
def test_the_default_falls_back_and_says_so(
    mini: Path, place: Path, attempts: Callable[..., list[str]], working: str, expected: list[str], note: str
) -> None:
    tried, notes = attempts(working), Notes()
    made = source.fetch(None, place, reporter=notes)
    check(made, place, snapshot(mini))
    assert tried == expected
    said = f"{source.DEFAULT_URL} can't be reached, this is {note}"
    assert notes.warnings == [f"{said} (git is out of reach)"]
    assert made.notes == (note, said)
    assert made.locator == note  # not the address that couldn't be reached
    assert source.fetch(None, place) == made
    assert tried == expected  # reused, not tried again


def test_no_way_at_all(place: Path, attempts: Callable[..., list[str]]) -> None:
    tried = attempts()
    with pytest.raises(SourceError) as caught:
        source.fetch(None, place)
    assert str(caught.value) == (
        "no source of llama.cpp can be reached: git is out of reach; npm is out of reach; pypi is out of reach; "
        "name one with --source"
    )
    assert tried == [GIT, NPM, PYPI]
    assert leftovers(place) == []


def test_a_ref_is_in_the_repository_only(place: Path, attempts: Callable[..., list[str]]) -> None:
    tried = attempts("npm", "pypi")
    with pytest.raises(SourceError, match="git is out of reach"):
        source.fetch(None, place, ref="b1")
    assert tried == [GIT]


# the command


def test_the_command(mini: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["fetch", "--source", str(mini), str(place)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{place}: {mini} ({patcher_git.head(place)[:12]})\n"  # type: ignore[index]
    assert err == ""
    assert cli.run(["fetch", "--source", str(mini), str(place), "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_the_command_gives_json(mini_repo: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mini_repo / "new").write_text("x")
    for expected in ("changes that aren't committed", "is there already"):
        assert cli.run(["fetch", "--source", str(mini_repo), str(place), "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out) == {
            "path": str(place),
            "base": git(mini_repo, "rev-parse", "HEAD"),
            "locator": str(mini_repo),
            "kind": "git-repository",
            "release": None,
            "sha256": None,
            "notes": ["changes that aren't committed were left out"],
        }
        assert expected in err
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ["--source", "{tmp}/missing", "{tmp}/out/x"],
            4,
            "missing: looked for a file or folder of that name",
        ),
        (["--source", "{tmp}/bad.tar.gz", "{tmp}/out/x"], 4, "bad.tar.gz: can't be read as an archive"),
        (["--source", "{tmp}/bad.bundle", "{tmp}/out/x"], 4, "bad.bundle"),
        (["--source", "npm:a b", "{tmp}/out/x"], 2, "not a package and version; write it like npm:"),
        (["--source", "{tmp}/mini", "{tmp}/mini"], 2, "is not empty, and not a checkout that fetch made"),
        (
            ["--source", "{tmp}/mini", "--ref", "b1", "{tmp}/out/x"],
            2,
            "looked for the ref b1, found a folder without git",
        ),
        (
            ["--source", "{tmp}/mini", "--ref", "--x", "{tmp}/out/x"],
            2,
            "--ref '--x': looked for a branch, tag or commit",
        ),
        (["--source", "{tmp}/mini", "{tmp}/bad.tar.gz/x"], 2, "bad.tar.gz: can't be made (File exists)"),
        (["--nope"], 2, "No such option"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_fails_in_one_line(
    mini: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    arguments: list[str], code: int, says: str, as_json: bool,
) -> None:  # fmt: skip
    (tmp_path / "bad.tar.gz").write_bytes(b"rubbish")
    (tmp_path / "bad.bundle").write_bytes(b"# v2 git bundle\nrubbish")
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    assert cli.run(["fetch", *given, *(["--json"] if as_json else [])]) == code
    out, err = capsys.readouterr()
    if as_json:  # the error is a document on stdout, too
        found = json.loads(out)["error"]
        assert found["exit_code"] == code
        assert found["message"] in err
    else:
        assert out == ""
    assert err.startswith("error: ")
    assert says in err
    assert len(err.splitlines()) == 1
    assert leftovers(place) == []
