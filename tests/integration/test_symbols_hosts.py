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
    ("usr/lib/ruby/3.1.0/x86_64-linux", ["rb_define_module", "rb_cObject"], "Ruby 3.1.0", ""),
    ("usr/lib/postgresql/15/lib", ["palloc", "errstart", "heap_open"], "PostgreSQL 15", "usr/lib/postgresql/15/bin/postgres"),
    ("usr/lib/php/20220829", ["zend_parse_arg", "php_info_print"], "PHP 20220829", "usr/bin/php"),
    ("node_modules/x/build/Release", ["napi_create_function", "_ZN2v87Isolate10GetCurrentEv"], "Node.js", "usr/bin/node"),
    ("usr/lib/lua/5.4", ["lua_pushstring", "luaL_setfuncs"], "Lua 5.4", "usr/bin/lua5.4"),
])  # fmt: skip
def test_a_host_is_proposed_by_what_is_lacking(
    tmp_path: Path, folder: str, names: list[str], title: str, program: str
) -> None:
    for number in range(2):
        Elf(soname=f"m{number}.so", uses=names).write(tmp_path / folder / f"m{number}.so")
    if program:
        Elf(interpreter="/x").write(tmp_path / program)
    report = verdict(tmp_path / folder, sysroot=tmp_path)
    (one,) = report.at_least("error")
    assert (one.rule, one.symbol, len(one.files)) == ("host-not-named", title, 2)
    assert f"={tmp_path / program if program else '/path/to/it'}'" in (one.suggestion or "")


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
