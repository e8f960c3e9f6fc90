"""Real files of other machines and other C libraries: made by cross compilers, or by their assemblers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from patcher.symbols import SearchOptions, check
from patcher.symbols.elf import read
from tests.linking import Workshop, found, have, without_sections

pytestmark = [pytest.mark.system, pytest.mark.compiler]

# what "use" is in an assembler, where there is no compiler: it calls "f"
ARM = ".syntax unified\n.globl {0}\n.type {0},%function\n{0}: push {{lr}}\n{1}\n pop {{pc}}\n"
PPC = ".abiversion 2\n.globl {0}\n.type {0},@function\n{0}: mflr 0\n{1}\n nop\n blr\n"


@dataclass(frozen=True)
class Machine:
    """How to make files for one: a compiler, or an assembler's ``template``, and its linker."""

    name: str
    compiler: tuple[str, ...]
    linker: tuple[str, ...]
    bits: int = 64
    little: bool = True
    template: str = ""
    call: str = ""

    def make(
        self, folder: Path, name: str, uses: str, defines: str, *flags: str, shared: bool = True
    ) -> Path:
        """``name`` with a function that calls another, or (``uses`` is empty) calls none."""
        out, part = folder / name, folder / f"{name}.o"
        out.parent.mkdir(parents=True, exist_ok=True)
        if self.template:
            text = self.template.format(defines, self.call.format(uses) if uses else "")
            source = folder / f"{name}.s"
            command: list[str | Path] = [*self.compiler, "-o", part, source]
        else:
            call = f"return {uses}();" if uses else "return 0;"
            text = (f"int {uses}(void);\n" if uses else "") + f"int {defines}(void) {{ {call} }}\n"
            source = folder / f"{name}.c"
            command = [*self.compiler, "-fPIC", "-c", "-o", part, source]
        source.write_text(text)
        self._run(command, folder)
        kind = (
            ["-shared", "-soname", out.name] if shared else ["-dynamic-linker", "/lib/ld.so", "-e", defines]
        )
        allow = ["--allow-shlib-undefined", "--unresolved-symbols=ignore-all"]
        self._run([*self.linker, *kind, *allow, "-o", out, part, *flags], folder)
        return out

    @staticmethod
    def _run(command: Sequence[str | Path], folder: Path) -> None:
        done = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def cross(name: str, little: bool = True) -> Machine:
    return Machine(name, (f"{name}-gcc",), (f"{name}-ld",), little=little)


MACHINES = [
    cross("aarch64-linux-gnu"),
    cross("riscv64-linux-gnu"),
    cross("s390x-linux-gnu", little=False),
    Machine("i386", ("gcc", "-m32"), ("ld", "-m", "elf_i386"), bits=32),
    Machine("x32", ("gcc", "-mx32"), ("ld", "-m", "elf32_x86_64"), bits=32),
    Machine(
        "arm-linux-gnueabihf", ("arm-linux-gnueabihf-as",), ("arm-linux-gnueabihf-ld",),
        bits=32, template=ARM, call="bl {0}(PLT)",
    ),
    Machine(
        "powerpc64le-linux-gnu", ("powerpc64le-linux-gnu-as",), ("powerpc64le-linux-gnu-ld",),
        template=PPC, call="bl {0}",
    ),
]  # fmt: skip


@pytest.fixture(params=MACHINES, ids=lambda machine: machine.name)
def machine(request: pytest.FixtureRequest) -> Machine:
    one: Machine = request.param
    if not have(one.compiler[0], one.linker[0]):
        pytest.skip(f"no compiler or assembler for {one.name}")
    if one.name in ("i386", "x32") and os.uname().machine != "x86_64":
        pytest.skip("the compiler of this machine makes no such files")
    return one


def verdict(*paths: Path, **options: object) -> set[tuple[str, str]]:
    every = found(check(paths, options=SearchOptions(**options)))  # type: ignore[arg-type]
    return {one for one in every if one[0] != "interpreter-not-found"}  # /lib/ld.so is nobody's


def test_an_undefined_symbol(machine: Machine, tmp_path: Path) -> None:
    library = machine.make(tmp_path, "libuse.so", "f", "use")
    item = read(library)
    assert (item.bits, item.little) == (machine.bits, machine.little)
    program = machine.make(tmp_path, "main", "use", "_start", "libuse.so", "-rpath", "$ORIGIN", shared=False)
    assert verdict(program) == {("undefined-symbol", "f")}
    other = machine.make(tmp_path, "libf.so", "", "f")
    machine.make(tmp_path, "libuse.so", "f", "use", "libf.so", "-rpath", "$ORIGIN")
    assert verdict(program) == set()
    # stripped, and without section headers: the dynamic segment tells
    bare = without_sections(library, tmp_path / "bare") if machine.bits == 64 and machine.little else library
    bare.replace(library)
    assert verdict(program) == set()
    other.unlink()
    assert verdict(program) == {("library-not-found", "libf.so")}


def test_versions(machine: Machine, tmp_path: Path) -> None:
    script = tmp_path / "v.map"
    script.write_text("V2 { f; };")
    machine.make(tmp_path, "libf.so", "", "f", "--version-script=v.map")
    machine.make(tmp_path, "libuse.so", "f", "use", "libf.so", "-rpath", "$ORIGIN")
    assert verdict(tmp_path / "libuse.so") == set()
    script.write_text("V1 { f; };")
    machine.make(tmp_path, "libf.so", "", "f", "--version-script=v.map")
    assert verdict(tmp_path / "libuse.so") == {("version-mismatch", "f@V2")}


def test_hidden_by_a_script(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "v.map").write_text("{ global: g; local: *; };")
    machine.make(tmp_path, "libf.so", "g", "f", "--version-script=v.map")
    machine.make(tmp_path, "libuse.so", "f", "use", "--no-as-needed", "libf.so", "-rpath", "$ORIGIN")
    assert ("hidden-definition", "f") in verdict(tmp_path / "libuse.so")


def test_a_library_of_this_machine_is_not_taken(machine: Machine, tmp_path: Path) -> None:
    machine.make(tmp_path, "libf.so", "", "f")
    library = machine.make(tmp_path, "libuse.so", "f", "use", "libf.so", "-rpath", "/native:/usr/lib")
    root = tmp_path / "root"
    native = Machine("here", ("gcc",), ("ld",))
    (root / "native").mkdir(parents=True)
    (root / "usr" / "lib").mkdir(parents=True)
    native.make(tmp_path / "root" / "native", "libf.so", "", "f")
    if read(root / "native" / "libf.so").abi == read(library).abi:
        pytest.skip("this machine is that one")
    assert verdict(library, sysroot=root) == {("library-not-found", "libf.so")}
    (tmp_path / "libf.so").replace(root / "usr" / "lib" / "libf.so")
    assert verdict(library, sysroot=root) == set()


@pytest.mark.skipif(not have("musl-gcc"), reason="needs musl's compiler")
def test_musl(tmp_path: Path) -> None:
    shop = Workshop(tmp_path, cc="musl-gcc")
    use = "extern int f(void); int use(void){return f();}"
    main = "extern int use(void); int main(void){return use();}"
    library = shop.library("use", use)
    program = shop.program("main", main, library)
    assert found(shop.check(program)) == {("undefined-symbol", "f")}
    assert not shop.loads(program)
    # a library alone is known by the C library that it needs
    assert found(shop.check(library)) == {("undefined-symbol", "f")}
    # RUNPATH is inherited: the program's serves its library
    shop.library("sub/f", "int f(void){return 0;}", soname="libf.so")
    shop.library("use", use, tmp_path / "sub" / "libf.so")
    program = shop.program("main", main, library, "-Wl,--enable-new-dtags,-rpath,$ORIGIN/sub")
    assert found(shop.check(program)) == set()
    assert shop.loads(program)
    (tmp_path / "sub" / "libf.so").unlink()
    assert found(shop.check(program)) == {("library-not-found", "libf.so")}
    assert not shop.loads(program)


def test_android(tmp_path: Path) -> None:
    """RUNPATH counts and RPATH doesn't; the system's folders are its own."""
    native = Machine("here", ("gcc",), ("ld",))
    if not have("gcc", "ld"):
        pytest.skip("needs gcc")
    root = tmp_path / "root"
    lib = "lib64" if read(native.make(tmp_path, "probe.so", "", "f")).bits == 64 else "lib"
    for name in ("libc.so", "libm.so"):
        native.make(root / "system" / lib, name, "", f"from_{name[:-3]}")
    system = [str(root / "system" / lib / name) for name in ("libc.so", "libm.so")]
    native.make(tmp_path / "app", "libf.so", "", "f")
    for flag, expected in (
        ("--enable-new-dtags", set()),
        ("--disable-new-dtags", {("library-not-found", "libf.so")}),
    ):
        library = native.make(
            tmp_path / "app", "libuse.so", "f", "use", "--no-as-needed", *system, "libf.so", flag,
            "-rpath", "$ORIGIN",
        )  # fmt: skip
        assert verdict(library, sysroot=root) == expected
