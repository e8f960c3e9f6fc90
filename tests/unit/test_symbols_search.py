"""The loaders' search orders, with files made for it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from patcher.symbols import SearchOptions, SymbolFinding, check
from patcher.symbols.elf import DF_1_NODEFLIB, read
from patcher.symbols.ldconfig import CACHE_MAGIC, Cache, read_conf, read_musl_path
from patcher.symbols.scope import Library
from patcher.symbols.search import Search
from tests.elf_files import AARCH64, I386, Elf


def how(root: Path, *, sysroot: Path | None = None, library_path: tuple[Path, ...] = ()) -> dict[str, str]:
    """Library -> the rule that found it, of all that ``root`` loads."""
    library = Library(Search(SearchOptions(library_path, sysroot)))
    scope = library.load(library.read(root))
    return {name: rule for (_, name), rule in scope.found_by.items()} | {
        gap.name: "missing" for gap in scope.missing
    }


def where(root: Path, **options: object) -> list[str]:
    library = Library(Search(SearchOptions(**options)))  # type: ignore[arg-type]
    return [str(item.path) for item in library.load(library.read(root)).objects]


def broken(path: Path) -> list[SymbolFinding]:
    """The errors, but for the interpreter: nobody's machine has those that are named here."""
    return [one for one in check([path]).at_least("error") if one.rule != "interpreter-not-found"]


def cache(entries: list[tuple[str, str]], order: str = "<") -> bytes:
    """An ld.so.cache of the new format behind one of the old."""
    texts, rows, at = b"", b"", 48 + 24 * len(entries)
    for pair in entries:
        places = []
        for text in pair:
            places.append(at + len(texts))
            texts += text.encode() + b"\0"
        rows += struct.pack(order + "iIIIQ", 1, *places, 0, 0)
    flags = 3 if order == ">" else 2
    head = CACHE_MAGIC + struct.pack(order + "II", len(entries), len(texts)) + bytes([flags]) + bytes(19)
    return b"ld.so-1.7.0\0" + bytes(4) + head + rows + texts


@pytest.mark.parametrize("order", ["<", ">"])
def test_cache_of_either_byte_order(order: str) -> None:
    data = cache([("liba.so", "/x/liba.so"), ("liba.so", "/y/liba.so"), ("libb.so", "/x/libb.so")], order)
    read = Cache(data)
    assert read.get("liba.so") == ("/x/liba.so", "/y/liba.so")
    assert read.get("libb.so") == ("/x/libb.so",)
    # neither the end of a name nor a file's is a name
    assert read.get("b.so") == read.get("/x/libb.so") == read.get("") == ()


def test_a_broken_cache_is_no_cache() -> None:
    good = cache([("liba.so", "/x/liba.so")])
    for length in range(len(good)):
        assert Cache(good[:length]).get("liba.so") in ((), ("/x/liba.so",))
    assert not Cache(good[:-1])
    lie = bytearray(good)
    struct.pack_into("<I", lie, 16 + 20, 0xFFFFFFF0)
    assert not Cache(bytes(lie))


def test_conf_with_includes_comments_and_a_circle(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    (etc / "d").mkdir(parents=True)
    (etc / "ld.so.conf").write_text("include d/*.conf # more\n/one /two:/three\nhwcap 0 nosegneg\n=x\n")
    (etc / "d" / "a.conf").write_text("/a\ninclude /etc/ld.so.conf\n")
    (etc / "d" / "b.conf").write_text("/b=libc6\n")
    folders = read_conf(etc / "ld.so.conf", lambda text: tmp_path / text.lstrip("/"))
    names = ["/" + path.relative_to(tmp_path).as_posix() for path in folders]
    assert names == ["/a", "/b", "/one", "/two", "/three"]


def test_rpath_counts_for_what_it_leads_to_and_runpath_does_not(tmp_path: Path) -> None:
    Elf(soname="libdeep.so").write(tmp_path / "sub" / "libdeep.so")
    Elf(soname="libmid.so", needed=["libdeep.so"]).write(tmp_path / "sub" / "libmid.so")
    rpath = Elf(needed=["libmid.so"], rpath="$ORIGIN/sub", interpreter="/x").write(tmp_path / "a")
    runpath = Elf(needed=["libmid.so"], runpath="$ORIGIN/sub", interpreter="/x").write(tmp_path / "b")
    assert how(rpath) == {"libmid.so": "rpath", "libdeep.so": "rpath"}
    assert how(runpath) == {"libmid.so": "runpath", "libdeep.so": "missing"}


def test_a_runpath_of_its_own_turns_the_rpath_of_loaders_off(tmp_path: Path) -> None:
    Elf(soname="libdeep.so").write(tmp_path / "sub" / "libdeep.so")
    Elf(soname="libmid.so", needed=["libdeep.so"], runpath="/nowhere").write(tmp_path / "sub" / "libmid.so")
    program = Elf(needed=["libmid.so"], rpath="${ORIGIN}/sub", interpreter="/x").write(tmp_path / "a")
    assert how(program) == {"libmid.so": "rpath", "libdeep.so": "missing"}


def test_order_is_rpath_then_library_path_then_runpath(tmp_path: Path) -> None:
    for place in ("one", "two"):
        Elf(soname="libx.so").write(tmp_path / place / "libx.so")
    two = (tmp_path / "two",)
    rpath = Elf(needed=["libx.so"], rpath="$ORIGIN/one", interpreter="/x").write(tmp_path / "a")
    assert how(rpath, library_path=two) == {"libx.so": "rpath"}
    runpath = Elf(needed=["libx.so"], runpath="$ORIGIN/one", interpreter="/x").write(tmp_path / "b")
    assert how(runpath, library_path=two) == {"libx.so": "library-path"}


def test_rpath_is_nothing_beside_a_runpath_in_one_object(tmp_path: Path) -> None:
    Elf(soname="libx.so").write(tmp_path / "one" / "libx.so")
    both = Elf(needed=["libx.so"], rpath="$ORIGIN/one", runpath="/nowhere", interpreter="/x")
    assert how(both.write(tmp_path / "a")) == {"libx.so": "missing"}


def test_a_soname_that_is_loaded_is_not_searched_for(tmp_path: Path) -> None:
    """The file is libfirst.so, its soname libx.so: a later NEEDED libx.so is served by it."""
    Elf(soname="libx.so", defines=["f"]).write(tmp_path / "libfirst.so")
    Elf(soname="libuser.so", needed=["libx.so"], uses=["f"]).write(tmp_path / "libuser.so")
    program = Elf(needed=["libfirst.so", "libuser.so"], runpath="$ORIGIN", interpreter="/x")
    assert how(program.write(tmp_path / "a"))["libx.so"] == "loaded"


def test_another_machine_or_class_is_passed_over(tmp_path: Path) -> None:
    Elf(soname="libx.so", machine=I386, bits=32).write(tmp_path / "one" / "libx.so")
    Elf(soname="libx.so", machine=AARCH64).write(tmp_path / "two" / "libx.so")
    Elf(soname="libx.so").write(tmp_path / "three" / "libx.so")
    runpath = "$ORIGIN/one:$ORIGIN/two:$ORIGIN/three"
    program = Elf(needed=["libx.so"], runpath=runpath, interpreter="/x").write(tmp_path / "a")
    assert where(program)[1] == str(tmp_path / "three" / "libx.so")


def test_hwcaps_folders_come_first(tmp_path: Path) -> None:
    Elf(soname="libx.so").write(tmp_path / "libx.so")
    Elf(soname="libx.so").write(tmp_path / "glibc-hwcaps" / "x86-64-v2" / "libx.so")
    Elf(soname="libx.so").write(tmp_path / "glibc-hwcaps" / "x86-64-v3" / "libx.so")
    program = Elf(needed=["libx.so"], runpath="$ORIGIN", interpreter="/x").write(tmp_path / "a")
    assert where(program)[1] == str(tmp_path / "glibc-hwcaps" / "x86-64-v3" / "libx.so")


def test_nodeflib_keeps_out_of_the_default_folders(tmp_path: Path) -> None:
    Elf(soname="libx.so").write(tmp_path / "usr" / "lib" / "libx.so")
    plain = Elf(needed=["libx.so"], interpreter="/x").write(tmp_path / "bin" / "a")
    closed = Elf(needed=["libx.so"], interpreter="/x", flags_1=DF_1_NODEFLIB).write(tmp_path / "bin" / "b")
    assert how(plain, sysroot=tmp_path) == {"libx.so": "default"}
    assert how(closed, sysroot=tmp_path) == {"libx.so": "missing"}


def test_a_needed_with_a_slash_is_opened_as_it_is(tmp_path: Path) -> None:
    Elf().write(tmp_path / "odd" / "libx.so")
    there = Elf(needed=[str(tmp_path / "odd" / "libx.so")], interpreter="/x").write(tmp_path / "a")
    assert list(how(there).values()) == ["path"]


@pytest.mark.parametrize(("machine", "bits", "little", "folder"), [
    (AARCH64, 64, True, "lib/aarch64-linux-gnu"), (AARCH64, 64, True, "usr/lib64"),
    (40, 32, True, "usr/lib/arm-linux-gnueabihf"), (22, 64, False, "lib64"), (21, 64, True, "lib64"),
    (8, 32, False, "usr/lib/mips-linux-gnu"), (243, 64, True, "lib64/lp64d"),
    (3, 32, True, "usr/lib/i386-linux-gnu"),
])  # fmt: skip
def test_sysroot_of_another_machine(
    tmp_path: Path, machine: int, bits: int, little: bool, folder: str
) -> None:
    foreign = {"machine": machine, "bits": bits, "little": little}
    Elf(soname="libx.so", **foreign).write(tmp_path / folder / "libx.so")  # type: ignore[arg-type]
    elf = Elf(needed=["libx.so"], interpreter="/x", **foreign)  # type: ignore[arg-type]
    assert how(elf.write(tmp_path / "bin" / "a"), sysroot=tmp_path) == {"libx.so": "default"}


def test_sysroot_keeps_absolute_paths_and_links_inside(tmp_path: Path) -> None:
    Elf(soname="libx.so").write(tmp_path / "opt" / "real" / "libx.so")
    (tmp_path / "opt" / "lib").mkdir()
    (tmp_path / "opt" / "lib" / "libx.so").symlink_to("/opt/real/libx.so")
    program = Elf(needed=["libx.so"], runpath="/opt/lib", interpreter="/x").write(tmp_path / "bin" / "a")
    assert where(program, sysroot=tmp_path)[1] == str(tmp_path / "opt" / "real" / "libx.so")


def test_sysroot_reads_its_own_ld_so_conf(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ld.so.conf").write_text("/opt/vendor\n")
    Elf(soname="libx.so").write(tmp_path / "opt" / "vendor" / "libx.so")
    program = Elf(needed=["libx.so"], interpreter="/x").write(tmp_path / "bin" / "a")
    assert how(program, sysroot=tmp_path) == {"libx.so": "default"}


def test_musl_inherits_runpath_and_has_a_list_of_its_own(tmp_path: Path) -> None:
    interpreter = "/lib/ld-musl-x86_64.so.1"
    Elf(soname="libdeep.so").write(tmp_path / "sub" / "libdeep.so")
    Elf(soname="libmid.so", needed=["libdeep.so"]).write(tmp_path / "sub" / "libmid.so")
    program = Elf(needed=["libmid.so"], runpath="$ORIGIN/sub", interpreter=interpreter)
    assert how(program.write(tmp_path / "a"), sysroot=tmp_path) == {
        "libmid.so": "runpath",
        "libdeep.so": "runpath",
    }
    Elf(soname="liby.so").write(tmp_path / "vendor" / "liby.so")
    other = Elf(needed=["liby.so", "libc.musl-x86_64.so.1"], interpreter=interpreter).write(tmp_path / "b")
    Elf(soname="libc.musl-x86_64.so.1", defines=["puts"]).write(tmp_path / "lib" / "ld-musl-x86_64.so.1")
    assert how(other, sysroot=tmp_path)["liby.so"] == "missing"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "ld-musl-x86_64.path").write_text("/lib\n/vendor\n")
    assert how(other, sysroot=tmp_path) == {"liby.so": "default", "libc.musl-x86_64.so.1": "path"}
    assert read_musl_path(tmp_path / "none", Path) == [Path("/lib"), Path("/usr/local/lib"), Path("/usr/lib")]


def test_musl_does_not_compare_versions(tmp_path: Path) -> None:
    Elf(soname="libx.so", defines=["f@@V1"]).write(tmp_path / "libx.so")
    for name, interpreter in (("musl", "/lib/ld-musl-x86_64.so.1"), ("glibc", "/lib64/ld.so")):
        elf = Elf(needed=["libx.so"], uses=["f@V2@libx.so"], runpath="$ORIGIN", interpreter=interpreter)
        elf.write(tmp_path / name)
    assert not broken(tmp_path / "musl")
    assert [one.rule for one in broken(tmp_path / "glibc")] == ["version-mismatch"]


def test_libraries_that_need_each_other(tmp_path: Path) -> None:
    Elf(soname="liba.so", needed=["libb.so"], runpath="$ORIGIN", uses=["b"], defines=["a"]).write(
        tmp_path / "liba.so"
    )
    Elf(soname="libb.so", needed=["liba.so"], runpath="$ORIGIN", uses=["a"], defines=["b"]).write(
        tmp_path / "libb.so"
    )
    report = check([tmp_path])
    assert (report.objects, report.at_least("warning")) == (2, [])


def test_a_static_pie_loads_nothing(tmp_path: Path) -> None:
    path = Elf(flags_1=0x08000000, defines=["main"]).write(tmp_path / "static")
    assert read(path).executable
    assert check([path]).findings == ()


def test_a_loaders_rpath_is_nothing_beside_its_runpath(tmp_path: Path) -> None:
    Elf(soname="libdeep.so").write(tmp_path / "sub" / "libdeep.so")
    Elf(soname="libmid.so", needed=["libdeep.so"]).write(tmp_path / "libmid.so")
    program = Elf(needed=["libmid.so"], rpath="$ORIGIN/sub", runpath="$ORIGIN", interpreter="/x")
    assert how(program.write(tmp_path / "a")) == {"libmid.so": "runpath", "libdeep.so": "missing"}


def test_the_version_is_there_and_not_for_this_symbol(tmp_path: Path) -> None:
    Elf(soname="libx.so", defines=["f@@V1", "g@@V2"]).write(tmp_path / "libx.so")
    wants = Elf(needed=["libx.so"], uses=["f@V2@libx.so"], runpath="$ORIGIN", interpreter="/x")
    findings = broken(wants.write(tmp_path / "a"))
    assert [(one.rule, one.symbol, one.detail) for one in findings] == [
        ("version-mismatch", "f@V2", "libx.so has it as V1")
    ]


def test_origin_is_where_a_library_was_found_and_not_where_its_link_leads(tmp_path: Path) -> None:
    """glibc and musl take it from the path that they searched for: farms of links are built on that."""
    real = Elf(soname="libuse.so", needed=["libdeep.so"], runpath="$ORIGIN").write(tmp_path / "real" / "u")
    Elf(soname="libdeep.so").write(tmp_path / "farm" / "libdeep.so")
    (tmp_path / "farm" / "libuse.so").symlink_to(real)
    for interpreter in ("/lib64/ld.so", "/lib/ld-musl-x86_64.so.1"):
        program = Elf(needed=["libuse.so"], runpath="$ORIGIN/farm", interpreter=interpreter)
        found = where(program.write(tmp_path / "a"))
        assert found[1:] == [str(real), str(tmp_path / "farm" / "libdeep.so")]
    # of two ways to one file the first one counts
    Elf(soname="libx.so", needed=["libuse.so", "libdeep.so"], runpath="$ORIGIN/../real:$ORIGIN").write(
        tmp_path / "farm" / "libx.so"
    )
    (tmp_path / "real" / "libuse.so").symlink_to("u")
    assert how(tmp_path / "farm" / "libx.so")["libuse.so"] == "runpath"


@pytest.mark.parametrize(
    "line",
    ["include /", "include **", "include /**/**/**/**", "include ../../../../../../etc/*", "include \0", "include",
     "include ld.so.conf", "include /etc/*", "include " + "*/" * 200, "include [", "include loop/*", "include out/*"],
)  # fmt: skip
def test_an_ld_so_conf_that_leads_astray(line: str, tmp_path: Path) -> None:
    """No traceback, no end that doesn't come, and nothing of this machine."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "etc").mkdir(parents=True)
    outside.mkdir()
    (outside / "x.conf").write_text("/evil\n")
    (root / "etc/loop").symlink_to("loop")
    (root / "etc/out").symlink_to(outside)
    (root / "etc/ld.so.conf").write_text(f"/first\n{line}\n/last\n")
    search = Search(SearchOptions(sysroot=root))
    folders = list(read_conf(search.places.rooted("/etc/ld.so.conf"), search.places.rooted))
    assert [str(folder.relative_to(root)) for folder in folders] == ["first", "last"]
