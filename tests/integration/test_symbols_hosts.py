"""Folders of plugins: one finding for each host, the host proposed, hosts mapped to folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patcher import cli
from patcher.base.errors import UsageError
from patcher.symbols import SearchOptions, SymbolReport, check
from tests.elf_files import Elf
from tests.integration.test_symbols_loading import OPENER, starts
from tests.linking import Workshop, found, have

LIBC = "printf@GLIBC_2.2.5@libc.so.6"
MANY = [f"host_{number}" for number in range(9)]


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def verdict(*paths: Path, **options: object) -> SymbolReport:
    hosts = options.pop("hosts", ())
    return check(paths, options=SearchOptions(**options), hosts=hosts)  # type: ignore[arg-type]


def test_three_hundred_equal_modules_are_one_finding(tmp_path: Path) -> None:
    host = Elf(defines=MANY, interpreter="/lib/ld.so", flags_1=0x08000000).write(tmp_path / "bin" / "host")
    for number in range(300):
        Elf(soname=f"m{number}.so", uses=[*MANY[:3], "lost"] if number == 7 else MANY[:3]).write(
            tmp_path / "mod" / f"m{number}.so"
        )
    report = verdict(tmp_path, sysroot=tmp_path)
    told = {one.rule: one for one in report.findings if one.severity == "error"}
    assert set(told) == {"host-not-named", "undefined-symbol", "interpreter-not-found"}
    one = told["host-not-named"]
    assert (one.symbol, len(one.files)) == ("host", 300)
    assert "300 files lack 3 symbols" in one.detail
    assert f"--host '{tmp_path}/mod/**={host}'" in (one.suggestion or "")
    assert told["undefined-symbol"].symbol == "lost"  # the host doesn't have it
    # as proposed, each is checked in its company
    kept = verdict(tmp_path / "mod", sysroot=tmp_path, hosts=[f"{tmp_path}/mod/**={host}"])
    assert found(kept, "error") == {("undefined-symbol", "lost")}


def test_a_program_that_has_little_of_it_is_no_host(tmp_path: Path) -> None:
    Elf(defines=["host_0"], interpreter="/lib/ld.so", flags_1=0x08000000).write(tmp_path / "host")
    for number in range(3):
        Elf(soname=f"m{number}.so", uses=MANY).write(tmp_path / f"m{number}.so")
    assert {
        symbol for rule, symbol in found(verdict(tmp_path, sysroot=tmp_path)) if rule == "undefined-symbol"
    } == set(MANY)


def test_one_symbol_of_one_module_is_told_as_ever(tmp_path: Path) -> None:
    Elf(defines=MANY, interpreter="/lib/ld.so", flags_1=0x08000000).write(tmp_path / "host")
    Elf(soname="m.so", uses=MANY[:2]).write(tmp_path / "m.so")
    report = verdict(tmp_path, sysroot=tmp_path)
    assert {symbol for rule, symbol in found(report, "error") if rule == "undefined-symbol"} == set(MANY[:2])


@pytest.mark.parametrize(("folder", "names", "title", "program"), [
    ("usr/lib/python3.12/lib-dynload", ["PyModule_Create2", "PyExc_ValueError", "other"], "Python 3.12", "usr/bin/python3.12"),
    ("site-packages/x.cpython-313-x86_64-linux-gnu", ["PyList_New", "_Py_Dealloc"], "Python 3.13", "usr/bin/python3.13"),
    ("usr/lib/perl/5.36/auto/POSIX", ["Perl_sv_2iv_flags", "PL_thr_key"], "Perl 5.36", "usr/bin/perl"),
    ("usr/lib/ruby/3.1.0/x86_64-linux", ["rb_define_module", "rb_cObject"], "Ruby 3.1.0", "usr/bin/ruby3.1"),
    ("usr/lib/postgresql/15/lib", ["palloc", "errstart", "heap_open"], "PostgreSQL 15", "usr/lib/postgresql/15/bin/postgres"),
    ("usr/lib/php/20220829", ["zend_parse_arg", "php_info_print"], "PHP 8.2", "usr/bin/php8.2"),
    ("usr/local/lib/php/extensions/no-debug-non-zts-20240924", ["zend_parse_arg"], "PHP 8.4", "usr/local/bin/php"),
    ("usr/lib/php/20990101", ["zend_parse_arg"], "PHP of interface 20990101", "usr/bin/php"),
    ("usr/lib/php/20190902", ["zend_parse_arg"], "PHP 7.4", ""),
    ("node_modules/x/prebuilds/node-v115-linux", ["napi_get_undefined"], "Node.js 20", "usr/bin/node"),
    ("usr/pgsql-17/lib", ["palloc", "heap_open"], "PostgreSQL 17", "usr/pgsql-17/bin/postgres"),
    ("node_modules/x/build/Release", ["napi_create_function", "_ZN2v87Isolate10GetCurrentEv"], "Node.js", "usr/bin/node"),
    ("usr/lib/lua/5.4", ["lua_pushstring", "luaL_setfuncs"], "Lua 5.4", "usr/bin/lua5.4"),
])  # fmt: skip
def test_a_host_is_proposed_by_what_is_lacking(
    tmp_path: Path, folder: str, names: list[str], title: str, program: str
) -> None:
    for number in range(2):
        Elf(soname=f"m{number}.so", uses=names).write(tmp_path / folder / f"m{number}.so")
    if program:
        Elf(interpreter="/x", defines=names).write(tmp_path / program)
    report = verdict(tmp_path / folder, sysroot=tmp_path)
    (one,) = report.at_least("error")
    assert (one.rule, one.symbol, len(one.files)) == ("host-not-named", title, 2)
    assert f"={tmp_path / program if program else '/path/to/it'}'" in (one.suggestion or "")


def test_a_program_of_the_name_that_has_other_names_is_not_proposed(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/php/20220829"
    for number in range(2):
        Elf(soname=f"m{number}.so", uses=["zend_parse_arg", "zend_hash_add"]).write(folder / f"m{number}.so")
    Elf(interpreter="/x", defines=["zend_parse_arg", "zend_hash_add"]).write(tmp_path / "usr/bin/php8.4")
    (tmp_path / "usr/bin/php").symlink_to("php8.4")  # another version
    Elf(interpreter="/x", defines=["other"]).write(tmp_path / "usr/bin/php8.2")
    (one,) = verdict(folder, sysroot=tmp_path).at_least("error")
    assert one.symbol == "PHP 8.2"
    assert "=/path/to/it" in (one.suggestion or "")


def test_names_that_are_like_no_hosts_are_its_program_s_all_the_same(tmp_path: Path) -> None:
    """PostgreSQL's have no prefix in common; one is loaded with the library that has them, as Ruby is."""
    folder = tmp_path / "usr/lib/postgresql/15/lib"
    for number, name in enumerate(("palloc", "palloc", "DefineCustomIntVariable", "of_nobody")):
        Elf(soname=f"m{number}.so", uses=[name]).write(folder / f"m{number}.so")
    Elf(soname="libpg.so", defines=["palloc", "DefineCustomIntVariable"]).write(tmp_path / "usr/lib/libpg.so")
    Elf(interpreter="/x", needed=["libpg.so"]).write(tmp_path / "usr/lib/postgresql/15/bin/postgres")
    one, other = verdict(folder, sysroot=tmp_path).at_least("error")
    assert {one.symbol, other.symbol} == {"PostgreSQL 15", "of_nobody"}
    assert [Path(file).name for file in (*one.files, *other.files)] == ["m0.so", "m1.so", "m2.so"]


def test_a_module_that_another_one_serves(tmp_path: Path, shop: Workshop) -> None:
    """PHP opens pdo.so for all before pdo_pgsql.so; the program alone doesn't have its names."""
    program = Elf(interpreter="/lib/ld.so", defines=["zend_api"]).write(tmp_path / "php")
    first = Elf(soname="pdo.so", defines=["pdo_parse"], uses=["zend_api"]).write(tmp_path / "mod" / "pdo.so")
    for name in ("pdo_a.so", "pdo_b.so"):
        Elf(soname=name, uses=["zend_api", "pdo_parse"]).write(tmp_path / "mod" / name)
    (one,) = verdict(tmp_path / "mod", sysroot=tmp_path, hosts=[program]).at_least("error")
    assert (one.rule, one.symbol, len(one.files)) == ("host-not-named", "pdo.so", 2)
    assert f"say --host '{tmp_path}/mod/**={first}'" in (one.suggestion or "")
    kept = verdict(tmp_path / "mod", sysroot=tmp_path, hosts=[program, f"{tmp_path}/mod/**={first}"])
    assert found(kept, "error") == set()


def test_a_host_of_another_version_is_not_proposed(tmp_path: Path) -> None:
    names = ["PyModule_Create2", "PyExc_ValueError"]
    for version in ("3.11", "3.12"):
        Elf(defines=names, interpreter="/x", flags_1=0x08000000).write(tmp_path / "bin" / f"python{version}")
    for number in range(2):
        Elf(soname=f"m{number}.so", uses=names).write(tmp_path / "lib" / "python3.12" / f"m{number}.so")
        Elf(soname=f"n{number}.so", uses=names).write(tmp_path / "lib" / "python3.13" / f"n{number}.so")
    hosts = {
        one.symbol for one in verdict(tmp_path, sysroot=tmp_path).findings if one.rule == "host-not-named"
    }
    assert hosts == {"python3.12", "Python 3.13"}


@pytest.mark.compiler
@pytest.mark.skipif(not have("gcc"), reason="needs gcc")
def test_hosts_of_folders(shop: Workshop) -> None:
    """Each plugin loads in its own host and in no other: so says dlopen, and so do we."""
    hosts = {}
    for name in ("one", "two"):
        hosts[name] = shop.program(name, f"int of_{name}(void){{return 1;}}\n{OPENER}", "-ldl", "-rdynamic")
        shop.library(f"mods/{name}/plugin", f"int of_{name}(void); int p(void){{return of_{name}();}}")
    plugins = {name: shop.folder / "mods" / name / "libplugin.so" for name in hosts}
    for name, host in hosts.items():
        for other, plugin in plugins.items():
            assert starts(host, plugin) is (name == other)
            assert (found(verdict(plugin, hosts=[host]), "error") == set()) is (name == other)
    right = [f"mods/{name}/**={host}" for name, host in hosts.items()]
    assert found(verdict(shop.folder / "mods", hosts=right), "error") == set()
    wrong = [f"mods/one/**={hosts['two']}", f"mods/two/**={hosts['one']}"]
    assert found(verdict(shop.folder / "mods", hosts=wrong), "error") == {
        ("undefined-symbol", "of_one"), ("undefined-symbol", "of_two"),
    }  # fmt: skip
    words = [word for value in right for word in ("--host", value)]
    assert cli.run(["verify-symbols", "-q", str(shop.folder / "mods"), *words]) == 0
    assert cli.run(["verify-symbols", "-q", str(shop.folder / "mods"), "--host", "mods/**=/no/such"]) == 2


def test_a_host_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--host /no/such: looked for a program"):
        verdict(Elf(soname="x.so").write(tmp_path / "x.so"), hosts=["/no/such"])


def test_pythons_own_modules(capsys: pytest.CaptureFixture[str]) -> None:
    """The system's interpreter's modules lack its names; in its company they lack nothing."""
    folder = next(iter(sorted(Path("/usr/lib").glob("python3.*/lib-dynload"))), Path("/none"))
    modules = sorted(folder.glob("*.so"))[:12]
    program = Path("/usr/bin") / folder.parent.name
    if len(modules) < 2 or not program.is_file():
        pytest.skip("the system has no Python with modules beside it")
    assert cli.run(["verify-symbols", "--json", *map(str, modules)]) == 1
    document = json.loads(capsys.readouterr().out)
    (one,) = [one for one in document["findings"] if one["severity"] == "error"]
    assert one["rule"] == "host-not-named"
    assert one["symbol"].startswith("Python 3")
    assert cli.run(["verify-symbols", "-q", "--host", f"{folder}/**={program}", *map(str, modules)]) == 0
