"""Packages of Python from indexes and folders: found as pip finds them, and nothing of them run."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import SourceError
from patcher.source import download, index, web
from patcher.source.index import PackageFile, order, pick
from patcher.source.pip_settings import PipSettings, pip_settings

SETUP = "open({!r}, 'a').write('ran')\nfrom setuptools import setup\nsetup(name='canary', version='1.0')\n"


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


def archive(place: Path, sprung: Path, version: str = "1.0") -> bytes:
    """A source package that holds a llama.cpp, and that leaves ``sprung`` where anything of it is run."""
    trap = SETUP.format(str(sprung))
    backend = "[build-system]\nrequires = []\nbuild-backend = 'setup'\nbackend-path = ['.']\n"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: canary\nVersion: {version}\n",
        "setup.py": trap,
        "pyproject.toml": backend,
        "vendor/llama.cpp/ggml/include/ggml.h": "//\n",
        "vendor/llama.cpp/include/llama.h": "//\n",
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(place, "w:gz") as out:
        for name, text in files.items():
            member = tarfile.TarInfo(f"canary-{version}/{name}")
            member.size = len(text)
            out.addfile(member, io.BytesIO(text.encode()))
    return place.read_bytes()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves JSON where it lies there, as an index of today does."""

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass

    def guess_type(self, path: object) -> str:
        return (
            "application/vnd.pypi.simple.v1+json"
            if str(path).endswith("index.html") and JSON
            else "text/html"
        )


JSON = False


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """``tmp_path/index`` on a port of this machine."""
    (tmp_path / "index").mkdir()
    handler = functools.partial(Handler, directory=str(tmp_path / "index"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture(autouse=True)
def _no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_NO_INDEX", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))


def page(folder: Path, data: bytes, digest: str | None = None) -> None:
    """The index's page of ``canary``, as HTML or JSON."""
    (folder / "canary").mkdir(parents=True, exist_ok=True)
    name = "canary-1.0.tar.gz"
    (folder / "canary" / name).write_bytes(data)
    digest = digest or hashlib.sha256(data).hexdigest()
    if JSON:
        text = json.dumps({"files": [{"filename": name, "url": name, "hashes": {"sha256": digest}}]})
    else:
        text = f'<!DOCTYPE html><a href="{name}#sha256={digest}">{name}</a>'
    (folder / "canary" / "index.html").write_text(text)


@pytest.mark.parametrize("way", ["html", "json", "extra", "file", "folder"])
def test_nothing_of_a_package_is_run(
    way: str, tmp_path: Path, sprung: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "JSON", way == "json")
    data = archive(tmp_path / "canary-1.0.tar.gz", sprung)
    if way == "folder":
        (tmp_path / "links").mkdir()
        (tmp_path / "canary-1.0.tar.gz").rename(tmp_path / "links" / "canary-1.0.tar.gz")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    else:
        page(tmp_path / "index" / "simple", data)
        url = (tmp_path / "index" / "simple").as_uri() if way == "file" else f"{served}/simple"
        monkeypatch.setenv("PIP_INDEX_URL", f"{served}/nothing" if way == "extra" else url)
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", url if way == "extra" else "")
    assert cli.run(["fetch", "--source", "pypi:canary==1.0", str(tmp_path / "out"), "-q"]) == 0
    assert (tmp_path / "out/ggml/include/ggml.h").is_file()
    assert not sprung.exists()
    # and the canary does sing, for whoever builds
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        script = opened.extractfile("canary-1.0/setup.py")
        assert script is not None
        subprocess.run([sys.executable, "-c", script.read()], capture_output=True)
    assert sprung.exists()


def test_another_hash_than_the_index_says(
    tmp_path: Path, sprung: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page(tmp_path / "index", archive(tmp_path / "x.tar.gz", sprung), "0" * 64)
    monkeypatch.setenv("PIP_INDEX_URL", served)
    with pytest.raises(SourceError, match="the index says sha256 0000000000000000…, found"):
        download.pypi("canary", None)
    assert [place.suffix for place in (tmp_path / "cache/downloads").iterdir()] == [".lock"]


def test_what_is_not_there(tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", served.replace("//", "//me:secret@"))
    with pytest.raises(SourceError, match=r"looked for a source archive, .*HTTP 404") as caught:
        download.pypi("canary", "1.0")
    assert "secret" not in str(caught.value)
    page(tmp_path / "index", b"x")
    with pytest.raises(
        SourceError, match=r"pypi:canary==2.0: looked for that version, found none; the newest are 1\.0"
    ):
        download.pypi("canary", "2.0")
    (tmp_path / "index/canary/index.html").write_text("{")
    monkeypatch.setattr(sys.modules[__name__], "JSON", True)
    with pytest.raises(SourceError, match="looked for a package index"):
        download.pypi("canary", "2.0")


def test_a_page_leads_to_no_file_of_this_machine(
    tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "canary-1.0.tar.gz").write_bytes(b"precious")
    page(tmp_path / "index", b"x")
    place = (tmp_path / "canary-1.0.tar.gz").as_uri()
    (tmp_path / "index/canary/index.html").write_text(f'<a href="{place}">canary-1.0.tar.gz</a>')
    monkeypatch.setenv("PIP_INDEX_URL", served)
    with pytest.raises(SourceError, match="looked for files on servers, found one of this machine"):
        download.pypi("canary", "1.0")


def test_pip_names_its_own_index_and_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pip_settings().index.startswith("https://")
    monkeypatch.setenv("PIP_INDEX_URL", "https://one.invalid/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://two.invalid https://three.invalid")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "two.invalid")
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "7")
    known = pip_settings()
    assert known.index == "https://one.invalid/simple"
    assert known.more == ("https://two.invalid", "https://three.invalid")
    assert known.trusted_hosts == {"two.invalid"}
    assert known.timeout == 7
    assert [is_index for _, is_index in known.places()] == [True, True, True]


def test_the_order_of_versions() -> None:
    rising = ["0.9", "1.0.dev1", "1.0a1", "1.0b2", "1.0rc1", "1.0", "1.0.post1", "1.0.1", "1.10", "1!0.1"]
    shuffled = rising[5:] + rising[:5][::-1]
    assert sorted(shuffled, key=order) == rising
    assert order("1.0") == order("1.0.0")
    files = [PackageFile(f"a_b-{version}.tar.gz", "") for version in rising[:-1]]
    assert pick("a-b", None, files).name == "a_b-1.10.tar.gz"
    assert pick("a-b", "1.0.0", files).name == "a_b-1.0.tar.gz"
    gone = PackageFile("a_b-2.0.tar.gz", "", yanked=True)
    assert pick("a-b", None, [*files, gone, PackageFile("a_b-3.0rc1.tar.gz", "")]).name == "a_b-1.10.tar.gz"
    assert pick("a-b", "2.0", [*files, gone]) is gone


def test_names_of_files() -> None:
    assert PackageFile("llama-cpp-python-0.3.tar.gz", "").version("llama_cpp.python") == "0.3"
    assert PackageFile("other-0.3.tar.gz", "").version("llama-cpp-python") is None
    assert PackageFile("a_b-1.0-py3-none-any.whl", "").version("a-b") == "1.0"
    assert PackageFile("a_b-1.0.exe", "").version("a-b") is None
    assert web.without_password("https://me:x@host/simple/a/") == "https://host/simple/a/"
    with pytest.raises(SourceError, match="PIP_NO_INDEX"):
        index.files("a", PipSettings("", no_index=True), wheels=False)
