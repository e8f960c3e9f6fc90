"""Each git command that we use with each setting that can run something: no canary sings."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from patcher import git as patcher_git
from patcher.base.errors import PatcherError, UsageError
from patcher.git.shadow import shadow
from tests.git_canaries import FLOCKS, SETTINGS, aviary, ours, pattern, plain, used, words

PAGE = Path(__file__).parents[2] / "docs/reference/git-settings.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pattern(tmp_path_factory.mktemp("canaries"))


@pytest.mark.slow  # no build: every verb with every setting
@pytest.mark.parametrize(
    "names",
    [
        *(pytest.param(flock, id=flock[0]) for flock in FLOCKS),
        # one by one, as the page has them
        *(pytest.param((name,), id=f"{name} alone", marks=pytest.mark.exhaustive) for name in SETTINGS),
    ],
)
def test_no_command_runs_what_a_repository_names(names: tuple[str, ...], made: Path, tmp_path: Path) -> None:
    birds = aviary(tmp_path / "cage", made, *names)
    done = set()
    for verb in sorted(used() - {"init", "config", "clone"}):  # commit and checkout do these, too
        try:
            ours(verb, birds)
            done.add(verb)
        except PatcherError as why:
            assert names == ("promisor",), why  # noqa: PT017 - only this one lacks an object
        assert not birds.run(), verb
    assert {"status", "log", "show", "rev-parse"} - done <= {"show", "log"}


def test_every_setting_is_in_a_flock() -> None:
    assert sorted(name for flock in FLOCKS for name in flock) == sorted(SETTINGS)


@pytest.mark.parametrize(
    ("verb", "name"),
    [("status", "filter.clean"), ("status", "core.fsmonitor"), ("status", "include.path"), ("status", "includeIf"),
     ("add", "filter.clean"), ("show", "diff.*.textconv"), ("log", "gpg.program"), ("update-ref", "hooks"),
     ("update-ref", "core.hooksPath"), ("fetch", "core.alternateRefsCommand"), ("commit", "hooks")],
)  # fmt: skip
def test_the_canaries_do_sing(verb: str, name: str, made: Path, tmp_path: Path) -> None:
    birds = aviary(tmp_path / "cage", made, name)
    given, stdin = words(verb, birds)
    plain(birds.repo, *given, stdin=stdin)
    assert birds.run()


def test_one_sings_in_the_nested_repository(made: Path, tmp_path: Path) -> None:
    birds = aviary(tmp_path / "cage", made, "filter.clean")
    plain(birds.repo, "config", "--remove-section", "filter.evil")
    plain(birds.repo, "status")
    assert birds.run()
    assert patcher_git.is_dirty(birds.repo)
    assert not birds.run()


def test_the_page_has_every_command_and_setting() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    columns = {cell.strip() for cell in rows[0].split("|")[2:-1]}
    assert columns == used()
    assert {"status", "log", "show", "add", "clone", "fetch", "update-ref"} <= columns
    assert [row.split("|")[1].strip().replace("\\*", "*") for row in rows[2:]] == list(SETTINGS)
    assert "RUN" not in "".join(rows)
    assert re.search(r", 0 run\.", text)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize(
    "place",
    [".gitignore", ".gitattributes", "d/.gitignore", ".git/info/exclude", ".git/info/attributes", ".git/config",
     ".git/HEAD", ".git/index", ".git/packed-refs", ".git/shallow", ".git/commondir", ".git/refs/heads/pipe",
     ".git/objects/info/alternates", ".git/info/sparse-checkout", "inner/.git/config", "inner/.git/HEAD"],
)  # fmt: skip
def test_git_waits_at_no_pipe(place: str, made: Path, tmp_path: Path) -> None:
    birds = aviary(tmp_path / "cage", made, "trace2")
    there = birds.repo / place
    there.parent.mkdir(exist_ok=True)
    there.unlink(missing_ok=True)
    os.mkfifo(there)
    start = time.monotonic()
    try:
        patcher_git.is_dirty(birds.repo)
    except UsageError as why:
        assert place.rpartition("/")[2] in str(why) or "git" in str(why)  # noqa: PT017
    assert time.monotonic() - start < 20


def test_a_file_named_dot_git_that_is_a_pipe(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    (tmp_path / "tree").mkdir()
    os.mkfifo(tmp_path / "tree/.git")
    with pytest.raises(UsageError, match="found a pipe"):
        patcher_git.git_dir(tmp_path / "tree")


@pytest.mark.parametrize(
    "key", ["core.attributesFile", "core.excludesFile", "include.path", "core.fsmonitor"]
)
def test_settings_that_never_end(key: str, made: Path, tmp_path: Path) -> None:
    birds = aviary(tmp_path / "cage", made, "trace2")
    plain(birds.repo, "config", "--file", ".git/config", key, "/dev/zero")
    assert "text" in patcher_git.is_dirty(birds.repo)
    assert patcher_git.head(birds.repo)


def test_what_is_kept_of_a_configuration(made: Path, tmp_path: Path) -> None:
    birds = aviary(tmp_path / "cage", made, "filter.clean")
    seen = shadow(birds.repo)
    kept = (seen.folder / "config").read_text()
    assert "evil" not in kept
    assert "filemode" in kept
    assert seen.folder.stat().st_mode & 0o777 == 0o700
