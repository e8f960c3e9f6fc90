"""Records and sources whose few bytes stand for many: refused in one line, without taking the memory."""

from __future__ import annotations

import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.bounded import MAX_SOURCE, TooLongError, inflated, opened
from patcher.base.errors import UsageError
from patcher.base.folder import Folder
from patcher.engine import records
from patcher.engine.journal import Journal
from patcher.engine.records import Entry, Facts, digest
from patcher.engine.tree import CommitTree, WorkTree
from tests.conftest import git as run_git

Cut = tuple[str, int, int, bytes]
Planted = Callable[[list[Cut], bytes], Path]


@pytest.fixture
def planted(mini_repo: Path) -> Planted:
    """A record of an apply, under a seal of ours: one of a stranger's is not even looked into."""

    def plant(cuts: list[Cut], packed: bytes) -> Path:
        place = mini_repo / ".git/q8a8-patch/top/applied/0001"
        place.mkdir(parents=True)
        now = digest((mini_repo / "include/llama.h").read_bytes())
        before = inflated(packed, 64 * MAX_SOURCE)
        with Folder.open(place) as folder:
            records.write(
                folder,
                "0001",
                [(Entry("include/llama.h", digest(before), now, tuple(cuts)), None)],
                Facts(),
            )
        (place / "0.before").write_bytes(packed)
        return mini_repo

    return plant


def _peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return peak


def test_a_record_of_zeros_takes_no_memory(planted: Planted) -> None:
    tree = planted([], zlib.compress(bytes(20 * MAX_SOURCE), 9))

    def read() -> None:
        with pytest.raises(UsageError, match=r"none that makes sense.*more than"):
            Journal(WorkTree(tree)).applied[0].before(0)

    assert _peak(read) < 8 * MAX_SOURCE  # of twenty; zlib doubles its buffer as it goes


def test_cuts_that_go_backwards_repeat_nothing(planted: Planted) -> None:
    cut = ("enum", 0, 200_000, b"x")
    tree = planted([cut] * 5000, zlib.compress(bytes(200_000)))  # a gigabyte, if each were believed

    def read() -> None:
        with pytest.raises(UsageError, match="edit enum cuts from 0 to 200000"):
            Journal(WorkTree(tree)).applied[0].after(0)

    assert _peak(read) < 64 << 20


def test_a_deeply_nested_manifest_is_no_record(planted: Planted) -> None:
    tree = planted([], zlib.compress(b""))
    record = next(tree.glob(".git/q8a8-patch/top/applied/0001/record"))
    record.write_text(record.read_text().splitlines()[0] + "\n" + "[" * 200_000)
    journal = Journal(WorkTree(tree))
    assert journal.applied == []
    assert journal.strangers == [record.parent]


def test_the_command_says_so_in_one_line(planted: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    tree = planted([], zlib.compress(bytes(4 * MAX_SOURCE), 9))
    assert cli.run(["revert", "-q", str(tree)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "0.before: looked for a record of an apply, found none that makes sense" in said


def test_a_sparse_source_is_not_read(mini_repo: Path) -> None:
    with (mini_repo / "include/llama.h").open("r+b") as file:
        file.truncate(500 << 20)

    def read() -> None:
        with pytest.raises(UsageError, match=r"found another .it has 524288000 bytes"):
            WorkTree(mini_repo).read("include/llama.h")

    assert _peak(read) < 1 << 20


def test_a_long_blob_is_not_read(mini_repo: Path) -> None:
    (mini_repo / "include/llama.h").write_bytes(bytes(4 * MAX_SOURCE))
    run_git(mini_repo, "add", "include/llama.h")
    run_git(mini_repo, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "zeros")
    tree = CommitTree(mini_repo, "HEAD")

    def read() -> None:
        with pytest.raises(UsageError, match=f"found {4 * MAX_SOURCE} bytes"):
            tree.read("include/llama.h")

    read()  # what is imported on the way isn't the blob's
    assert _peak(read) < MAX_SOURCE
    assert tree.read("ggml/include/ggml.h")  # another question is still answered


def test_what_is_read_has_an_end() -> None:
    assert inflated(zlib.compress(b"abc"), 3) == b"abc"
    with pytest.raises(TooLongError):
        inflated(zlib.compress(b"abcd"), 3)
    with pytest.raises(zlib.error, match="cut off"):
        inflated(zlib.compress(b"abcd")[:-2], 4)
    with pytest.raises(TooLongError, match="no regular file"):
        opened(os.open("/dev/null", os.O_RDONLY), 3)
