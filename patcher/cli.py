"""The command line: verbs load when they are asked for, errors become exit codes."""

from __future__ import annotations

import os
from importlib import import_module

import click

from patcher import __version__
from patcher.base import interrupt
from patcher.base.errors import ExitCode, PatcherError
from patcher.base.os_errors import REFUSALS, next_step, reason
from patcher.base.printable import harmless, one_line

# verb -> (module below patcher.commands, one line of help); kept here so that --help imports none of them
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("run", "Do it all: fetch, apply, build, verify."),
    "fetch": ("fetch", "Turn a source into a git checkout with a recorded base."),
    "apply": ("apply", "Plan every edit, then write all of them or none."),
    "status": ("status", "Say what is there, missing and contradicting."),
    "diff": ("diff", "Show the plan as a unified diff."),
    "revert": ("revert", "Undo what apply did, to the byte."),
    "move": ("move", "Move the tree to another release, with the type and your own commits."),
    "export": ("export", "Write the plan as a series that git am takes."),
    "build": ("build", "Configure and build out of tree, strictly linked."),
    "verify-symbols": ("verify_symbols", "Prove that no undefined symbol remains in ELF files."),
    "drift": ("drift", "Plan over many revisions: last good, first bad, why."),
    "gguf": ("gguf", "Move model files to the reserved numbers."),
    "calibrate": ("calibrate", "Gather what smoothing has to know of a model's activations."),
    "smooth": ("smooth", "Fold activation outliers into the weights before they are quantized."),
    "quantize": ("quantize", "Make a model in another type, whole or not at all."),
    "evaluate": ("evaluate", "Is it half the size, twice as fast, as accurate?"),
    "audit": ("audit", "Find every place that its sibling has and the type lacks."),
    "merge-audit": ("merge_audit", "Prove that a merge lost nothing of either side."),
    "guard": ("guard", "What a CI service runs: check a tree, watch upstream."),
    "type": ("type", "Check the file of a type of one's own."),
    "fixes": ("fixes", "List the build fixes, and which of them this machine needs."),
    "doctor": ("doctor", "Say what this machine has and lacks."),
    "completion": ("completion", "Print a shell's completion script."),
}


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own."""

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
@click.version_option(__version__, prog_name="q8a8-patch")
def cli() -> None:
    """Carry the Q8_A8 quantization type on top of any llama.cpp.

    Example: q8a8-patch run --source npm:node-llama-cpp@3.22.1 --work ./work
    """


def alone(program: str) -> click.Command:
    """``verify-symbols`` as a program of its own: ``program`` is what its help calls it."""
    from patcher.commands.verify_symbols import command

    help_text = (command.help or "").replace("q8a8-patch verify-symbols", program)
    own = click.Command(
        program, params=command.params, callback=command.callback, help=help_text, context_settings=_SETTINGS
    )
    return click.version_option(__version__, prog_name=program)(own)


def run(argv: list[str] | None = None, program: str = "q8a8-patch") -> int:
    """Run one command; return its exit code. Every failure is one line on stderr.

    ``program`` other than the group's own name is :func:`alone`.
    """
    try:
        command = cli if program == "q8a8-patch" else alone(program)
        result = command.main(args=argv, prog_name=program, standalone_mode=False)
    except PatcherError as error:
        return _fail(str(error), error.exit_code)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        where = f" (see '{error.ctx.command_path} --help')" if error.ctx else ""
        return _fail(one_line(error.format_message() + where), ExitCode.USAGE)
    except click.ClickException as error:
        return _fail(one_line(error.format_message()), ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt) as error:
        return _fail("interrupted", interrupt.exit_code(error))
    except OSError as error:
        if error.errno not in REFUSALS:
            return _fail(_unexpected(error), ExitCode.INTERNAL)
        # the machine's doing, and no fault of ours: where a step could say more, it has
        where = f"{error.filename}: " if error.filename is not None else ""
        said = f"{where}the system refuses ({reason(error)})"
        return _fail(f"{said}; {next_step(error)}" if next_step(error) else said, ExitCode.USAGE)
    except Exception as error:  # noqa: BLE001 - the outermost layer: a bug becomes one line and a log
        return _fail(one_line(_unexpected(error)), ExitCode.INTERNAL)
    return result if isinstance(result, int) else ExitCode.OK


def _fail(message: str, code: int) -> int:
    color = False if os.environ.get("NO_COLOR") else None
    click.echo(click.style("error: ", fg="red", bold=True) + harmless(message), err=True, color=color)
    return code


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
