"""What has to be right before somebody else can use it: whose it is, workflows that test it, an Action that goes on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from manual import owner
from manual.__main__ import stale
from patcher import __version__
from patcher.base import toml

ROOT = Path(__file__).parents[2]


def test_the_owner_stands_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert owner.stale(owner.owner()) == {}
    monkeypatch.setattr(owner, "owner", lambda: "somebody-else")
    found = {path: text for path, text in stale().items() if text is not None}
    assert {
        ROOT / name for name in ("README.md", "docs/ko/README.md", "ci/gitlab.yml", "ci/examples/github.yml")
    } <= set(found)
    for path, text in found.items():
        assert "OWNER/q8a8-patch" not in text, path
        assert "somebody-else/q8a8-patch" in text, path


def test_addresses_of_others_are_left_alone() -> None:
    kept = "https://github.com/ggml-org/llama.cpp and uses: actions/checkout@v5 and x/q8a8-patch"
    assert owner.renamed(kept, "me") == kept


def test_the_package_says_where_it_comes_from() -> None:
    urls = toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    assert set(urls) == {"Source", "Issues", "Documentation", "Changelog"}
    assert {url.split("/q8a8-patch")[0] for url in urls.values()} == {f"https://github.com/{owner.owner()}"}


def test_the_tag_that_pages_name_is_that_of_the_version() -> None:
    """The moving tag of CONTRIBUTING's last step: a page once said v1 of a 0.x."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "ci").rglob("*.yml")]
    named = {
        (str(page.relative_to(ROOT)), tag)
        for page in pages
        for tag in re.findall(
            r"(?:q8a8-patch(?:/ci)?@|q8a8-patch/blob/|(?m:^#? *re[fv]: )|Q8A8_VERSION: )(v\d+)\b",
            page.read_text(encoding="utf-8"),
        )
    }
    assert len(named) > 4
    assert {tag for _, tag in named} == {f"v{__version__.partition('.')[0]}"}


def steps(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["runs"]["steps"]
    return found


def test_the_action_goes_on_where_code_scanning_is_off() -> None:
    upload, word = (
        next(step for step in steps(ROOT / "ci/action.yml") if re.match(name, step["name"]))
        for name in ("Upload", "Where code scanning")
    )
    assert upload["continue-on-error"] is True
    assert word["if"] == f"always() && steps.{upload['id']}.outcome == 'failure'"
    assert "private repository" in word["run"]
    assert "::warning" in word["run"]


def test_every_input_of_the_action_is_in_its_pages() -> None:
    inputs = yaml.safe_load((ROOT / "ci/action.yml").read_text(encoding="utf-8"))["inputs"]
    for page in ("docs/how-to/guard-a-repository.md", "docs/ko/how-to/guard-a-repository.md"):
        rows = re.findall(r"^\| (`[a-z`, -]+`) \|", (ROOT / page).read_text(encoding="utf-8"), re.M)
        assert set(inputs) <= {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}, page


def test_changes_are_tested() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    assert set(workflow[True]) >= {"pull_request", "push"}  # YAML 1.1 reads the key "on" as true
    assert {step.get("run") for job in workflow["jobs"].values() for step in job["steps"]} >= {
        "ci/test",
        "ci/test --rest",
    }
