"""Random link lines: a seed makes objects, archives, libraries, scripts and options, put together anyhow.

``benchmarks/emulation.py`` asks the real linkers about them and compares. Every function stands in a section
of its own, as ``-ffunction-sections`` has it, so that ``--gc-sections`` has something to take away.
"""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

# As C sees them and as the linker does: the last ones are names of C++.
PLAIN = tuple(f"s{number}" for number in range(9))
MANGLED = {
    "_ZN3api1fEi": "api::f(int)",
    "_ZN3api1gEd": "api::g(double)",
    "_ZN4impl1hEi": "impl::h(int)",
}
NAMES = (*PLAIN, *MANGLED)


@dataclass
class Function:
    """A definition (of data where ``kind`` says so) and what it calls: (name, "", "weak" or "hidden")."""

    name: str
    calls: list[tuple[str, str]] = field(default_factory=list)
    how: str = ""  # weak, hidden, protected


@dataclass
class Part:
    """One source file."""

    name: str
    functions: list[Function] = field(default_factory=list)

    def text(self, kinds: dict[str, str]) -> str:
        """Its C. ``kinds`` has ``data`` and ``tls`` for what is no function."""
        lines, own = [], {one.name for one in self.functions}
        wanted: dict[str, str] = {}
        for function in self.functions:
            for name, how in function.calls:
                wanted.setdefault(name, how)
        for name, how in wanted.items():
            if name in own:
                continue
            kind = kinds.get(name, "")
            more = {"weak": "weak", "hidden": 'visibility("hidden")'}.get(how)
            attribute = f" __attribute__(({more}))" if more else ""
            thread = "__thread " if kind == "tls" else ""
            lines.append(f"extern {thread}int {name}{'' if kind else '(void)'}{attribute};")
        for function in self.functions:
            kind = kinds.get(function.name, "")
            more = {
                "weak": "weak", "hidden": 'visibility("hidden")', "protected": 'visibility("protected")'
            }.get(function.how)  # fmt: skip
            start = f"__attribute__(({more})) " if more else ""
            if kind:
                lines.append(f"{start}{'__thread ' if kind == 'tls' else ''}int {function.name} = 1;")
            else:
                lines.append(f"{start}int {function.name}(void);")
        for function in self.functions:
            if kinds.get(function.name):
                continue
            body = ["int sum = 0;"]
            for name, _ in function.calls:
                call = name if kinds.get(name) else f"{name}()"
                weak = name not in own and wanted[name] == "weak"
                body.append(f"if (&{name}) sum += {call};" if weak else f"sum += {call};")
            lines.append(f"int {function.name}(void) {{ {' '.join(body)} return sum; }}")
        return "\n".join(lines) + "\n"


@dataclass
class Shared:
    """A shared library: its source, what it needs, how it was linked."""

    part: Part
    needed: list[str] = field(default_factory=list)
    script: str = ""
    folder: str = "."
    soname: str = ""
    rpath: bool = False
    gone: bool = False  # removed before the link
    rebuilt: Part | None = None  # what lies there at the link, where others were linked against ``part``
    rebuilt_script: str = ""


@dataclass
class Line:
    """One link line with all that it needs."""

    seed: int
    kinds: dict[str, str]
    objects: list[Part]
    archives: dict[str, list[Part]]
    libraries: dict[str, Shared]
    scripts: dict[str, str]
    arguments: list[str]

    @property
    def text(self) -> str:
        """The line as it is typed."""
        return " ".join(self.arguments)

    def build(self, folder: Path) -> None:
        """Make everything that the line names. Raises :class:`subprocess.CalledProcessError`."""
        (folder / "sub").mkdir(parents=True, exist_ok=True)
        sources = [*self.objects, *(one for members in self.archives.values() for one in members)]
        for shared in self.libraries.values():
            sources += [shared.part, *([shared.rebuilt] if shared.rebuilt else [])]
        for part in sources:
            (folder / f"{part.name}.c").write_text(part.text(self.kinds))
        for name, text in self.scripts.items():
            (folder / name).write_text(text)
        _run(folder, "gcc", "-fPIC", "-O0", "-w", "-ffunction-sections", "-fdata-sections", "-c",
             *(f"{part.name}.c" for part in sources))  # fmt: skip
        for name, members in self.archives.items():
            _run(folder, "ar", "rcs", f"lib{name}.a", *(f"{part.name}.o" for part in members))
        for name, shared in self.libraries.items():
            self._library(folder, name, shared, shared.part, shared.script)
        for name, shared in self.libraries.items():
            if shared.rebuilt is not None:
                self._library(folder, name, shared, shared.rebuilt, shared.rebuilt_script)
        for name, shared in self.libraries.items():
            if shared.gone:
                (folder / shared.folder / f"lib{name}.so").unlink()

    def _library(self, folder: Path, name: str, shared: Shared, part: Part, script: str) -> None:
        words = [
            "-shared",
            "--allow-shlib-undefined",
            "-o",
            f"{shared.folder}/lib{name}.so",
            f"{part.name}.o",
        ]
        if shared.soname:
            words += ["-soname", shared.soname]
        if script:
            (folder / f"{part.name}.map").write_text(script)
            words += [f"--version-script={part.name}.map"]
        if shared.rpath:
            words += ["--enable-new-dtags", "-rpath", "$ORIGIN:$ORIGIN/sub"]
        needed = [f"{self.libraries[one].folder}/lib{one}.so" for one in shared.needed]
        _run(folder, "ld.gold", *words, *needed)


def _run(folder: Path, *words: str) -> None:
    subprocess.run(words, cwd=folder, check=True, capture_output=True)


class _Maker:
    """One seed's choices."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - the same lines again
        self.seed = seed
        self.names = self.chance.sample(NAMES, self.chance.randint(4, len(NAMES)))
        self.kinds = {
            name: self.chance.choice(("data", "data", "tls"))
            for name in self.names
            if name not in MANGLED and self.odds(0.15)
        }
        self.defined: set[str] = set()  # strongly, by an object or archive

    def odds(self, share: float) -> bool:
        return self.chance.random() < share

    def part(self, name: str, *, library: bool, entry: bool = False, most: int = 3) -> Part:
        part = Part(name)
        if entry:
            part.functions.append(Function("_start", self.calls(1, 3, library)))
        for function in self.chance.sample(self.names, min(len(self.names), self.chance.randint(0, most))):
            how = self.chance.choices(("", "weak", "hidden", "protected"), (12, 2, 2, 1))[0]
            if not library and how != "weak":
                if function in self.defined:
                    continue  # twice would be another error
                self.defined.add(function)
            calls = [] if self.kinds.get(function) else self.calls(0, 2, library)
            part.functions.append(Function(function, calls, how))
        if not part.functions or self.odds(0.5):
            part.functions.append(Function(f"{name}_own", self.calls(0, 2, library)))
        return part

    def calls(self, least: int, most: int, library: bool) -> list[tuple[str, str]]:
        number = min(len(self.names), self.chance.randint(least, most))
        found = []
        for name in self.chance.sample(self.names, number):
            how = self.chance.choices(("", "weak", "hidden"), (16, 3, 0 if library else 1))[0]
            found.append((name, how))
        return found

    def libraries(self) -> dict[str, Shared]:
        made: dict[str, Shared] = {}
        for number in range(self.chance.choice((0, 1, 1, 2, 2, 3, 4))):
            name = f"l{number}"
            shared = Shared(self.part(f"{name}_", library=True))
            shared.needed = [one for one in made if self.odds(0.35)]
            shared.folder = "sub" if self.odds(0.15) else "."
            shared.soname = f"lib{name}.so" if self.odds(0.85) else ""
            shared.rpath = self.odds(0.2)
            if self.odds(0.15):
                shared.script = f"V1 {{ {'; '.join(self.names)}; }};"
            if self.odds(0.1):
                shared.rebuilt = self.part(f"{name}_again", library=True)
                shared.rebuilt_script = self.chance.choice(
                    ("", f"V2 {{ {'; '.join(self.names)}; }};", shared.script)
                )
            made[name] = shared
        for name, shared in made.items():
            needed_by = [one for one in made.values() if name in one.needed]
            if needed_by and self.odds(0.08):
                shared.gone = True
        return made

    def script(self) -> str:
        """A version script."""
        names = self.chance.sample(self.names, min(len(self.names), self.chance.randint(1, 2)))
        some = " ".join(f"{name};" for name in names)
        cpp = self.chance.choice(
            ("api::*;", "impl::*;", '"api::f(int)";', "api::*; impl::*;", '"impl::h(int)"; "api::nothing()";')
        )
        globs = self.chance.choice(("s*;", "s[0-4];", "_ZN3api*;", "s?; l*;", some))
        version = self.chance.choice(("", "V1 ", "V9 "))
        return self.chance.choice(
            (
                f"{version}{{ global: {some} local: *; }};",
                f"{version}{{ local: {some} }};",
                f"{version}{{ global: {globs} local: *; }};",
                f"{version}{{ local: {globs} }};",
                f'{version}{{ global: extern "C++" {{ {cpp} }}; local: *; }};',
                f'{version}{{ global: {some} extern "C++" {{ {cpp} }}; local: *; }};',
                f'{version}{{ local: extern "C++" {{ {cpp} }}; }};',
                f"{version}{{ global: *; local: {some} }};",
                f'{version}{{ global: extern "C" {{ {some} }}; local: s*; }};',
                f"VA {{ global: {some} }}; VB {{ global: {globs} local: *; }} VA;",
            )
        )

    def line(self) -> Line:
        shared = self.odds(0.25)
        objects = [self.part("main", library=False, entry=not shared)]
        objects += [
            self.part(f"o{number}", library=False) for number in range(self.chance.choice((0, 0, 1, 1, 2)))
        ]
        archives = {
            f"a{number}": [
                self.part(f"a{number}m{member}", library=False, most=2)
                for member in range(self.chance.randint(1, 3))
            ]
            for number in range(self.chance.choice((0, 0, 1, 1, 2)))
        }
        libraries = self.libraries()
        scripts: dict[str, str] = {}
        front = self.front(shared, scripts, archives)
        operands = [f"{part.name}.o" for part in objects[1:]]
        operands += [self.archive(name) for name in archives]
        for name, one in libraries.items():
            if not one.gone and self.odds(0.85):
                operands.append(
                    f"-l{name}" if one.folder == "." and self.odds(0.3) else f"{one.folder}/lib{name}.so"
                )
        self.chance.shuffle(operands)
        operands.insert(0 if self.odds(0.8) else self.chance.randint(0, len(operands)), "main.o")
        if len(operands) > 2 and self.odds(0.15):
            operands.insert(self.chance.randint(1, len(operands) - 1), "--as-needed")
        if archives and self.odds(0.12):
            first = self.chance.randint(0, len(operands))
            operands.insert(first, "--start-group")
            operands.insert(self.chance.randint(first + 1, len(operands)), "--end-group")
        for flag in ("--no-as-needed", "-Bdynamic"):
            if self.odds(0.05):
                operands.insert(self.chance.randint(0, len(operands)), flag)
        if "-Bstatic" not in operands and self.odds(0.02):
            operands.insert(self.chance.randint(0, len(operands)), "-Bstatic")
        return Line(self.seed, self.kinds, objects, archives, libraries, scripts, [*front, "-L.", *operands])

    def archive(self, name: str) -> str:
        file = f"-l{name}" if self.odds(0.3) else f"lib{name}.a"
        return f"--whole-archive {file} --no-whole-archive" if self.odds(0.15) else file

    def front(self, shared: bool, scripts: dict[str, str], archives: dict[str, list[Part]]) -> list[str]:
        """The options that count for the whole line."""
        some = self.chance.choice(self.names)
        other = self.chance.choice([*self.names, "nowhere", "main"])
        archive = self.chance.choice(
            ("ALL", *(text for one in archives for text in (f"lib{one}.a", f"lib{one}", one)))
        )
        words: list[str] = ["-shared"] if shared else ["-pie"] if self.odds(0.2) else []
        pool = (
            (0.25, ["--gc-sections"]),
            (0.03, ["--no-gc-sections"]),
            (0.10, ["--allow-shlib-undefined"]),
            (0.12, ["--no-allow-shlib-undefined"]),
            (0.20 if shared else 0.04, ["-z", "defs"]),
            (0.04, ["--no-undefined"]),
            (0.02, ["-z", "undefs"]),
            (0.03, ["--unresolved-symbols=ignore-all"]),
            (0.03, ["--unresolved-symbols=ignore-in-shared-libs"]),
            (0.03, ["--unresolved-symbols=ignore-in-object-files"]),
            (0.02, ["--unresolved-symbols=report-all"]),
            (0.03, ["--warn-unresolved-symbols"]),
            (0.10, ["--as-needed"]),
            (0.10, ["--export-dynamic"]),
            (0.06, [f"--exclude-libs={archive}"]),
            (0.04, ["--exclude-libs", archive]),
            (0.06, [f"--defsym={some}={other}"]),
            (0.05, [f"--wrap={some}"]),
            (0.06, ["-u", some]),
            (0.04, [f"--undefined={other}"]),
            (0.04, ["-Bsymbolic"]),
            (0.10, ["-rpath-link", "."]),
            (0.08, ["-rpath", "."]),
            (0.06, ["-rpath-link", "sub"]),
            (0.03, ["--copy-dt-needed-entries"]),
            (0.03, ["--no-undefined-version"]),
            (0.02, ["--undefined-version"]),
            (0.02, [f"--export-dynamic-symbol={some}"]),
            (0.02, [f"--require-defined={some}"]),
            (0.03, ["--no-copy-dt-needed-entries"]),
        )  # fmt: skip
        for share, option in pool:
            if self.odds(share):
                words += option
        if self.odds(0.22):
            scripts["line.map"] = self.script() + "\n"
            words.append("--version-script=line.map")
        if self.odds(0.05):
            scripts["list.map"] = f"{{ {some}; s[0-3]; }};\n"
            words.append("--dynamic-list=list.map")
        return words


def link_line(seed: int) -> Line:
    """The line of a seed, always the same one."""
    made = _Maker(seed).line()
    made.arguments = " ".join(made.arguments).split()
    return made
