"""Trees that want us to write elsewhere, or to believe records that we did not make."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patcher import cli
from patcher.base import folder as folder_module
from patcher.base.errors import TreeChangedError, UsageError
from patcher.base.folder import Folder
from patcher.engine import records, seal, step, transaction
from patcher.engine.journal import Journal
from patcher.engine.patchset import load
from patcher.engine.records import Entry, Facts, digest
from patcher.engine.tree import WorkTree
from tests.conftest import git, snapshot

PATCHSET = load()
NEW = "ggml/src/ggml-cpu/q8-a8/kernels.h"
STATE = ".git/q8a8-patch/top"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    place = tmp_path / "victim"
    place.write_bytes(b"precious")
    return place


def everything(folder: Path) -> dict[str, bytes | None]:
    """All that lies below ``folder``, git's own folder too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


# ---------------------------------------------------------------- places that we write


@pytest.mark.parametrize(
    "name", [f"{STATE}/draft", f"{STATE}/manifest.draft", f"{Path(NEW).parent}/.kernels.h.q8a8-patch"]
)
@pytest.mark.parametrize("how", ["symbolic", "hard"])
def test_a_name_that_waits_for_us_is_never_written(
    mini_repo: Path, victim: Path, name: str, how: str
) -> None:
    place = mini_repo / name
    place.parent.mkdir(parents=True)
    place.symlink_to(victim) if how == "symbolic" else place.hardlink_to(victim)
    assert cli.run(["apply", "-q", str(mini_repo)]) == 0
    assert cli.run(["revert", "-q", str(mini_repo)]) == 0
    assert victim.read_bytes() == b"precious"


def test_no_draft_has_a_name_that_can_be_known(mini_repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = Folder.create

    def create(self: Folder, name: str, *arguments: object, **named: object) -> None:
        made.append(name)
        real(self, name, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Folder, "create", create)
    for _ in "ab":
        transaction.apply(WorkTree(mini_repo), PATCHSET)
        transaction.revert(WorkTree(mini_repo))
    drafts = [name for name in made if name.startswith(".q8a8-patch-")]
    assert len(drafts) == len(set(drafts)) > 100
    assert all(len(name.split("-")[2]) == 32 for name in drafts)


def test_an_expected_name_that_is_there_all_the_same_is_refused(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "draft").symlink_to(victim)
    (tmp_path / "hard").hardlink_to(victim)
    with Folder.open(tmp_path) as folder:
        for name in ("draft", "hard"):
            with pytest.raises(FileExistsError):
                folder.create(name, b"evil")
    assert victim.read_bytes() == b"precious"


def _folder(place: Path, victim: Path) -> None:
    place.mkdir()
    (place / "kept").write_bytes(b"kept")


def _fifo(place: Path, victim: Path) -> None:
    os.mkfifo(place)


def _link(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def _hanging(place: Path, victim: Path) -> None:
    place.symlink_to(victim.with_name("new"))


def _socket(place: Path, victim: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(place.parent)  # a socket's name must be short
        try:
            made.bind(place.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize("what", [_folder, _fifo, _link, _hanging, _socket])
@pytest.mark.parametrize("at", [NEW, str(Path(NEW).parent)])
def test_what_lies_in_the_place_of_a_new_file(
    mini_repo: Path, victim: Path, what: Callable[[Path, Path], None], at: str
) -> None:
    if what is _folder and at != NEW:
        pytest.skip("a folder is what belongs there")
    place = mini_repo / at
    place.parent.mkdir(exist_ok=True)
    what(place, victim)
    before = snapshot(mini_repo)
    assert cli.run(["apply", "-q", str(mini_repo)]) in (2, 6)
    assert snapshot(mini_repo) == before
    assert victim.read_bytes() == b"precious"
    assert not victim.with_name("new").exists()
    assert Journal(WorkTree(mini_repo)).pending is None


@pytest.mark.parametrize("path", ["ggml/include/ggml.h", "ggml/src/ggml-cpu/ops.cpp"])
def test_a_hard_link_to_a_file_outside_is_cut(mini_repo: Path, victim: Path, path: str) -> None:
    shutil.copy(mini_repo / path, victim)
    before = victim.read_bytes()
    (mini_repo / path).unlink()
    (mini_repo / path).hardlink_to(victim)
    transaction.apply(WorkTree(mini_repo), PATCHSET)
    assert victim.read_bytes() == before
    assert b"q8_a8" in (mini_repo / path).read_bytes().lower()


@pytest.mark.parametrize("when", range(5))
def test_a_folder_that_becomes_a_link_while_we_write(
    mini_repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    """Exchanged at each moment between the look at a folder and the rename in it."""
    outside = tmp_path / "outside"
    folder = mini_repo / "ggml/src/ggml-cpu"
    shutil.copytree(folder, outside)
    before, count = everything(outside), 0

    def exchange() -> None:
        nonlocal count
        count += 1
        if count == (1, 2, 30, 60, 80)[when]:
            folder.rename(folder.with_name("real"))
            folder.symlink_to(outside)

    real_create, real_rename = Folder.create, Folder.rename

    def create(self: Folder, name: str, data: bytes, **named: Any) -> None:
        exchange()
        real_create(self, name, data, **named)

    def rename(self: Folder, name: str, to: str) -> None:
        exchange()
        real_rename(self, name, to)

    monkeypatch.setattr(Folder, "create", create)
    monkeypatch.setattr(Folder, "rename", rename)
    code = cli.run(["apply", "-q", str(mini_repo)])
    assert folder.is_symlink()  # it did happen
    assert everything(outside) == before
    assert code in (2, 6)
    monkeypatch.undo()
    folder.unlink()
    folder.with_name("real").rename(folder)


def test_a_file_that_becomes_a_link_while_we_write(
    mini_repo: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real = snapshot(mini_repo), step._swap

    def swap(root: Folder, record: records.Record, number: int, *contents: bytes | None) -> bool:
        if number == 20:
            place = mini_repo / record.entries[number].path
            place.unlink(missing_ok=True)
            place.symlink_to(victim)
        return real(root, record, number, *contents)

    monkeypatch.setattr(step, "_swap", swap)
    with pytest.raises((TreeChangedError, UsageError), match="symbolic link"):
        transaction.apply(WorkTree(mini_repo), PATCHSET)
    assert victim.read_bytes() == b"precious"
    links = [path for path in mini_repo.rglob("*") if path.is_symlink()]
    assert len(links) == 1
    links[0].unlink()
    left = {path: data for path, data in snapshot(mini_repo).items() if before.get(path) != data}
    assert not left  # all others were put back


@pytest.mark.skipif(not folder_module.HANDLES, reason="this system has no handles of folders")
@pytest.mark.parametrize("what", ["file", "folder", "folder that leads nowhere"])
def test_what_becomes_a_link_while_we_read(
    what: str, mini_repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exchanged behind the look at it, before it is opened: nothing of outside is read."""
    outside, path = tmp_path / "outside", "ggml/include/ggml.h"
    outside.mkdir()
    (outside / "ggml.h").write_bytes(b"a secret")
    tree, real = WorkTree(mini_repo), Folder.open

    def opened(place: Path) -> Folder:
        spot = mini_repo / path if what == "file" else (mini_repo / path).parent
        spot.rename(spot.with_name("real"))
        spot.symlink_to(outside / "ggml.h" if what == "file" else outside if what == "folder" else "gone")
        return real(place)

    monkeypatch.setattr(Folder, "open", opened)
    with pytest.raises(UsageError, match="is a symbolic link"):
        tree.read(path)


def test_without_handles_names_are_looked_at(
    mini_repo: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: the same ends, where nobody exchanges a folder meanwhile."""
    monkeypatch.setattr(folder_module, "HANDLES", False)
    before = snapshot(mini_repo)
    transaction.apply(WorkTree(mini_repo), PATCHSET)
    assert snapshot(mini_repo) != before
    transaction.revert(WorkTree(mini_repo))
    assert snapshot(mini_repo) == before
    (mini_repo / NEW).parent.mkdir()
    (mini_repo / NEW).symlink_to(victim)
    assert cli.run(["apply", "-q", str(mini_repo)]) in (2, 6)
    assert victim.read_bytes() == b"precious"


# ---------------------------------------------------------------- the folder of the records


def test_a_git_folder_elsewhere_must_name_this_tree(mini_repo: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (mini_repo / ".git").rename(elsewhere)
    (mini_repo / ".git").write_text(f"gitdir: {elsewhere}\n", encoding="utf-8")
    before = everything(elsewhere)
    for verb in ("apply", "status", "diff", "revert"):
        assert cli.run([verb, "-q", str(mini_repo)]) == 2
    assert everything(elsewhere) == before
    git(elsewhere, "config", "core.worktree", str(mini_repo))  # as git says it of a submodule's
    assert cli.run(["apply", "-q", str(mini_repo)]) == 0
    assert cli.run(["revert", "-q", str(mini_repo)]) == 0


def test_a_worktrees_folder_that_names_another(mini_repo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(mini_repo, "worktree", "add", "-q", "--detach", str(other))
    thief = tmp_path / "thief"
    shutil.copytree(other, thief)  # its .git names the git folder of other
    assert cli.run(["apply", "-q", str(thief)]) == 2
    assert cli.run(["apply", "-q", str(other)]) == 0


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("name", [".git", ".git/q8a8-patch", STATE])
def test_a_folder_that_anybody_may_write(mini_repo: Path, name: str) -> None:
    (mini_repo / name).mkdir(parents=True, exist_ok=True)
    (mini_repo / name).chmod(0o777)
    before = everything(mini_repo)
    assert cli.run(["apply", "-q", str(mini_repo)]) == 2
    assert everything(mini_repo) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user(mini_repo: Path) -> None:
    (mini_repo / STATE).mkdir(parents=True)
    os.chown(mini_repo / STATE, 12345, 12345)
    assert cli.run(["apply", "-q", str(mini_repo)]) == 2


def test_a_lock_is_neither_emptied_nor_waited_for(mini_repo: Path, victim: Path) -> None:
    lock = mini_repo / STATE / "lock"
    lock.parent.mkdir(parents=True)
    lock.hardlink_to(victim)
    assert cli.run(["apply", "-q", str(mini_repo)]) == 0
    assert victim.read_bytes() == b"precious"
    lock.unlink()
    os.mkfifo(lock)
    assert cli.run(["revert", "-q", str(mini_repo)]) == 2


# ---------------------------------------------------------------- records


def plant(tree: Path, name: str, sealed: bool) -> bytes:
    """A record that would turn llama.h into something else; what llama.h is now."""
    now = (tree / "include/llama.h").read_bytes()
    place = tree / STATE / name
    place.mkdir(parents=True)
    entry = Entry("include/llama.h", digest(b"evil"), digest(now), (("enum", 0, 4, now),))
    with Folder.open(place) as folder:
        records.write(folder, name, [(entry, b"evil")], Facts(token="0" * 32))
    if not sealed:
        file = place / "record"
        file.write_bytes(file.read_bytes().replace(b'"q8_a8"', b'"q8_a9"'))
    return now


@pytest.mark.parametrize("name", ["pending", "applied/0001"])
def test_records_of_others_are_not_believed(
    mini_repo: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(mini_repo, name, sealed=False)
    before = everything(mini_repo / STATE)
    files = snapshot(mini_repo)
    for verb in (["status"], ["diff"], ["audit"], ["apply", "--dry-run"], ["revert"]):
        code = cli.run([verb[0], str(mini_repo), *verb[1:]])
        assert code in (0, 1) if verb[0] != "revert" else code == 2, verb
        assert snapshot(mini_repo) == files
        if verb[0] in ("status", "diff"):
            assert "not believed" in capsys.readouterr().err
    now = everything(mini_repo / STATE)
    now.pop("lock", None)
    assert now == before
    # and ours is: a record that nobody has touched
    shutil.rmtree(mini_repo / STATE)
    plant(mini_repo, name, sealed=True)
    cli.run(["revert", "-q", str(mini_repo)])
    assert (mini_repo / "include/llama.h").read_bytes() == b"evil"


def test_over_an_interrupted_run_of_another_nothing_is_written(mini_repo: Path) -> None:
    plant(mini_repo, "pending", sealed=False)
    before = snapshot(mini_repo)
    with pytest.raises(UsageError, match="not of this user's; look at the tree"):
        transaction.apply(WorkTree(mini_repo), PATCHSET)
    assert snapshot(mini_repo) == before


def test_looking_writes_nothing_even_where_a_run_was_cut_off(
    mini_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = plant(mini_repo, "pending", sealed=True)
    before = everything(mini_repo)
    for verb in (
        ["status", str(mini_repo)],
        ["diff", str(mini_repo)],
        ["audit", str(mini_repo)],
        ["export", str(mini_repo), "-o", str(tmp_path / "series")],
        ["fixes", str(mini_repo)],
        ["apply", str(mini_repo), "--dry-run"],
    ):
        cli.run([*verb, "-q"])
        after = {path: data for path, data in everything(mini_repo).items() if "/objects/" not in path}
        assert after == {path: data for path, data in before.items() if "/objects/" not in path}, verb
    assert "between two states" in capsys.readouterr().err
    assert (mini_repo / "include/llama.h").read_bytes() == now


def test_a_copy_of_a_tree_keeps_its_undo_and_another_users_does_not(
    mini_repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(mini_repo)
    transaction.apply(WorkTree(mini_repo), PATCHSET)
    copy = tmp_path / "copy"
    shutil.copytree(mini_repo, copy)
    transaction.revert(WorkTree(copy))
    assert snapshot(copy) == before
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another"))
    with pytest.raises(UsageError, match="found none; patched elsewhere, or copied\\? go back with git"):
        transaction.revert(WorkTree(mini_repo))
    assert transaction.observed(WorkTree(mini_repo), PATCHSET).state == "applied"


# ---------------------------------------------------------------- the secret


def test_the_secret_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert not seal.is_ours(b"x", "0" * 64)
    assert not (tmp_path / "data").exists()  # asking makes none
    said = seal.seal(b"x")
    key = tmp_path / "data/q8a8-patch/record-key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    assert seal.is_ours(b"x", said)
    assert not seal.is_ours(b"y", said)
    key.chmod(0o644)
    with pytest.raises(UsageError, match="record-key: others than this user may use it"):
        seal.is_ours(b"x", said)
    key.unlink()
    key.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a symbolic link"):
        seal.seal(b"x")


def test_without_a_home_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file" / "data"))
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="set XDG_DATA_HOME to a folder of your own"):
        seal.seal(b"x")
