"""What somebody asked to be written: whole or not at all, and refused before the work rather than after it."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import ExitCode, UsageError
from patcher.base.files import made_whole, require_place, write_wanted
from patcher.model.gguf import GgufError
from patcher.model.gguf_writer import GgufWriter


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    place.write_text("old", encoding="utf-8")
    assert write_wanted(place, "new\n") == place
    assert place.read_text(encoding="utf-8") == "new\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a.txt"
    place.write_text("old", encoding="utf-8")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        UsageError, match=r"a\.txt: can't be written \(No space left on device\); free some space"
    ):
        write_wanted(place, "new")
    assert place.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name here")
def test_pipes_and_links_stay_what_they_are(tmp_path: Path) -> None:
    pipe, link, target = tmp_path / "pipe", tmp_path / "link.md", tmp_path / "target.md"
    os.mkfifo(pipe)
    target.write_text("old", encoding="utf-8")
    link.symlink_to(target)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text("utf-8")), daemon=True)
    reader.start()
    write_wanted(pipe, "through")
    write_wanted(link, "new")
    reader.join(timeout=60)
    assert read == ["through"]
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "new"


def test_what_is_no_place(tmp_path: Path) -> None:
    require_place(tmp_path / "a.txt")
    with pytest.raises(UsageError, match=r"b\.txt: can't be written: looked for the folder .*no, found none"):
        require_place(tmp_path / "no" / "b.txt")
    with pytest.raises(UsageError, match="it is a folder"):
        write_wanted(tmp_path, "text")


@pytest.mark.parametrize(
    "arguments",
    [
        ("drift", "TREE", "--picture", "OUT"),
        ("guard", "check", "--source", "TREE", "--sarif", "OUT"),
        ("guard", "check", "--source", "TREE", "--gitlab", "OUT"),
        ("guard", "check", "--source", "TREE", "--summary", "OUT"),
        ("guard", "watch", "--upstream", "TREE", "--summary", "OUT"),
        ("verify-symbols", "TREE", "--write-baseline", "OUT"),
        ("evaluate", "run", "TREE/model.gguf", "--text", "TREE/text.txt", "--html", "OUT"),
        ("evaluate", "run", "TREE/model.gguf", "--text", "TREE/text.txt", "--markdown", "OUT"),
        ("evaluate", "run", "TREE/model.gguf", "--text", "TREE/text.txt", "--output-json", "OUT"),
    ],
    ids=lambda arguments: f"{arguments[0]} {arguments[-2]}",
)
def test_every_verb_says_it_before_the_work(
    arguments: tuple[str, ...],
    mini_repo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "no" / "out.txt"
    words = [word.replace("TREE", str(mini_repo)).replace("OUT", str(out)) for word in arguments]
    assert cli.run(words) == ExitCode.USAGE
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"error: {out}: can't be written: looked for the folder {out.parent}, found none;")
    assert said.out == ""


def test_a_draft_waits_for_nobody(tmp_path: Path) -> None:
    place, names = tmp_path / "model.gguf", set()
    for _ in "ab":
        with made_whole(place) as draft:
            names.add(draft.name)
            assert draft.stat().st_size == 0
            draft.write_bytes(b"whole")
    assert len(names) == 2
    assert all(re.fullmatch(r"\.model\.[0-9a-f]{12}-\d+-[0-9a-f]{32}\.draft\.gguf", name) for name in names)
    assert place.read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


@pytest.mark.parametrize("why", [KeyboardInterrupt(), RuntimeError(), OSError(28, "full")])
def test_a_draft_that_is_not_finished_is_gone(tmp_path: Path, why: BaseException) -> None:
    place = tmp_path / "model.gguf"
    place.write_bytes(b"older")

    def fail() -> None:
        with made_whole(place) as draft:
            draft.write_bytes(b"half")
            raise why

    with pytest.raises((type(why), UsageError)):
        fail()
    assert place.read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_a_link_in_the_place_of_a_models_draft_is_not_followed(tmp_path: Path) -> None:
    victim, draft = tmp_path / "victim", tmp_path / "s.gguf.part"
    victim.write_bytes(b"precious")
    for make in (draft.symlink_to, draft.hardlink_to):
        make(victim)
        with GgufWriter(draft, {}, ()) as writer:
            writer.sync()
        assert not draft.is_symlink()
        draft.unlink()
    draft.symlink_to(victim)
    with pytest.raises(GgufError, match="can't be written"):
        GgufWriter(draft, {}, (), resume=True)
    assert victim.read_bytes() == b"precious"
