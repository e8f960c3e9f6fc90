"""Upstream watched: the cause, and the one issue about it, on a service of our own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import SourceError, UsageError
from patcher.guard import Watched, watch
from patcher.guard.issue import LABEL, MARKER, body_of, keep
from patcher.guard.trackers import GitHub, GitLab, tracker
from tests.conftest import FIXTURES, git
from tests.issue_server import TOKEN, Service, serving


@pytest.fixture
def service() -> Iterator[Service]:
    with serving() as one:
        yield one


@pytest.fixture
def upstream(mini_repo: Path) -> Path:
    """Three commits, of which the second takes an anchor away."""
    header = mini_repo / "include/llama.h"
    text = header.read_text(encoding="utf-8")
    header.write_text(text.replace("enum llama_ftype {", "enum llama_kind {"), encoding="utf-8")
    git(mini_repo, "commit", "-qam", "llama : rename @you <b> \x1b[31m `enum`")
    (mini_repo / "README.md").write_text("more\n", encoding="utf-8")
    git(mini_repo, "add", "-A")
    git(mini_repo, "commit", "-qm", "docs")
    return mini_repo


def mended(upstream: Path) -> None:
    header = upstream / "include/llama.h"
    text = header.read_text(encoding="utf-8")
    header.write_text(text.replace("enum llama_kind {", "enum llama_ftype {"), encoding="utf-8")
    git(upstream, "commit", "-qam", "back")


def test_the_cause_is_found(upstream: Path, tmp_path: Path) -> None:
    found = watch(str(upstream), tmp_path / "work")
    assert found.broken
    assert {cause.edit for cause in found.drift.causes} == {"llama-ftype"}
    assert found.drift.causes[0].commit == git(upstream, "rev-parse", "HEAD~1")


def test_a_url_is_fetched_and_fetched_again(upstream: Path, tmp_path: Path) -> None:
    url, work = f"file://{upstream}", tmp_path / "work"
    assert watch(url, work).drift.first_bad is not None
    mended(upstream)
    found = watch(url, work)
    assert not found.broken
    assert found.drift.revisions[-1].commit == git(upstream, "rev-parse", "HEAD")


def test_it_looks_as_far_back_as_it_takes(
    upstream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2000-01-01T00:00:00Z")
    git(upstream, "commit", "-q", "--amend", "--no-edit")
    with pytest.raises(SourceError):
        watch(f"file://{upstream}", tmp_path / "work", days=1)


@pytest.mark.parametrize(
    "url", ["ext::sh -c true", "--upload-pack=x", "npm:node-llama-cpp", "/nowhere/at/all"]
)
def test_what_is_no_repository(url: str, tmp_path: Path) -> None:
    with pytest.raises((UsageError, SourceError)):
        watch(url, tmp_path)


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_one_issue_opened_left_updated_closed(
    kind: str, service: Service, upstream: Path, tmp_path: Path
) -> None:
    where = GitHub(service.url, "o/n", TOKEN) if kind == "github" else GitLab(service.url, "7", TOKEN)
    found = watch(str(upstream), tmp_path)
    assert keep(where, found)[0] == "opened"
    assert keep(where, found)[0] == "unchanged"
    assert len(service.issues) == 1
    assert service.issues[0]["labels"] == [LABEL]
    header = upstream / "src/llama-model-loader.cpp"
    header.unlink()
    git(upstream, "commit", "-qam", "gone")
    assert keep(where, watch(str(upstream), tmp_path))[0] == "updated"
    assert "llama-model-loader.cpp is gone" in service.issues[0]["body"].replace("&#96;", "")
    git(upstream, "revert", "--no-edit", "HEAD")
    mended(upstream)
    good = watch(str(upstream), tmp_path)
    assert keep(where, good)[0] == "closed"
    assert keep(where, good)[0] == "none"
    assert len(service.issues) == 1
    assert not service.open
    assert "can be placed again" in service.comments[0][1]


def test_a_strangers_issue_with_the_marker_is_left_alone(
    service: Service, upstream: Path, tmp_path: Path
) -> None:
    service.add(MARKER, labels=())
    service.add("no marker")
    service.add(MARKER, pull_request={})
    action, issue = keep(GitHub(service.url, "o/n", TOKEN), watch(str(upstream), tmp_path))
    assert action == "opened"
    assert issue is not None
    assert issue.number == 4
    assert [one["body"] for one in service.issues[:3]] == [MARKER, "no marker", MARKER]


def test_it_is_found_on_the_second_page(service: Service, upstream: Path, tmp_path: Path) -> None:
    for _ in range(120):
        service.add("another")
    service.add(MARKER)
    assert keep(GitHub(service.url, "o/n", TOKEN), watch(str(upstream), tmp_path))[0] == "updated"
    assert "llama-ftype" in service.issues[120]["body"]


def test_what_upstream_says_stays_text(upstream: Path, tmp_path: Path) -> None:
    header = upstream / "include/llama.h"
    text = header.read_text(encoding="utf-8")
    git(upstream, "reset", "-q", "--hard", "HEAD~2")
    evil = text.replace("enum llama_kind {", "// ```` </details> @you\nenum llama_kind { // \x1b]0;x\x07")
    header.write_text(evil, encoding="utf-8")
    git(upstream, "commit", "-qam", "llama : rename @you <b> `enum` #1 [x](javascript:1)")
    body = body_of(watch(str(upstream), tmp_path))
    assert body.startswith(MARKER)
    assert "\x1b" not in body
    assert "`````diff" in body  # longer than any fence in the hunk
    outside = body.split("`````")[0] + body.split("`````")[2]
    for word in ("@you", "<b>", "#1", "[x]"):
        assert word not in outside


def test_the_token_goes_nowhere_else(service: Service) -> None:
    with serving() as other:
        service.answer = (302, {"Location": f"{other.url}/repos/o/n/issues"})
        with pytest.raises(SourceError, match="302"):
            GitHub(service.url, "o/n", TOKEN).mine()
        assert not other.asked
    with pytest.raises(UsageError, match="https"):
        GitHub("http://example.com", "o/n", TOKEN)


@pytest.mark.parametrize(
    ("status", "says"), [(403, "issues: write"), (410, "switched off"), (500, "as told")]
)
def test_refusals_are_one_line_without_the_token(service: Service, status: int, says: str) -> None:
    service.answer = (status, {})
    with pytest.raises(SourceError, match=says) as caught:
        GitHub(service.url, "o/n", "secret-token").mine()
    assert "secret-token" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_environment_lacks_is_named() -> None:
    with pytest.raises(UsageError, match="GITHUB_TOKEN, GITHUB_REPOSITORY"):
        tracker("github", {})
    with pytest.raises(UsageError, match="OWNER/NAME"):
        tracker("github", {"GITHUB_TOKEN": "t", "GITHUB_REPOSITORY": "../../user"})
    with pytest.raises(UsageError, match="Q8A8_GITLAB_TOKEN"):
        tracker("gitlab", {"CI_API_V4_URL": "https://example.com", "CI_PROJECT_ID": "1"})


def test_the_command(service: Service, upstream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    for name, value in {
        "GITHUB_API_URL": service.url,
        "GITHUB_TOKEN": TOKEN,
        "GITHUB_REPOSITORY": "o/n",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    arguments = ["guard", "watch", "--upstream", str(upstream), "--work", str(tmp_path), "--issue", "github"]
    assert cli.run([*arguments, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["broken"] is True
    assert document["issue"] == {"action": "opened", "url": f"{service.url}/issues/1"}
    assert "llama-ftype" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    mended(upstream)
    assert cli.run(arguments) == 0
    assert "issue closed" in capsys.readouterr().out


def test_what_the_tree_does_without_is_not_watched_for_it(
    upstream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tmp_path / "ours"
    shutil.copytree(FIXTURES / "mini", ours)
    monkeypatch.chdir(ours)
    arguments = ["guard", "watch", "--upstream", str(upstream), "--work", str(tmp_path / "work")]
    assert cli.run(arguments) == 1
    assert cli.run(["apply", "--without", "llama-ftype"]) == 0
    assert cli.run(arguments) == 0


def test_watched_says_what_it_is(upstream: Path, tmp_path: Path) -> None:
    found = watch(str(upstream), tmp_path)
    assert isinstance(found, Watched)
    assert found.document()["first_bad"] == git(upstream, "rev-parse", "HEAD~1")[:12]
