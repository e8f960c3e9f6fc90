"""The wheel and the sdist: what is in them, the same bytes each time, at home in any folder and environment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import FIXTURES, git

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
EPOCH = "1700000000"
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def build(source: Path, out: Path, *what: str, umask: int = 0o022) -> None:
    """Build from ``source`` with the hatchling that is installed here."""
    command = [sys.executable, "-m", "build", "--no-isolation", *what, "-o", str(out), str(source)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": EPOCH}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, umask=umask)
    assert done.returncode == 0, done.stderr + done.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel that was built from an sdist that was built from what git knows of this checkout."""
    place = tmp_path_factory.mktemp("package")
    names = git(ROOT, "ls-files", "-z", "-co", "--exclude-standard").split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / "source" / name)
    build(place / "source", place / "out")
    (sdist,) = (place / "out").glob("*.tar.gz")
    (wheel,) = (place / "out").glob("*.whl")
    return {"sdist": sdist, "wheel": wheel, "source": place / "source"}


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def core_metadata(wheel: Path) -> Message:
    (name,) = (name for name in contents(wheel) if name.endswith(".dist-info/METADATA"))
    return message_from_string(contents(wheel)[name].decode("utf-8"))


def test_the_wheel_holds_what_the_program_reads(files: dict[str, Path]) -> None:
    held = contents(files["wheel"])
    for kind in ("templates", "patches"):
        for path in (files["source"] / kind).rglob("*"):
            if path.is_file():
                name = f"patcher/data/{path.relative_to(files['source']).as_posix()}"
                assert held.get(name) == path.read_bytes(), name
    for path in (files["source"] / "patcher").rglob("*"):
        if path.is_file():
            assert path.relative_to(files["source"]).as_posix() in held
    assert "patcher/py.typed" in held
    pages = [name for name in held if "/data/share/man/man1/" in name]
    assert len(pages) == len(list((files["source"] / "man" / "man1").iterdir())) > 10
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in held)
    assert any(name.endswith(".dist-info/licenses/THIRD-PARTY.md") for name in held)
    tops = {name.split("/")[0] for name in held}
    assert {re.sub(r"-[\d.]+\.", "-V.", top) for top in tops} == {
        "patcher",
        "q8a8_patch-V.data",
        "q8a8_patch-V.dist-info",
    }


def test_the_sdist_holds_the_tests_and_the_docs(files: dict[str, Path]) -> None:
    with tarfile.open(files["sdist"]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    wanted = [
        "LICENSE",
        "THIRD-PARTY.md",
        "README.md",
        "mkdocs.yml",
        "docs/ko/tutorial.md",
        "ci/test",
        "patches/q8_a8.toml",
    ]
    wanted += [
        "tests/unit/test_cli.py",
        "tests/fixtures/mini/include/llama.h",
        "benchmarks/apply.py",
        "man/man1/q8a8-patch.1",
    ]
    assert [name for name in wanted if name not in names] == []
    assert not [
        name for name in names if "__pycache__" in name or name.startswith((".venv", ".git/", "build/"))
    ]


def test_two_builds_are_the_same_bytes(files: dict[str, Path], tmp_path: Path) -> None:
    """In another folder, with other times, another umask, and the files written in another order."""
    other = tmp_path / "somewhere" / "else"
    for path in sorted(files["source"].rglob("*"), reverse=True):
        if path.is_file():
            place = other / path.relative_to(files["source"])
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
            os.utime(place, (1, 1_000_000_000))
    build(other, tmp_path / "out", umask=0o077)
    for kind in ("sdist", "wheel"):
        again = tmp_path / "out" / files[kind].name
        assert (
            hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(files[kind].read_bytes()).digest()
        ), kind


def test_metadata(files: dict[str, Path]) -> None:
    said = core_metadata(files["wheel"])
    assert said["License-Expression"] == "MIT"
    assert set(said.get_all("License-File", [])) == {"LICENSE", "THIRD-PARTY.md"}
    assert said["Requires-Python"] == ">=3.10"
    assert said["Summary"]
    assert said["Keywords"]
    assert said["Description-Content-Type"] == "text/markdown"
    assert str(said.get_payload()).startswith("# q8a8-patch")
    classifiers = said.get_all("Classifier", [])
    assert [f"Programming Language :: Python :: {version}" in classifiers for version in PYTHONS] == [
        True
    ] * 5
    assert "Typing :: Typed" in classifiers
    assert not [line for line in classifiers if line.startswith("License ::")]  # the expression says it
    assert set(said.get_all("Provides-Extra", [])) == {"build", "grid", "dev"}


def requirements() -> Iterator[str]:
    """What is installed with the package, dependencies of dependencies included, by normalized name."""
    waiting, seen = [Requirement(text) for text in PROJECT["dependencies"]], set()
    while waiting:
        one = waiting.pop()
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        if name in seen or (one.marker is not None and "extra" in str(one.marker)):
            continue
        seen.add(name)
        yield name
        try:
            waiting += [Requirement(text) for text in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:
            continue  # for another version of Python or another system


def test_notices_name_everything_that_is_installed() -> None:
    page = (ROOT / "THIRD-PARTY.md").read_text(encoding="utf-8").split("## Downloaded")[0].lower()
    listed = {re.sub(r"[-_.]+", "-", word) for word in re.findall(r"[\w.-]+", page)}
    assert [name for name in requirements() if name not in listed] == []


@pytest.fixture(scope="module")
def installed(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in an environment of its own, on top of the dependencies that are here."""
    place = tmp_path_factory.mktemp("installed") / "v"
    venv.create(place, with_pip=False)
    (site,) = place.glob("lib/python*/site-packages")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(place / "bin" / "python"),
        "install",
        "-q",
        "--no-deps",
    ]
    done = subprocess.run([*command, "--no-index", str(files["wheel"])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # a plain line: the .pth files of that folder, this checkout's among them, are not read
    (site / "here.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return place


def test_it_works_in_any_folder(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "mini", tmp_path / "mini")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "Q8A8_PATCH_CACHE": str(tmp_path / "cache"),
    }
    program = installed / "bin" / "q8a8-patch"
    for where in (tmp_path, Path("/")):
        command = [str(program), "apply", str(tmp_path / "mini"), "--dry-run", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=where, env=environment)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["edits"]) > 60
    command = [str(installed / "bin" / "python"), "-c", "import patcher; print(patcher.__file__)"]
    said = subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment)
    assert said.stdout.startswith(str(installed)), "not this checkout"


@pytest.mark.skipif(shutil.which("man") is None, reason="man: not on PATH")
@pytest.mark.system
def test_man_finds_the_pages(installed: Path) -> None:
    for name in ("q8a8-patch", "q8a8-patch-verify-symbols"):
        command = ["man", "-M", str(installed / "share" / "man"), "-P", "cat", name]
        said = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MANWIDTH": "80"})
        assert said.returncode == 0, said.stderr
        assert "SYNOPSIS" in re.sub(".\b", "", said.stdout)


@pytest.mark.network
@pytest.mark.parametrize("version", PYTHONS)
def test_nothing_is_compiled(files: dict[str, Path], version: str, tmp_path: Path) -> None:
    """For each Python, pip finds a wheel of every dependency on x86-64 Linux."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
    command += ["--target", str(tmp_path), "--only-binary", ":all:", "--python-version", version]
    command += ["--report", str(tmp_path / "report.json"), f"{files['wheel']}[build]"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["install"]
    urls = [item["download_info"]["url"] for item in found]
    assert [url for url in urls if not url.endswith(".whl")] == []
    assert len(urls) > 15


@pytest.mark.network
@pytest.mark.parametrize("tool", ["uv", "pipx"])
def test_it_runs_from(tool: str, files: dict[str, Path], tmp_path: Path) -> None:
    """``uvx`` and ``pipx run``: an environment made for one command, in a folder that isn't the project's."""
    scripts = Path(sys.executable).parent
    if not (scripts / tool).is_file():
        pytest.skip(f"{tool}: not installed beside this Python")
    shutil.copytree(FIXTURES / "mini", tmp_path / "mini")
    environment = os.environ | {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_DEFAULT_PYTHON": sys.executable}
    environment |= {"Q8A8_PATCH_CACHE": str(tmp_path / "cache")}
    start = {
        "uv": ["uv", "tool", "run", "--python", sys.executable, "--from", str(files["wheel"]), "q8a8-patch"],
        "pipx": ["pipx", "run", "--spec", str(files["wheel"]), "q8a8-patch"],
    }[tool]
    start[0] = str(scripts / tool)
    done = subprocess.run(
        [*start, "--version"], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"q8a8-patch, version {metadata.version('q8a8-patch')}\n"
    done = subprocess.run(
        [*start, "status", str(tmp_path / "mini"), "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert json.loads(done.stdout)["state"] == "clean"
    done = subprocess.run(
        [*start, "doctor", "--json"], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    (pip,) = (check for check in json.loads(done.stdout)["checks"] if check["name"] == "pip")
    assert pip["state"] == "ok"
