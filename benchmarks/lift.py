"""Types that upstream added itself, lifted from the first release that has each, and put into others.

    python -m benchmarks.lift --releases RELEASES [--results FILE] [--taken-out] [--prove N] [--page FILE]

RELEASES holds checkouts named by the versions of node-llama-cpp that ship them: those of :data:`PAIRS` and
:data:`OTHERS` that are there are used. ``--prove`` builds and runs N proofs that the results lack, the homes
first (each is minutes of a processor). Results are kept in FILE: the page is made of all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.lift_taken_out import put_back, taken_out, write
from patcher import git
from patcher.engine.patchset import load
from patcher.engine.plan import State
from patcher.engine.planning import make_plan
from patcher.engine.tree import WorkTree

# type -> the last release without it, and the first that has it
PAIRS = {
    "MXFP4": ("3.10.0", "3.12.0"),
    "NVFP4": ("3.17.1", "3.18.1"),
    "Q1_0": ("3.18.1", "3.20.0"),
    "Q2_0": ("3.18.1", "3.20.0"),
}
OTHERS = ("3.7.0", "3.9.0", "3.14.0", "3.14.5", "3.16.2", "3.22.1")
WEEKS = 26
FORKS = Path(__file__).with_name("lift_forks.md")  # what was lifted from forks, by hand
PLACED = (State.MISSING, State.APPLIED, State.PRESENT)
IDLE = (State.NOT_NEEDED, State.UNPLACED)


@dataclass
class Target:
    """One release that the type is put into, or looked for in. ``weeks`` are from the release it is of."""

    release: str
    weeks: int
    placed: int = 0
    refused: list[str] = field(default_factory=list)
    idle: int = 0
    files: int = 0
    whole: int = 0  # of the files, those of which no edit is refused
    merged: int = 0  # of the files, those that git merge-file takes without a conflict
    again: list[str] = field(
        default_factory=list
    )  # it has the type, and would be given the edit all the same
    proof: dict[str, Any] | None = None
    taken: dict[str, Any] | None = None  # of a release that has it: the type taken out, and put back


@dataclass
class Lifted:
    """One type."""

    name: str
    tree: str
    base: str
    failure: str = ""
    edits: int = 0
    not_lifted: int = 0
    home: Target | None = None
    before: list[Target] = field(default_factory=list)
    after: list[Target] = field(default_factory=list)


class Bench:
    """The releases, and where lifted types are kept."""

    def __init__(self, releases: Path, work: Path) -> None:
        self.releases = releases
        self.work = work
        names = {name for pair in PAIRS.values() for name in pair} | set(OTHERS)
        self.dates = {name: _dated(releases / name) for name in names if (releases / name).is_dir()}

    def lifted(self, name: str) -> Lifted:
        """Lift it, and plan it over every release within :data:`WEEKS`."""
        base, tree = PAIRS[name]
        made = Lifted(name, self.called(tree), self.called(base))
        done = self._lift(name)
        if done.returncode != 0:
            made.failure = _last(done.stderr)
            return made
        document = json.loads(done.stdout)
        made.not_lifted = len(document["not_lifted"])
        made.edits = len(load(self.work / name.lower()).edits)
        made.home = self._planned(name, base)
        for other, day in sorted(self.dates.items(), key=lambda item: item[1]):
            weeks = (day - self.dates[tree]).days / 7
            if other in PAIRS[name] or abs(weeks) > WEEKS:
                continue
            (made.before if weeks < 0 else made.after).append(self._planned(name, other))
        return made

    def _lift(self, name: str) -> subprocess.CompletedProcess[str]:
        base, tree = PAIRS[name]
        whole, before, place = self.releases / tree, self.releases / base, self.work / name.lower()
        return _patcher("type", "lift", whole, "--base", before, "--type", name, "-o", place, "--json")

    def _planned(self, name: str, release: str) -> Target:
        there = self.releases / release
        weeks = round((self.dates[release] - self.dates[PAIRS[name][1]]).days / 7)
        made = Target(self.called(release), weeks)
        plan = make_plan(WorkTree(there), load(self.work / name.lower()))
        has = f"GGML_TYPE_{name}" in (there / "ggml/include/ggml.h").read_text(encoding="utf-8")
        alone = self._alone(name) if has else set()
        for edit in plan.edits:
            if edit.state in IDLE:
                made.idle += 1
            elif edit.edit.id in alone:
                continue
            elif edit.state is State.MISSING and has:
                made.again.append(edit.edit.id)
            elif edit.state in PLACED and not edit.differs:
                made.placed += 1
            else:
                made.refused.append(edit.edit.id)
        refused = {edit.file for edit in plan.edits if edit.edit.id in made.refused}
        for path in sorted({edit.file for edit in plan.edits if edit.file and edit.state not in IDLE}):
            made.files += 1
            made.whole += path not in refused
            made.merged += self._merges(name, path, _bytes(there / path))
        return made

    def _merges(self, name: str, path: str, now: bytes | None) -> bool:
        """Whether git merge-file puts the type into ``now`` without a conflict: from its base to its tree."""
        before, after = (_bytes(self.releases / each / path) for each in PAIRS[name])
        if now is None:
            return before is None  # a new file is taken as it is
        return (
            before is not None
            and after is not None
            and (git.merge(now, base=before, other=after) is not None)
        )

    def take_out(self, lifted: Lifted, target: Target) -> dict[str, Any]:
        """The type taken out of that release, which has it, and planned on what is left."""
        folder = self._folder(lifted.name)
        tree = WorkTree(self.releases / self._release(target))
        out = taken_out(tree, folder)
        merged = [path for path, data in out.files.items() if self._merges(lifted.name, path, data)]
        return asdict(put_back(tree, out, folder)) | {"merged": sorted(merged)}

    def _folder(self, name: str) -> Path:
        """The lifted type."""
        if not (self.work / name.lower()).is_dir():
            self._lift(name)
        return self.work / name.lower()

    def _release(self, target: Target) -> str:
        return next(name for name in self.dates if self.called(name) == target.release)

    def _alone(self, name: str) -> set[str]:
        """Edits that the type's own tree hasn't: ours go beyond it, so nothing says where they belong."""
        plan = make_plan(WorkTree(self.releases / PAIRS[name][1]), load(self.work / name.lower()))
        return {edit.edit.id for edit in plan.edits if edit.state is State.MISSING}

    def prove(self, lifted: Lifted, target: Target) -> dict[str, Any]:
        """``type prove`` of the type in that release; what it says, or the error.

        One that has it already is compared with itself, the type taken out and put back.
        """
        folder, release = self._folder(lifted.name), self._release(target)
        tree, base = self.releases / PAIRS[lifted.name][1], self.releases / release
        if target.taken is not None:
            tree, base = base, self.work / f"{lifted.name}-without-{release}"
            shutil.rmtree(base, ignore_errors=True)
            write(WorkTree(tree), taken_out(WorkTree(tree), folder), base)
        work = self.work / f"{lifted.name}-{release}"
        done = _patcher("type", "prove", folder, "--tree", tree, "--base", base, "--work", work, "--json")
        if done.returncode in (0, 1):
            document: dict[str, Any] = json.loads(done.stdout)
            return document
        return {"error": _last(done.stderr)}

    def called(self, name: str) -> str:
        """Upstream's name of the release that a version of the package ships."""
        marker = self.releases / name / ".git" / "q8a8-patch.json"
        release: str = json.loads(marker.read_text(encoding="utf-8"))["release"]
        return release


def _patcher(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "patcher", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def _last(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.startswith("error:")]
    said = (lines or errors.strip().splitlines() or ["nothing was said"])[0].removeprefix("error: ")
    return re.sub(r"(?:/[\w.+-]+)+/", "", said)


def _dated(place: Path) -> date:
    said = subprocess.run(
        ["git", "-C", place, "log", "-1", "--format=%cs"], capture_output=True, text=True, check=True
    )
    return date.fromisoformat(said.stdout.strip())


def _bytes(place: Path) -> bytes | None:
    return place.read_bytes() if place.is_file() else None


# ---------------------------------------------------------------- the page

_HEAD = """# Types lifted

[`type lift`](reference/commands.md) takes a type out of a tree that has it, with the texts to the byte;
[`type prove`](how-to/own-type.md#prove-that-it-is-the-one-that-a-fork-has) says whether it computes the
same where it was put. Here with four types that upstream added itself, so that what is right is known.
Each is lifted from the first release that has it, over the last that hasn't (of those that
node-llama-cpp ships), and looked at in every other release up to 26 weeks away. Made by

```sh
python -m benchmarks.lift --releases RELEASES --taken-out --prove 4 --page docs/lift.md
```

"""

_BEFORE = """
## In releases before

**Placed** are edits that have exactly one place, **refused** are those for which `apply` would say so
and write nothing. Whether what is placed is right, a proof says, and nothing else: where none was tried,
nothing was compiled. A file is **ours** where none of its edits is refused. The last column but one is what
`git merge-file` takes of the same files without a conflict, the release being its ours, the type's base its
base, and the first release with the type its theirs: what it takes brings all of upstream's other changes
to these files, too. Releases from before ggml-cpu's folder for each architecture
(b4980 and b5590) are given the plain `vec_dot`, which adds up in another order than an architecture's
own: there some products differ in their last bits, and rows are quantized and dequantized to the same
bytes.

| type | release | weeks | edits | placed | refused | not needed | files | ours | `git merge-file` | proof |
|---|---|---|---|---|---|---|---|---|---|---|
"""

_AFTER = """
## In releases after

They have the type, so that each edit's place is known: **there** are edits that are found where upstream
has them, in the same form; **changed** are found, and upstream has written them differently since;
**again** are those that would be written although upstream has the type. Left out are edits that the
type's own tree hasn't: ours go beyond it there. Where upstream has since written a dot product for another
architecture (MXFP4 on PowerPC and s390x, NVFP4 on x86), the plain one isn't given its name there: the tree
is asked which of its architectures have the function.

| type | release | weeks | there | changed | again |
|---|---|---|---|---|---|
"""

_TAKEN = """
## In releases after, without the type

From each of those releases the type was taken out by its own edits (those that are one expression with what
was there before, such as a condition, can't be cut out and stay), and put back. **As it was** are edits that
give the file back token by token; **moved** give its lines in another order, behind another neighbour;
**changed** give other lines than upstream has there; **refused** have no place. A proof compares the release
with itself, the type taken out and put back. What upstream has written since isn't found by the type's edits
and stays, such as the dot product of NVFP4 for x86 in b10361.

Of the **files** that lost something, one is **ours** where, with all edits put back and none refused, it has
the lines that upstream has there, as they were or moved. One changed line, be it upstream's later
improvement, makes it none. `git merge-file` is given the release without the type as its ours, the type's
base as its base, and the first release with the type as its theirs. It has taken a file where there is no
conflict, whatever is in it then. Few are: both sides have what else upstream has changed since, and the type
stands beside it, most often beside another type that came with the same releases.

| type | release | weeks | taken out | as it was | moved | changed | refused | files | ours | git | proof |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""


def page(results: list[Lifted]) -> str:
    """The page of these results."""
    lines = [_HEAD, *_summary(results), "\n"]
    lines += [
        "| type | lifted from | over | edits | placed at home | listed as not lifted | proof at home |\n"
    ]
    lines += ["|---|---|---|---|---|---|---|\n"]
    for one in results:
        if one.home is None:
            lines += [f"| {one.name} | {one.tree} | {one.base} | not lifted: {one.failure} | | | |\n"]
            continue
        lines += [
            f"| {one.name} | {one.tree} | {one.base} | {one.edits} | {_of(one.home)} | {one.not_lifted}"
            f" | {_proof(one.home)} |\n"
        ]
    lines += _proofs([(one.name, one.home) for one in results], "at home")
    lines += [_BEFORE]
    for one, target in _each(results, "before"):
        lines += [
            f"| {one.name} | {target.release} | {target.weeks} | {target.placed + len(target.refused)}"
            f" | {target.placed} | {_listed(target.refused)} | {target.idle} | {target.files}"
            f" | {target.whole} | {target.merged} | {_proof(target)} |\n"
        ]
    lines += [_AFTER]
    for one, target in _each(results, "after"):
        lines += [
            f"| {one.name} | {target.release} | +{target.weeks} | {target.placed}"
            f" | {_listed(target.refused)} | {_listed(target.again)} |\n"
        ]
    taken = [(one, target) for one, target in _each(results, "after") if target.taken is not None]
    lines += [_TAKEN] if taken else []
    for one, target in taken:
        said = target.taken or {}
        lines += [
            f"| {one.name} | {target.release} | +{target.weeks} | {said['edits']} | {said['placed']}"
            f" | {len(said['moved'])} | {_listed(said['changed'])} | {_listed(said['refused'])}"
            f" | {' | '.join(map(str, _files_of(said)))} | {_proof(target)} |\n"
        ]
    lines += _proofs([(f"{one.name} in {each.release}", each) for one, each in taken], "there")
    return "".join([*lines, FORKS.read_text(encoding="utf-8")])


def _summary(results: list[Lifted]) -> Iterator[str]:
    homes = [one.home for one in results if one.home is not None]
    equal = [one for one in homes if one.proof is not None and one.proof.get("equal")]
    tried = [one for one in homes if one.proof is not None]
    before = [target for _, target in _each(results, "before")]
    placed = sum(target.placed for target in before)
    asked = placed + sum(len(target.refused) for target in before)
    files = [(one.files, one.whole, one.merged) for one in before]
    yield f"**{len(homes)} of {len(results)} lifted"
    yield f"; {len(equal)} proved at home, byte by byte, of {len(tried)} that were built.**\n"
    if asked:
        share = f"{100 * placed / asked:.1f} %"
        yield f"In releases before: **{placed} of {asked} edits placed ({share})**.\n"
    after = [target for _, target in _each(results, "after")]
    found, changed, again = (
        sum(target.placed for target in after),
        sum(len(target.refused) for target in after),
        sum(len(target.again) for target in after),
    )
    if after:
        yield f"In releases after: {found} edits there, {changed} changed, {again} written again.\n"
    taken = [_files_of(target.taken) for target in after if target.taken is not None]
    yield "\n"
    yield _of_files("**All files of all releases, before and after**", [*files, *taken])
    yield _of_files("In releases before", files)
    yield _of_files("In releases after, the type taken out", taken)


def _files_of(taken: dict[str, Any]) -> tuple[int, int, int]:
    """Files that lost something, those that have it again, those that git merge-file takes."""
    return len(taken["files"]), sum(taken["files"].values()), len(taken["merged"])


def _of_files(where: str, counts: list[tuple[int, int, int]]) -> str:
    files, ours, merged = (sum(one[at] for one in counts) for at in range(3))
    if not merged:
        return ""
    return f"{where}: {ours} of {files} files, `git merge-file` {merged}, a ratio of {ours / merged:.2f}.\n"


def _each(results: list[Lifted], which: str) -> Iterator[tuple[Lifted, Target]]:
    for one in results:
        for target in getattr(one, which):
            yield one, target


def _of(target: Target) -> str:
    refused = f", refused: {_listed(target.refused)}" if target.refused else ""
    return f"{target.placed} of {target.placed + len(target.refused)}{refused}"


def _listed(names: list[str]) -> str:
    return f"{len(names)}: {', '.join(f'`{name}`' for name in names)}" if names else "0"


def _proof(target: Target) -> str:
    if target.proof is None:
        return "not tried"
    if "error" in target.proof:
        return str(target.proof["error"]).replace("|", "\\|")
    tried = [one for one in target.proof["architectures"] if not one["lacking"] or one.get("not_compiled")]
    return "; ".join(f"{one['name']}: {_verdict(one)}" for one in tried)


def _verdict(one: dict[str, Any]) -> str:
    if one.get("not_compiled"):
        return f"not compiled, the {one['not_compiled']['side']}'s"
    if one["differing"]:
        return f"{len(one['differing'])} of {one['comparisons']} differ"
    return "the same"


def _proofs(tried: list[tuple[str, Target | None]], where: str) -> Iterator[str]:
    """What was compared of each: its name, and the release that it was put into."""
    rows = [
        f"| {name} | {each['name']} | {each['way'] if each['comparisons'] else 'not run'}"
        f" | {each['compiler'] if each['comparisons'] else each['lacking']}"
        f" | {each['comparisons']} | {each['numbers']:,} | {len(each['differing'])}"
        f" | {', '.join(each['ended']) or 'nothing'} |\n"
        for name, target in tried
        if target is not None and target.proof is not None and "error" not in target.proof
        for each in target.proof["architectures"]
    ]
    if rows:
        yield f"\nWhat was compared {where}; *ends* is what ends the program in both alike:\n"
        yield "\n| type | architecture | run | compiler | comparisons | numbers | differ | ends |\n"
        yield "|---|---|---|---|---|---|---|---|\n"
        yield from rows


# ---------------------------------------------------------------- results


def _read(place: Path) -> list[Lifted]:
    if not place.is_file():
        return []
    made = []
    for each in json.loads(place.read_text(encoding="utf-8")):
        targets = {key: [Target(**one) for one in each[key]] for key in ("before", "after")}
        home = Target(**each["home"]) if each["home"] else None
        made.append(Lifted(**{**each, **targets, "home": home}))
    return made


def _keep(results: list[Lifted], place: Path) -> None:
    place.write_text(json.dumps([asdict(one) for one in results], indent=1), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Exit code 1 where a type isn't lifted, or doesn't compute the same at home."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lift")
    parser.add_argument("--releases", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="keeps lifted types and builds")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--types", nargs="*", default=list(PAIRS))
    parser.add_argument("--taken-out", action="store_true", help="from the releases that have the type")
    parser.add_argument("--prove", type=int, default=0)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        kept = options.results or work / "lift.json"
        bench = Bench(options.releases.resolve(), work.resolve())
        results = _read(kept)
        for name in options.types:
            if name not in [one.name for one in results]:
                results.append(bench.lifted(name))
                _keep(results, kept)
        for one, target in _each(results, "after") if options.taken_out else ():
            if target.taken is None:
                target.taken = bench.take_out(one, target)
                _keep(results, kept)
        wanted = [(one, one.home) for one in results] + list(_each(results, "before"))
        wanted += [(one, target) for one, target in _each(results, "after") if target.taken is not None]
        lacking = [(one, each) for one, each in wanted if each is not None and each.proof is None]
        for one, target in [pair for pair in lacking if not pair[1].refused][: options.prove]:
            target.proof = bench.prove(one, target)
            _keep(results, kept)
    if options.page is not None:
        options.page.write_text(page(results), encoding="utf-8")
    for line in _summary(results):
        sys.stdout.write(line)
    bad = [one for one in results if one.home is None or (one.home.proof or {}).get("equal") is False]
    return 1 if bad else 0


if __name__ == "__main__":
    os.environ.setdefault("GIT_OPTIONAL_LOCKS", "0")
    sys.exit(main(sys.argv[1:]))
