"""The command line: verbs load when they are asked for, errors become exit codes."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from patcher import __version__
from patcher.base import interrupt
from patcher.base.console import Invocation
from patcher.base.errors import ExitCode, PatcherError
from patcher.base.os_errors import REFUSALS, next_step, reason
from patcher.base.printable import harmless, harmless_json, one_line, readable
from patcher.commands.family import Family

# verb -> (module below patcher.commands, one line of help); kept here so that --help imports none of them
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "Do all of it: get llama.cpp, add the type, build, prove that it links."),
    "fetch": ("fetch", "Get llama.cpp as a git checkout."),
    "apply": ("apply", "Add the type to a llama.cpp tree: all edits or none."),
    "status": ("status", "Say which edits are in a tree, missing, or in conflict."),
    "diff": ("diff", "Show what apply would write, as a unified diff."),
    "revert": ("revert", "Undo what apply wrote, to the byte."),
    "move": ("move", "Move a tree to another llama.cpp release, with the type and your commits."),
    "export": ("export", "Write the edits as patches that git am takes."),
    "build": ("build", "Build a tree with CMake, strictly linked."),
    "verify-symbols": ("verify_symbols", "Prove that no undefined symbol remains in ELF files."),
    "drift": ("drift", "Try the edits on many revisions: last good, first bad, why."),
    "gguf": ("gguf", "Tell what wrote a GGUF file, and repair its type number."),
    "calibrate": ("calibrate", "Measure a model's activations, which smooth needs."),
    "smooth": ("smooth", "Move activation outliers into the weights (SmoothQuant)."),
    "quantize": ("quantize", "Quantize a model."),
    "evaluate": ("evaluate", "Measure size, speed and accuracy of a model in several types."),
    "audit": ("audit", "Find every place that names Q8_0 and not Q8_A8."),
    "merge-audit": ("merge_audit", "Prove that a merge lost nothing of either side."),
    "guard": ("guard", "For CI: check a tree, watch upstream."),
    "type": ("type", "Check the .toml file of your own quantization type."),
    "fixes": ("fixes", "List the build fixes, and which of them this machine needs."),
    "doctor": ("doctor", "Say what this machine has and lacks, and what installs it."),
    "cache": ("cache", "Show how large the cache is, and empty it."),
    "completion": ("completion", "Print a shell's completion script."),
}


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class LazyGroup(Family):
    """Commands that live in modules of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"patcher.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings=_SETTINGS,
    epilog="Exit codes: 0 done, 1 findings, 2 usage, 3 conflict, 4 source, 5 build, 6 tree changed, "
    "130 interrupted.",
)
@click.version_option(__version__, "-V", "--version", prog_name="q8a8-patch")
def cli() -> None:
    """Add the Q8_A8 quantization type to any llama.cpp tree, build it, and prove that it links.

    Example: q8a8-patch run --source npm:node-llama-cpp@3.22.1 --work ./work
    """


def alone(program: str) -> click.Command:
    """``verify-symbols`` as a program of its own: ``program`` is what its help calls it."""
    from patcher.commands.verify_symbols import command

    help_text = (command.help or "").replace("q8a8-patch verify-symbols", program)
    own = click.Command(
        program, params=command.params, callback=command.callback, help=help_text, context_settings=_SETTINGS
    )
    return click.version_option(__version__, "-V", "--version", prog_name=program)(own)


def run(argv: list[str] | None = None, program: str = "q8a8-patch") -> int:
    """Run one command; return its exit code. A failure is one line on stderr, with ``--json`` a document too.

    ``program`` other than the group's own name is :func:`alone`.
    """
    words = sys.argv[1:] if argv is None else argv
    said = Invocation()
    try:
        command = cli if program == "q8a8-patch" else alone(program)
        result = command.main(args=list(words), prog_name=program, standalone_mode=False, obj=said)
    except click.exceptions.Exit as error:
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the outermost layer: a bug becomes one line and a log
        return _fail(_failure(error), said, words)
    except KeyboardInterrupt as error:
        return _fail(_Failure("interrupted", interrupt.exit_code(error)), said, words)
    return result if isinstance(result, int) else ExitCode.OK


class _Failure(NamedTuple):
    """What is said of an error."""

    message: str
    code: int
    details: tuple[str, ...] = ()
    hint: str | None = None
    text: str | None = None  # where it isn't made of the message and the hint

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        said = {"message": self.message, "details": list(self.details), "hint": self.hint}
        return {"error": {"kind": ExitCode(self.code).name.lower(), "exit_code": int(self.code), **said}}


def _failure(error: Exception) -> _Failure:
    if isinstance(error, PatcherError):
        return _Failure(error.message, error.exit_code, error.details, error.hint, str(error))
    if isinstance(error, click.UsageError):
        message = one_line(error.format_message())
        if error.ctx is None:
            return _Failure(message, ExitCode.USAGE)
        hint = f"see '{error.ctx.command_path} --help'"
        return _Failure(message, ExitCode.USAGE, hint=hint, text=f"{message} ({hint})")
    if isinstance(error, click.ClickException):
        return _Failure(one_line(error.format_message()), ExitCode.USAGE)
    if isinstance(error, click.Abort):
        return _Failure("interrupted", interrupt.exit_code(error))
    if isinstance(error, OSError) and error.errno in REFUSALS:
        # the machine's doing, and no fault of ours: where a step could say more, it has
        where = f"{readable(str(error.filename))}: " if error.filename is not None else ""
        return _Failure(
            f"{where}the system refuses ({reason(error)})", ExitCode.USAGE, hint=next_step(error) or None
        )
    return _Failure(one_line(_unexpected(error)), ExitCode.INTERNAL)


def _fail(failure: _Failure, said: Invocation, words: Sequence[str]) -> int:
    output = said.output
    # a call that can't be read has no command yet: what it asks for is read off its words
    asked = (
        output.json
        if output is not None
        else said.json or "--json" in itertools.takewhile("--".__ne__, words)
    )
    if asked and (output is None or not output.answered):
        click.echo(harmless_json(json.dumps(failure.document(), indent=2, ensure_ascii=False)))
    text = failure.text or (f"{failure.message}; {failure.hint}" if failure.hint else failure.message)
    color = False if os.environ.get("NO_COLOR") else None
    click.echo(click.style("error: ", fg="red", bold=True) + harmless(text), err=True, color=color)
    return failure.code


def _unexpected(error: Exception) -> str:
    """Write the traceback to a log and return the line that says where it lies."""
    import time
    import traceback

    from patcher.base.cache import cache_dir
    from patcher.base.files import write_whole

    try:
        log = cache_dir("logs") / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
        write_whole(log, "".join(traceback.format_exception(error)))
    except (OSError, PatcherError) as why:
        return f"unexpected {type(error).__name__}: {error} (and no log could be written: {why})"
    return f"unexpected {type(error).__name__}: {error}; the traceback lies in {log}, please report it"
