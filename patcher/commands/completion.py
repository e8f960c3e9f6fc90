"""``q8a8-patch completion``."""

from __future__ import annotations

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import UsageError


@click.command("completion")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@common_options
def command(shell: str, output: Output) -> None:
    """Print the script that completes commands, options and files in SHELL: bash 4.4, zsh or fish, and newer.

    Write it to where the shell looks for it, and start a new one. Examples:

      q8a8-patch completion bash > ~/.local/share/bash-completion/completions/q8a8-patch

      q8a8-patch completion zsh > ~/.zsh/_q8a8-patch  # a folder of $fpath, set before compinit

      q8a8-patch completion fish > ~/.config/fish/completions/q8a8-patch.fish
    """
    from click.shell_completion import get_completion_class

    shell_complete = get_completion_class(shell)
    if shell_complete is None:
        raise UsageError(f"{shell}: this version of click can't complete there", hint="update click")
    text = shell_complete(
        click.get_current_context().find_root().command, {}, "q8a8-patch", "_Q8A8_PATCH_COMPLETE"
    ).source()
    # click's script for zsh, loaded from $fpath, completes once and then once not at all: only while
    # it is being loaded does it know that it is the function itself
    text = text.replace("[[ $zsh_eval_context[-1] == loadautofunc ]]", "[[ $funcstack[1] == _q8a8-patch ]]")
    output.emit({"shell": shell, "script": text}, text)
