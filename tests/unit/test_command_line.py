"""The command line as people know it: near words, help, flags before the command, trees from below, values on Tab."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from patcher import __version__, cli, start
from patcher.base import cache
from patcher.base.console import ConsoleReporter
from patcher.base.errors import UsageError
from patcher.base.units import how_many
from patcher.engine.layout import tree_around
from tests.conftest import git
from tests.elf_files import Elf


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["aply"], "error: No such command 'aply'. Did you mean 'apply'? (see 'q8a8-patch --help')"),
        (
            ["gguf", "Retg"],
            "error: No such command 'Retg'. Did you mean 'retag'? (see 'q8a8-patch gguf --help')",
        ),
        (["zzz"], "error: No such command 'zzz'. (see 'q8a8-patch --help')"),
    ],
)
def test_a_word_that_is_nearly_a_command(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"{said}\n")


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        ([], "q8a8-patch [OPTIONS] COMMAND"), (["help"], "q8a8-patch [OPTIONS] COMMAND"),
        (["-h"], "q8a8-patch [OPTIONS] COMMAND"), (["guard"], "q8a8-patch guard [OPTIONS] COMMAND"),
        (["evaluate"], "q8a8-patch evaluate [OPTIONS] COMMAND"), (["help", "apply"], "q8a8-patch apply [OPTIONS]"),
        (["help", "gguf", "retag"], "q8a8-patch gguf retag [OPTIONS]"),
        (["gguf", "help", "retag"], "q8a8-patch gguf retag [OPTIONS]"),
    ],
)  # fmt: skip
def test_help_is_asked_for_in_many_ways(
    arguments: list[str], usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"Usage: {usage}")
    assert captured.err == ""


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["-V"]) == 0
    with pytest.raises(SystemExit, match="0"):
        start.main(["-V"])
    assert capsys.readouterr().out == f"q8a8-patch, version {__version__}\n" * 2


@pytest.mark.parametrize("place", [0, 1, 2])
def test_flags_stand_anywhere(place: int, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["cache", "size"]
    words.insert(place, "--json")
    assert cli.run(words) == 0
    assert set(json.loads(capsys.readouterr().out)) >= {"cache", "parts"}


def test_an_error_is_a_document_where_one_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--json", "apply", str(tmp_path)], ["apply", str(tmp_path), "--json"]):
        assert cli.run(words) == 2
        said = capsys.readouterr()
        error = json.loads(said.out)["error"]
        assert error["exit_code"] == 2
        assert said.err == f"error: {error['message']}; {error['hint']}\n"
    assert cli.run(["verify-symbols", "--format", "json", str(tmp_path / "none")]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "usage"
    assert cli.run(["apply", "--", "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_two_documents_never_stand_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from patcher.base.console import Output, common_options

    @click.command()
    @common_options
    def command(output: Output) -> None:
        output.emit({"a": 1}, "a")
        raise UsageError("late")

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: command)
    assert cli.run(["any", "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {"a": 1}


def test_the_type_is_named_as_quantize_names_it(mini_repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("Q8_A8", "q8-a8"):
        assert cli.run(["status", str(mini_repo), "--type", kind, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["state"] == "clean"
    assert cli.run(["status", str(mini_repo), "--type", "Q9_A9"]) == 2


def test_the_tree_is_found_from_below(
    mini_repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # as upstream's, so that the folder ggml alone looks like a repository of its own
    (mini_repo / "ggml/include/ggml-backend.h").write_text("", encoding="utf-8")
    monkeypatch.chdir(mini_repo / "ggml" / "src")
    assert cli.run(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tree"] == str(mini_repo)
    assert tree_around(mini_repo) == mini_repo


def test_a_projects_own_copy_is_named_and_not_taken(
    mini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    git(project, "init", "-q")
    monkeypatch.chdir(project / "src")
    (project / ".gitmodules").write_text(
        '[submodule "llama.cpp"]\n\tpath = third/llama.cpp\n\turl = x\n', encoding="utf-8"
    )
    assert cli.run(["apply"]) == 2
    assert "third/llama.cpp is a submodule that isn't checked out" in capsys.readouterr().err
    (project / "vendor").mkdir()
    mini.rename(project / "vendor" / "llama.cpp")
    assert cli.run(["apply"]) == 2
    assert f"there is one in {project}/vendor/llama.cpp: name that folder" in capsys.readouterr().err


def test_another_users_folder_is_not_looked_into(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = mini / "docs" / "deep"
    below.mkdir(parents=True)
    assert tree_around(below) == mini
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(mini, 12345, -1)
    assert tree_around(below) is None


@pytest.mark.parametrize(
    ("line", "wanted", "offered"),
    [
        (["apply", "--only"], "cpu-o", "cpu-ops"), (["diff", "--without"], "llama-f", "llama-ftype"),
        (["apply", "--with-fix"], "fast", "fast-attention-tile"), (["apply", "--type"], "Q", "Q8_A8"),
        (["verify-symbols", "--explain"], "hidden", "hidden-definition"), (["cache", "clean"], "down", "downloads"),
        (["verify-symbols", "--emulate"], "m", "mold"), (["build", "--target"], "llama-s", "llama-server"),
        (["run", "--build-type"], "Rel", "RelWithDebInfo"), (["build", "--compiler-launcher"], "s", "sccache"),
        (["guard", "check", "--source"], "npm", "npm:node-llama-cpp@"), (["quantize", "a.gguf", "b.gguf"], "q8_a", "q8_a8"),
        (["type", "prove", "--arch"], "ris", "riscv64"),
    ],
)  # fmt: skip
def test_values_are_completed(line: list[str], wanted: str, offered: str) -> None:
    shell = ShellComplete(cli.cli, {}, "q8a8-patch", "_Q8A8_PATCH_COMPLETE")
    assert offered in [item.value for item in shell.get_completions(line, wanted)]


@pytest.mark.parametrize("line", ["fetch --source", "guard check --source", "move --base", "gguf identify"])
def test_files_are_completed_where_more_than_files_are_taken(line: str) -> None:
    shell = ShellComplete(cli.cli, {}, "q8a8-patch", "_Q8A8_PATCH_COMPLETE")
    assert "file" in [item.type for item in shell.get_completions(line.split(), "./x")]


def test_types_are_those_that_the_build_has(tmp_path: Path) -> None:
    program = tmp_path / "llama-quantize"
    program.write_text("#!/bin/sh\necho '  17  or  Q5_K_M  :  4.78G'\n", encoding="utf-8")
    program.chmod(0o755)
    shell = ShellComplete(cli.cli, {}, "q8a8-patch", "_Q8A8_PATCH_COMPLETE")
    line = ["quantize", "--bin", str(tmp_path), "a.gguf", "b.gguf"]
    assert [item.value for item in shell.get_completions(line, "Q")] == ["Q5_K_M"]


def test_jobs_of_a_grid_and_releases_are_completed(
    tmp_path: Path, mini_repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = ShellComplete(cli.cli, {}, "q8a8-patch", "_Q8A8_PATCH_COMPLETE")
    git(mini_repo, "tag", "v9.9.9")
    monkeypatch.chdir(mini_repo)
    assert [item.value for item in shell.get_completions(["move"], "v9")] == ["v9.9.9"]
    assert shell.get_completions(["evaluate", "grid", "none.toml", "--only"], "") == []


def test_the_cache_is_measured_and_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path))
    for name in ("downloads/a", "logs/b", "mine/c"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x" * 5000)
    os.link(tmp_path / "downloads/a", tmp_path / "downloads/again")
    sizes = {part.name: part.bytes for part in cache.parts()}
    assert set(sizes) == {"downloads", "logs"}
    assert 5000 <= sizes["downloads"] < 10000
    assert cli.run(["cache", "clean"]) == 2
    assert cli.run(["cache", "clean", "mine"]) == 2
    assert cli.run(["cache", "clean", "--all", "--dry-run"]) == 0
    assert (tmp_path / "downloads/a").is_file()
    assert cli.run(["cache", "clean", "downloads"]) == 0
    assert sorted(place.name for place in tmp_path.iterdir() if place.is_dir()) == ["logs", "mine"]
    assert cli.run(["cache", "clean", "--all"]) == 0
    assert [place.name for place in tmp_path.iterdir() if place.is_dir()] == ["mine"]
    assert "freed" in capsys.readouterr().out


def test_a_cache_that_another_process_works_with_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path))
    code = "from patcher.base.cache import cache_dir; print(cache_dir('downloads'), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == str(tmp_path / "downloads")
        assert cli.run(["cache", "clean", "--all"]) == 2
        assert f"{tmp_path}: another q8a8-patch is at work with it" in capsys.readouterr().err
        assert (tmp_path / "downloads").is_dir()
        assert cli.run(["cache", "clean", "--all", "--dry-run"]) == 0  # which only says what there is
        other.communicate("\n")
    assert cli.run(["cache", "clean", "--all"]) == 0
    assert not (tmp_path / "downloads").exists()


def test_every_part_of_the_cache_has_a_name() -> None:
    """Whatever asks for a folder of the cache: its first one is of those that can be cleaned."""
    asked = {
        name
        for place in (Path(cli.__file__).parent).rglob("*.py")
        for name in re.findall(r"(?<!user_)cache_dir\(\s*\"([^\"]+)\"", place.read_text(encoding="utf-8"))
    }
    assert asked == set(cache.PARTS)


def test_the_old_spellings_of_evaluate_are_told_the_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for old, new in (
        (["--compare", "a.json", "b.json"], "compare a.json b.json"),
        (["--manifest=none.toml", "--list"], "grid none.toml --list"),
        (["none.gguf", "--quick"], "run none.gguf --quick"),
    ):
        assert cli.run(["evaluate", *old]) == 2
        said = capsys.readouterr().err.splitlines()
        assert f"is written 'evaluate {new}' now" in said[0]
        assert "No such command" not in said[1]
    assert cli.run(["evaluate", "--show", "--compare", "a"]) == 2
    assert "--show and --compare can't be given together" in capsys.readouterr().err


def test_long_work_says_where_it_is_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patcher.base.console.EVERY_SECONDS", 0.02)
    for quiet in (False, True):
        with ConsoleReporter(quiet=quiet, verbose=0).step("Building", total=9) as step:
            step.update(done=4, detail="ops.cpp")
            time.sleep(0.2)
        said = capsys.readouterr().err.splitlines()
        assert ("Building: 4 of 9 (ops.cpp)" in said) is not quiet
    time.sleep(0.06)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        ("guard check --static --target llama-cli -j 2", "--target and -j"),
        ("verify-symbols --tree --prove --at-most GLIBC_2.28 x", "--prove and --at-most"),
        ("calibrate --merge a.stats --chunks 3 -o b.stats", "--chunks"),
        ("smooth a.gguf --undo --alpha 0.5 -o b.gguf", "--alpha"),
        ("smooth --lora a.gguf --like b.gguf --head -o c.gguf", "--head"),
        ("type show --schema q8_a8.toml", "[FILE]"), ("cache clean --all downloads", "[KIND]..."),
        ("merge-audit --range A..B HEAD", "[BASE OURS THEIRS] MERGED"),
    ],
)  # fmt: skip
def test_an_option_without_effect_is_refused(
    words: str, idle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "cache" / "downloads" / "kept"  # never this user's own cache: 'clean' is among them
    kept.parent.mkdir(parents=True)
    kept.touch()
    monkeypatch.setenv("Q8A8_PATCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(kept.parent)
    assert cli.run(words.split()) == 2
    assert capsys.readouterr().err.endswith(f"; leave {idle} out\n")
    assert [path.name for path in tmp_path.rglob("*")] == ["cache", "downloads", "kept"]


def test_options_that_may_be_repeated_say_so() -> None:
    def commands(command: click.Command, context: click.Context) -> Iterator[click.Command]:
        yield command
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                yield from commands(below, click.Context(below, context, name))

    for command in commands(cli.cli, click.Context(cli.cli)):
        for option in command.params:
            if isinstance(option, click.Option):
                said = "repeated" in (option.help or "")
                assert said is option.multiple, f"{command.name} {option.opts[0]}: {option.help}"


def test_guard_and_drift_find_the_tree_from_below(
    mini_repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(mini_repo / "ggml" / "src")
    (mini_repo / "ggml/include/ggml-backend.h").write_text("", encoding="utf-8")
    assert cli.run(["guard", "check", "--static"]) == 0
    assert f"{mini_repo}: green" in capsys.readouterr().out
    assert cli.run(["drift"]) == 0
    assert "1 revision, " in capsys.readouterr().out
    assert cli.run(["drift", "--since", "2020-01-01", "--refs", "HEAD"]) == 2
    assert "leave --since out, or name A..B" in capsys.readouterr().err


def test_numbers_of_things() -> None:
    assert [how_many(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert how_many(2, "match") == "2 matches"


def test_a_folder_of_wheels_is_told_how_to_unpack_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wheels").mkdir()
    Elf(soname="libx.so").write(tmp_path / "libx.so")
    with zipfile.ZipFile("wheels/my thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.write("libx.so", "lib/libx.so")
    Path("libx.so").unlink()
    assert cli.run(["verify-symbols", "wheels"], program="q8a8-patch") == 2
    command = capsys.readouterr().err.split("name the folder: ")[1]
    subprocess.run(command.replace("python3", sys.executable, 1), shell=True, check=True)  # noqa: S602 - as a user would
    assert cli.run(["verify-symbols", "my thing"]) == 0
