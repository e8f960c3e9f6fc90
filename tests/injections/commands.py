"""The commands that write, each with the two states that there are, and what the next command is."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from patcher import cli
from patcher.base.errors import PatcherError
from patcher.engine.patchset import load
from patcher.symbols import repair
from patcher.symbols.repair.batch import Candidate
from patcher.symbols.repair.database import Compilation
from patcher.symbols.repair.proof import RepairProof
from patcher.symbols.repair.signature import Signature
from tests.tiny_models import write_model
from tests.unit.evaluate_fakes import write_gguf
from tests.unit.test_model_gguf import split
from tests.unit.test_model_retag import Q8_A8, gguf
from tests.unit.test_model_smooth import calibrated

MINI = Path(__file__).parents[1] / "fixtures" / "mini"
Snapshot = Mapping[str, bytes | None]
Work = Callable[[Path], int]


@dataclass(frozen=True)
class Command:
    """``work`` is done in a copy of ``start``; the value of it is the exit code.

    ``after`` is what ``work`` makes of it. ``following`` are commands that may come next, each with the state
    that it must end in and the exit codes that it may have. ``beside`` runs at the same time.
    """

    name: str
    start: Path
    work: Work
    following: tuple[tuple[Work, str, tuple[int, ...]], ...]
    beside: Work | None = None
    before: Snapshot = field(default_factory=dict)
    after: Snapshot = field(default_factory=dict)

    def state(self, place: Path) -> str:
        """``before``, ``after`` or ``between``; drafts and records of what is under way count as nothing."""
        now = snapshot(place, quiet=True)
        if now == without_drafts(self.before):
            return "before"
        return "after" if now == without_drafts(self.after) else "between"

    def settled(self, place: Path) -> str:
        """``before`` or ``after`` where there is not a file or folder more; else what there is."""
        now = snapshot(place)
        for name, wanted in (("before", self.before), ("after", self.after)):
            if now == wanted:
                return name
        left = {
            path for path in now.keys() | self.after.keys() if now.get(path, b"") != self.after.get(path, b"")
        }
        return f"between: {', '.join(sorted(left)[:5])}"


def snapshot(place: Path, *, quiet: bool = False) -> dict[str, bytes | None]:
    """Every file (None: folder) of ``place``; of git's folder the branch, and records that are not whole."""
    found: dict[str, bytes | None] = {}
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place).as_posix()
        if name.startswith(".git/"):
            if name == ".git/refs/heads/main":  # what it holds: the commit itself has a time in it
                tree = ["git", "rev-parse", "main^{tree}"]
                found[name] = subprocess.run(tree, cwd=place, capture_output=True, check=True).stdout
            elif _is_left(name):
                found[name] = path.read_bytes() if path.is_file() else None
        elif not name.endswith((".lock", "calls.txt")):
            found[name] = path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else None
    return without_drafts(found) if quiet else found


def _is_left(name: str) -> bool:
    parts = name.split("/")
    return "q8a8-patch" in parts and parts[-1].startswith(("pending", "draft-", "done-"))


def without_drafts(found: Snapshot) -> dict[str, bytes | None]:
    """Without what is only on its way: drafts, records of a run, empty folders."""
    return {
        name: data
        for name, data in found.items()
        if data is not None
        and not Path(name).name.startswith(".")
        and not _is_left(name)
        and not name.endswith((".part", ".part.log"))
    }


def q8a8_patch(*words: str) -> Work:
    """One command; ``{}`` in its words is the folder."""

    def work(place: Path) -> int:
        return cli.run([word.format(place) for word in words])

    return work


def commands(home: Path) -> list[Command]:
    """Every command, with its start laid out below ``home``."""
    clean = home / "clean"
    shutil.copytree(MINI, clean)
    _git(clean, "init", "-q", "--template=", "-b", "main")
    committed = home / "committed"
    shutil.copytree(clean, committed)
    _git(committed, "add", "-A")
    _git(committed, "commit", "-qm", "base")
    some = ("--only", "ggml-cpu")
    apply, revert = q8a8_patch("apply", "-q", "{}", *some), q8a8_patch("revert", "-q", "{}")
    whole = q8a8_patch("apply", "-q", "{}")
    commit = q8a8_patch("apply", "-q", "--commit", "{}", *some)
    patched = _done(clean, home / "patched", apply)
    back = ((revert, "before", (0, 2)), (apply, "after", (0,)))
    models = home / "models"
    models.mkdir()
    for name in ("smooth", "parts", "quantize", "retag"):
        (models / name).mkdir()
    calibrated(write_model(models / "smooth/m.gguf", "llama"))
    calibrated(split(write_model(models / "parts/m.gguf", "llama"), 2)).rename(models / "parts/m.stats")
    split(write_model(models / "parts/s.gguf", "llama", seed=1), 2)  # an older one
    gguf(models / "retag/m.gguf", [("a.weight", (64, 3), 39, Q8_A8), ("norm", (64,), 0, (1, 4))])
    write_gguf(models / "quantize/m.gguf", "F16")
    (models / "quantize/out.gguf").write_bytes(b"an older one")
    _fake_quantize(home / "bin", write_gguf(home / "made.gguf", "Q8_A8"))
    smooth = q8a8_patch("smooth", "-q", "--force", "{}/m.gguf", "--stats", "{}/m.stats", "-o", "{}/s.gguf")
    parts = q8a8_patch(
        "smooth", "-q", "--force", "{}/m-00001-of-00002.gguf", "--stats", "{}/m.stats", "-o", "{}/s.gguf"
    )
    retag = q8a8_patch("gguf", "retag", "-q", "{}/m.gguf", "--in-place")
    quantize = q8a8_patch(
        "quantize", "-q", "--bin", str(home / "bin"), "--force", "{}/m.gguf", "{}/out.gguf", "Q8_A8"
    )
    made = [
        Command("apply", clean, apply, back),
        Command("revert", patched, revert, ((revert, "after", (0, 2)), (apply, "before", (0,)))),
        Command("apply --commit", committed, commit, ((commit, "after", (0,)),)),
        Command("two applies at once", clean, apply, back, beside=apply),
        Command("verify-symbols --fix", clean, _fix, ((revert, "before", (0, 2)), (_fix, "after", (0,)))),
        Command("gguf retag", models / "retag", retag, ((retag, "after", (0,)),)),
        Command("quantize", models / "quantize", quantize, ((quantize, "after", (0,)),)),
        Command("smooth", models / "smooth", smooth, ((smooth, "after", (0,)),)),
        Command("smooth, in parts", models / "parts", parts, ((parts, "after", (0,)),)),
        Command("apply, every file", clean, whole, ((revert, "before", (0, 2)), (whole, "after", (0,)))),
    ]
    return [_with_states(command, home / "states" / str(number)) for number, command in enumerate(made)]


def _with_states(command: Command, place: Path) -> Command:
    made = _done(command.start, place, command.work)
    return Command(
        command.name,
        command.start,
        command.work,
        command.following,
        command.beside,
        snapshot(command.start),
        snapshot(made),
    )


def _done(start: Path, place: Path, work: Work) -> Path:
    shutil.copytree(start, place)
    code = work(place)
    if code != 0:
        raise RuntimeError(f"{place}: exit {code} without any injection")
    return place


def _fix(place: Path) -> int:
    """What ``--fix`` does when the compiler has said its word; a fix that stands there is not written again."""
    source = place / "src/llama-model-loader.cpp"
    line = "template bool loader::get_key<float>(const std::string &, float &, bool);"
    shape = Signature("bool", "loader::get_key", "<float>", ("const std::string &", "float &", "bool"))
    candidate = Candidate("_Z", shape, [line], proof=RepairProof(True))
    fix = repair.Repair(candidate, Compilation(source, place, (), place / "x.o"), 1)
    try:
        repair.write([], place)  # takes back what was cut off
        if line not in source.read_text(encoding="utf-8"):
            repair.write([fix], place)
    except PatcherError as why:
        print(f"error: {why}", file=sys.stderr)
        return why.exit_code
    return 0


def _fake_quantize(folder: Path, made: Path) -> None:
    folder.mkdir()
    program = folder / "llama-quantize"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *.gguf*) exec cp {made} "$2";; esac\necho "  120  or  Q8_A8  : 8.5 bits"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)


def _git(folder: Path, *words: str) -> None:
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *words], cwd=folder, check=True, env={**os.environ, **who})


load()  # so that a child finds it in memory
