"""Links of another system never lead onto this machine: the kernel's chroot says where they lead."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.symbols import SearchOptions, check
from patcher.symbols.rooted import Root
from patcher.symbols.scope import Library
from patcher.symbols.search import Search
from tests.elf_files import AARCH64, Elf

ASK = """import os, sys
os.chroot(sys.argv[1])
for path in sys.stdin.read().split():
    try:
        print(os.path.realpath(path, strict=True))
    except OSError as why:
        print("-")
"""


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may change its root")
def test_every_link_leads_where_the_kernel_says(tmp_path: Path) -> None:
    chance = random.Random(3)  # noqa: S311 - not for secrets
    root = tmp_path / "root"
    folders = [root, *(root / one for one in ("a", "b", "a/c", "b/d"))]
    for folder in folders:
        folder.mkdir()
        (folder / "file").write_text("x")
    (tmp_path / "outside").write_text("x")
    names = ["a", "b", "a/c", "b/d", "file", "a/file", "a/c/file", *(f"l{number}" for number in range(30))]
    for folder in folders:
        for number in range(30):
            start = chance.choice(["/", "", "../", "../../../", "/../", "./"])
            (folder / f"l{number}").symlink_to(start + chance.choice(names))
    (root / "out").symlink_to("../outside")
    asked = [f"/{chance.choice(['', 'a/', 'b/', 'a/c/'])}{chance.choice(names)}" for _ in range(300)]
    asked += ["/out", "/../outside", "/a/../../outside", "/"]
    asked += [f"{one}/file" for one in asked[:100]]
    # the interpreter's own files are outside: all of it is loaded before the root changes
    command = [sys.executable, "-I", "-c", ASK, str(root)]
    said = subprocess.run(command, input="\n".join(asked), capture_output=True, text=True, check=True)
    truth = dict(zip(asked, said.stdout.split(), strict=True))
    inside = Root(str(root)).inside
    differing = {}
    for path, real in truth.items():
        ours = inside(f"{root}{path}")
        there = "-" if ours is None or not os.path.lexists(ours) else "/" + os.path.relpath(ours, root)
        if there.replace("/.", "/") != real:
            differing[path] = (there, real)
    assert not differing
    assert sum(real != "-" for real in truth.values()) > 50


def test_a_link_above_the_root_is_not_below_it(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    assert root.inside("/usr/bin/env") == "/usr/bin/env"  # not of that system at all
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert root.inside(str(tmp_path / "a")) is None


def test_a_root_of_absolute_links_is_judged_by_its_own_files(tmp_path: Path) -> None:
    """/sbin -> /usr/sbin, /lib -> /usr/lib, /etc/ld.so.conf -> ...: this machine has all of these, too."""
    root = tmp_path / "root"
    foreign = {"machine": AARCH64}
    for folder in ("usr/sbin", "usr/lib", "etc/alternatives", "opt/own"):
        (root / folder).mkdir(parents=True)
    for name in ("sbin", "lib"):
        (root / name).symlink_to(f"/usr/{name}")
    (root / "etc" / "ld.so.conf").symlink_to("/etc/alternatives/ld.so.conf")
    (root / "etc" / "alternatives" / "ld.so.conf").write_text("/opt/own\n")
    program = Elf(needed=["libx.so", "liby.so"], interpreter="/lib/ld.so", **foreign)  # type: ignore[arg-type]
    program.write(root / "usr" / "sbin" / "prog")
    Elf(soname="ld.so", **foreign).write(root / "usr" / "lib" / "ld.so")  # type: ignore[arg-type]
    Elf(soname="libx.so", **foreign).write(root / "usr" / "lib" / "libx.so.1.0")  # type: ignore[arg-type]
    (root / "usr" / "lib" / "libx.so").symlink_to("/lib/libx.so.1.0")
    Elf(soname="liby.so", **foreign).write(root / "opt" / "own" / "liby.so")  # type: ignore[arg-type]
    options = SearchOptions(sysroot=root)
    for given in (root, root / "sbin", root / "sbin" / "prog"):
        report = check([given], options=options)
        assert [one for one in report.findings if one.severity == "error"] == []
        assert report.objects == (4 if given == root else 1)
    library = Library(Search(options))
    scope = library.load(library.read(root / "sbin" / "prog"))
    assert [item.path.relative_to(root).as_posix() for item in scope.objects] == [
        "usr/sbin/prog", "usr/lib/libx.so.1.0", "opt/own/liby.so",
    ]  # fmt: skip


def test_origin_in_a_root_is_where_a_link_was_found(tmp_path: Path) -> None:
    real = Elf(soname="libuse.so", needed=["libdeep.so"], runpath="$ORIGIN").write(tmp_path / "real" / "u")
    Elf(soname="libdeep.so").write(tmp_path / "farm" / "libdeep.so")
    (tmp_path / "farm" / "libuse.so").symlink_to("/real/u")
    assert real.exists()
    program = Elf(needed=["libuse.so"], runpath="/farm", interpreter="/x").write(tmp_path / "bin" / "a")
    library = Library(Search(SearchOptions(sysroot=tmp_path)))
    assert library.load(library.read(program)).missing == []
