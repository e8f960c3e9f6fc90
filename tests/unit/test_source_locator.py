"""What a user names as a source: every kind, odd paths, and any text at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patcher.base.errors import SourceError, UsageError
from patcher.source.locator import DEFAULT_URL, Locator, SourceForm, parse
from tests.conftest import git

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    ("text", "name", "ref"),
    [
        (DEFAULT_URL, DEFAULT_URL, None),
        (f"{DEFAULT_URL}@b8390", DEFAULT_URL, "b8390"),
        (f"{DEFAULT_URL}@feature/with/slashes", DEFAULT_URL, "feature/with/slashes"),
        ("https://user@example.org", "https://user@example.org", None),
        ("https://user@example.org/a/b.git", "https://user@example.org/a/b.git", None),
        ("https://user:secret@example.org/a@v1.2.3", "https://user:secret@example.org/a", "v1.2.3"),
        ("https://example.org/@scope/repo", "https://example.org/@scope/repo", None),
        ("https://example.org/@scope/repo@main", "https://example.org/@scope/repo", "main"),
        ("ssh://git@example.org:22/a/b@main", "ssh://git@example.org:22/a/b", "main"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git", None),
        ("git@example.org:a/b.git@b1", "git@example.org:a/b.git", "b1"),
        ("git@example.org:repo@v1.0.0", "git@example.org:repo", "v1.0.0"),
        ("git://example.org/a", "git://example.org/a", None),
        ("file:///srv/llama.cpp@main", "file:///srv/llama.cpp", "main"),
    ],
)
def test_urls(text: str, name: str, ref: str | None) -> None:
    assert parse(text) == Locator(SourceForm.GIT_URL, name, ref, text)


def test_a_ref_of_its_own_and_another_by_option_are_a_question() -> None:
    assert parse(DEFAULT_URL, "b2").ref == "b2"
    assert parse(f"{DEFAULT_URL}@b1", "b1").ref == "b1"
    assert parse("pypi:llama-cpp-python", "2.0.0").ref == "2.0.0"
    for text, own in ((f"{DEFAULT_URL}@b1", "b1"), ("npm:node-llama-cpp@1.0.0", "1.0.0")):
        with pytest.raises(UsageError, match=f"names {own} itself, and --ref 2.0.0; leave one of them out"):
            parse(text, "2.0.0")


@pytest.mark.parametrize(
    "text",
    [
        "", "-x", "--upload-pack=touch x", "a\0b", "a\nb", "a\rb", "\x1b[2J",
        "npm:", "npm:@", "npm:a b@1", "npm:../x@1", "npm:a@", "npm:a@latest", "npm:@/x@1", "npm:a@1 2",
        "pypi:", "pypi:==1", "pypi:a==", "pypi:a==x", "pypi:@scope/a==1", "pypi:a@1", "pypi:-r==1", "pypi:ä==1",
        "https://example.org/a@", "https://example.org/a@-b", "https://example.org/a@--upload-pack=x", "git@host:a@",
    ],
)  # fmt: skip
def test_what_is_no_source(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize("ref", ["-x", "--upload-pack=touch x", "", "a\nb"])
@pytest.mark.parametrize("text", [DEFAULT_URL, "npm:node-llama-cpp", "pypi:llama-cpp-python"])
def test_an_option_is_no_ref(text: str, ref: str) -> None:
    with pytest.raises(UsageError, match="--ref"):
        parse(text, ref)


def test_a_package_takes_a_version_and_not_an_address_as_ref() -> None:
    with pytest.raises(UsageError, match="not a package and version"):
        parse("npm:node-llama-cpp", "https://example.org/evil.tgz")


@pytest.mark.parametrize(
    "text",
    [
        "npm:a.tgz",
        "npm:a.tgz@1.0.0",
        "npm:llama.TAR.GZ@1.0.0",
        "npm:a.tar",
        "npm:a@1.tgz",
        "npm:@b/a@1.0.tar",
    ],
)
def test_npm_is_never_handed_a_file_s_name(text: str) -> None:
    """It would pack that file of the folder, or take it for the package's version."""
    with pytest.raises(UsageError, match="npm would take a file of that name") as caught:
        parse(text)
    assert caught.value.hint == "name the file itself by its path, without 'npm:'"


def test_a_name_in_a_scope_may_end_so() -> None:
    assert parse("npm:@b/a.tgz@1.0.0") == Locator(SourceForm.NPM, "@b/a.tgz", "1.0.0", "npm:@b/a.tgz@1.0.0")


def test_folders_and_repositories(mini: Path, mini_repo: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    assert parse(str(plain)) == Locator(SourceForm.DIRECTORY, str(plain), None, str(plain))
    assert parse(str(mini_repo)) == Locator(SourceForm.GIT_REPOSITORY, str(mini_repo), None, str(mini_repo))
    assert parse(f"{mini_repo}@main").ref == "main"
    assert parse(str(mini_repo / "src")).form is SourceForm.DIRECTORY
    git(tmp_path, "clone", "-q", "--bare", str(mini_repo), "bare.git")
    assert parse(str(tmp_path / "bare.git")).form is SourceForm.GIT_REPOSITORY
    git(mini_repo, "worktree", "add", "-q", str(tmp_path / "other"))
    assert parse(str(tmp_path / "other")).form is SourceForm.GIT_REPOSITORY
    git(mini_repo, "bundle", "create", "-q", str(tmp_path / "b.bundle"), "main")
    assert parse(f"{tmp_path}/b.bundle@main") == Locator(
        SourceForm.BUNDLE, f"{tmp_path}/b.bundle", "main", f"{tmp_path}/b.bundle@main"
    )


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar", "a.tar.xz", "a.tar.bz2", "a.zip"])
def test_archives_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    assert parse(str(tmp_path / name)).form is SourceForm.ARCHIVE


@pytest.mark.parametrize(
    "name", ["a@b", "C:\\llama", "with space", "ünï", "a==b", "x@", "@x", "...", "a'b\"c"]
)
def test_odd_names_are_names(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).mkdir()
    assert parse(str(tmp_path / name)) == Locator(
        SourceForm.DIRECTORY, str(tmp_path / name), None, str(tmp_path / name)
    )
    monkeypatch.chdir(tmp_path)
    assert parse(name).name == str(tmp_path / name)


def test_a_link_is_what_it_leads_to(mini: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(mini)
    assert parse(str(tmp_path / "link")).name == str(mini)


def test_what_cannot_be_a_source(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    (tmp_path / "circle").symlink_to("circle")
    for name in ("file", "pipe", "circle", "missing", "missing@v1", "file/below", "x" * 5000):
        with pytest.raises(SourceError, match="--source"):
            parse(str(tmp_path / name))
    with pytest.raises(
        SourceError, match=r"looked for a git bundle or an archive, found neither; .* ends in"
    ):
        parse(str(tmp_path / "file"))
    with pytest.raises(SourceError):
        parse("~nobody-of-that-name/x")
    with pytest.raises(SourceError):
        parse("C:\\Users\\me\\llama.cpp")


def test_where_there_are_no_refs_none_is_ignored(mini: Path, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"x")
    for text, ref in ((str(mini), "b1"), (f"{mini}@b1", None), (str(tmp_path / "a.zip"), "b1")):
        with pytest.raises(UsageError, match="which has no history"):
            parse(text, ref)
    for text in (f"{mini}@", f"{mini}@-x"):
        with pytest.raises(UsageError, match="looked for a ref"):
            parse(text)


@QUICK
@given(
    text=st.text(max_size=60) | st.binary(max_size=40).map(os.fsdecode), ref=st.none() | st.text(max_size=9)
)
def test_any_text_is_a_source_or_an_error(text: str, ref: str | None) -> None:
    with tempfile.TemporaryDirectory() as empty:
        before = Path.cwd()
        os.chdir(empty)
        try:
            parse(text, ref)
        except (UsageError, SourceError) as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
        finally:
            os.chdir(before)


PREFIXES = ["pypi:", "npm:", "npm:@", "https://", "ssh://", "git@h:", "/", "~", "./", "../", "C:\\", "@", ""]


@QUICK
@given(prefix=st.sampled_from(PREFIXES), rest=st.text("aZ9@/:=.-~_ \\#%\udc80\0", max_size=30))
def test_any_text_near_a_source(prefix: str, rest: str) -> None:
    try:
        made = parse(prefix + rest)
    except (UsageError, SourceError):
        return
    assert made.text == prefix + rest
    assert not (made.ref or "").startswith("-")


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
versions = st.from_regex(r"[0-9][A-Za-z0-9_.+!-]{0,12}", fullmatch=True)


@QUICK
@given(name=names, scope=st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,9}", fullmatch=True), version=versions)
def test_packages_round_trip(name: str, scope: str, version: str) -> None:
    for kind, package, separator in (
        (SourceForm.PYPI, name, "=="),
        (SourceForm.NPM, name, "@"),
        (SourceForm.NPM, f"@{scope}/{name}", "@"),
    ):
        bare = f"{kind.value}:{package}"
        assert parse(bare) == Locator(kind, package, None, bare)
        text = f"{bare}{separator}{version}"
        assert parse(text) == Locator(kind, package, version, text)


hosts = st.sampled_from(
    ["https://example.org/", "ssh://me@example.org:22/", "https://a:b@example.org/", "git@h:"]
)


@QUICK
@given(
    host=hosts,
    path=st.from_regex(r"[a-z0-9]([a-z0-9._/-]{0,15}[a-z0-9])?", fullmatch=True),
    ref=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,12}", fullmatch=True),
)
def test_urls_round_trip(host: str, path: str, ref: str) -> None:
    url = host + path
    assert parse(url) == Locator(SourceForm.GIT_URL, url, None, url)
    assert parse(f"{url}@{ref}") == Locator(SourceForm.GIT_URL, url, ref, f"{url}@{ref}")
