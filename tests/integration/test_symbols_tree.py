"""What ``--tree`` shows is what the loader does: it is asked itself, by LD_TRACE_LOADED_OBJECTS."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import UsageError
from patcher.symbols import SearchOptions, check
from patcher.symbols.trees import Node, text, trees
from tests import schemas
from tests.elf_files import I386, Elf
from tests.integration.test_symbols_loading import OPENER
from tests.linking import Workshop, have
from tests.unit.test_docs_schemas import Documents, documents

__all__ = ["documents"]  # the fixture
pytestmark = [pytest.mark.compiler, pytest.mark.skipif(not have("gcc"), reason="needs gcc")]


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def flat(nodes: tuple[Node, ...]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from flat(node.needs)


def shown(path: Path, **options: object) -> dict[str, str | None]:
    """Name -> file, of all that the tree has."""
    (top,) = trees([path], options=SearchOptions(**options))  # type: ignore[arg-type]
    return {node.name: os.path.realpath(node.path) if node.path else None for node in flat(top.needs)}


def traced(program: Path, **environment: str) -> dict[str, str | None]:
    """The same from the loader itself, which starts nothing when it is asked so."""
    done = subprocess.run(
        [str(program)],
        env={"LD_TRACE_LOADED_OBJECTS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, str | None] = {}
    for line in done.stdout.splitlines():
        said = re.fullmatch(r"\s+(\S+) (?:=> )?(?:(/\S+) )?\((?:0x\w+)\)|\s+(\S+) => not found", line)
        if said is not None and said[3]:
            found[said[3]] = None
        elif said is not None and "vdso" not in said[1]:
            name = said[1].rpartition("/")[2]  # the loader itself is told by its path
            found[name] = os.path.realpath(said[2] or said[1])
    return found


def test_programs_of_this_machine() -> None:
    """A sample of what is installed, each program by its own loader."""
    compared = 0
    for path in sorted(Path("/usr/bin").iterdir())[::40]:
        if not path.is_file() or not os.access(path, os.R_OK) or b"ld-linux" not in path.read_bytes()[:4096]:
            continue
        truth = traced(path)
        if truth:
            assert shown(path) == truth, path
            compared += 1
    assert compared > 3


def test_which_rule_and_what_was_passed_over(shop: Workshop) -> None:
    Elf(soname="libdeep.so", machine=I386, bits=32).write(shop.folder / "old" / "libdeep.so")
    deep = shop.library("sub/deep", "int deep(void){return 0;}", soname="libdeep.so")
    mid = shop.library("mid", "int deep(void); int mid(void){return deep();}", deep)
    gone = shop.library("gone", "int gone(void){return 0;}")
    program = shop.program(
        "main", "int mid(void), gone(void); int main(void){return mid() + gone();}", mid, gone,
        "-Wl,--disable-new-dtags,-rpath,$ORIGIN/old:$ORIGIN/sub:$ORIGIN",
    )  # fmt: skip
    assert shown(program) == traced(program)
    gone.unlink()
    assert shown(program) == traced(program)
    (top,) = trees([program], options=SearchOptions())
    by_name = {node.name: node for node in flat(top.needs)}
    found = by_name["libdeep.so"]
    assert (found.how, found.owner, found.place) == ("rpath", str(program), f"{shop.folder}/sub")
    assert [(step.place, step.outcome) for step in found.passed] == [(f"{shop.folder}/old", "32 bits")]
    assert by_name["libgone.so"].path is None
    assert f"{shop.folder}/sub" in by_name["libgone.so"].searched
    assert top.broken
    lines = text((top,)).splitlines()
    assert lines[0] == str(program)
    assert f"    libmid.so => {mid} [RPATH of main: {shop.folder}]" in lines
    assert f"        libdeep.so => {deep} [RPATH of main: {shop.folder}/sub]" in lines
    assert any(line.startswith("    libgone.so => NOT FOUND") for line in lines)
    # a library that is loaded under its name already isn't searched for
    assert by_name["libc.so.6"].how in ("cache", "default", "loaded")


def test_environment_preload_and_where_it_stops(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    one = shop.library("one/f", "int f(void){return 0;}")
    two = shop.library("two/f", "int f(void){return 0;}")
    early = shop.library("early", "int early;")
    program = shop.program("main", "int f(void); int main(void){return f();}", two, "-Wl,-rpath,$ORIGIN/two")
    assert shown(program)["libf.so"] == str(two)
    environment = {"LD_LIBRARY_PATH": str(one.parent), "LD_PRELOAD": str(early)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (top,) = trees([program])
    every = {Path(node.path or "").name: node for node in flat(top.needs)}
    truth = traced(program, **environment)
    assert truth["libf.so"] == every["libf.so"].path == str(one)
    assert (every["libf.so"].how, every["libearly.so"].how) == ("library-path", "preload")
    one.write_text("version https://git-lfs")
    (top,) = trees([program])
    node = next(node for node in top.needs if node.name == "libf.so")
    assert node.why.startswith(f"{one}: it is no ELF file")
    assert "THE LOADER STOPS" in text((top,))


def test_a_plugin_in_its_hosts_company(shop: Workshop) -> None:
    dep = shop.library("sub/dep", "int dep(void){return 0;}", soname="libdep.so")
    plugin = shop.library("plugin", "int dep(void); int p(void){return dep();}", dep)
    host = shop.program("host", OPENER, "-ldl", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/sub")
    assert subprocess.run([str(host), str(plugin)], env={}).returncode == 0
    (top,) = trees([plugin], options=SearchOptions(), hosts=[host])
    found = next(node for node in flat(top.needs) if node.name == "libdep.so")
    assert (found.path, found.how, found.owner) == (str(dep), "rpath", str(host))
    (alone,) = trees([plugin], options=SearchOptions())
    assert alone.broken


def test_the_command(shop: Workshop, documents: Documents, capsys: pytest.CaptureFixture[str]) -> None:
    library = shop.library("f", "int f(void){return 0;}")
    program = shop.program("main", "int f(void); int main(void){return f();}", library, "-Wl,-rpath,$ORIGIN")
    documents.check("verify-symbols-tree", "verify-symbols", "--tree", program)
    library.unlink()
    document = documents.check("verify-symbols-tree", "verify-symbols", "--tree", program, codes=(1,))
    assert document["trees"][0]["needs"][0]["path"] is None
    assert schemas.errors("verify-symbols-tree", {"trees": [{"name": "x"}]}) != []
    assert cli.run(["verify-symbols", "--tree", str(program), "--assume-library", "libf.so"]) == 0
    assert "libf.so => assumed" in capsys.readouterr().out
    assert cli.run(["verify-symbols", "--tree", str(program), "--format", "sarif"]) == 2
    assert cli.run(["verify-symbols", "--tree", str(program), "--emulate", "bfd"]) == 2


def test_a_sysroots_absolute_links_lead_nowhere_else(tmp_path: Path) -> None:
    """What was looked at through them is told as it is there, and they are folders of that system."""
    root = tmp_path / "root"
    Elf(soname="libg.so").write(root / "opt/app/libg.so")
    main = Elf(interpreter="/lib/ld.so", needed=["libg.so", "libc.so.6"], runpath="/app").write(
        root / "bin/m"
    )
    Elf(soname="libc.so.6").write(root / "usr/lib/libc.so.6")
    (root / "app").symlink_to("/opt/app")
    outside = tmp_path / "x86_64-linux-gnu/libc.so.6"  # no file of that system
    outside.parent.mkdir()
    outside.write_bytes(b"")
    (root / "lib").symlink_to(tmp_path)
    report = check([main], options=SearchOptions(sysroot=root))
    assert "build-tree-leak" not in {one.rule for one in report.findings}
    (tree,) = trees([main], options=SearchOptions(sysroot=root))
    assert [need.path for need in tree.needs] == [
        str(root / "opt/app/libg.so"),
        str(root / "usr/lib/libc.so.6"),
    ]
    assert [step.outcome for need in tree.needs for step in need.passed] == []


def test_object_files_have_no_tree(tmp_path: Path) -> None:
    part = Elf(type=1).write(tmp_path / "x.o")
    with pytest.raises(UsageError, match=r"x\.o: looked for programs or libraries, found object files"):
        trees([part])
