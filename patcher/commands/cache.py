"""``q8a8-patch cache``."""

from __future__ import annotations

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import UsageError
from patcher.commands import values
from patcher.commands.arguments import refuse_beside
from patcher.commands.family import Family


@click.group("cache", cls=Family)
def command() -> None:
    """Show how large the cache is, and empty it. Nothing in it is needed: what is missing is made again.

    Example: q8a8-patch cache size
    """


@command.command("size")
@common_options
def size_command(output: Output) -> None:
    """Say where the cache lies, and how much of the disk each part of it takes.

    Example: q8a8-patch cache size
    """
    from patcher.base import cache
    from patcher.base.units import number

    root, parts, others = cache.cache_dir(), cache.parts(), cache.others()
    total = sum(part.bytes for part in parts) + others

    def text() -> str:
        rows = [f"{part.name:<11} {number(part.bytes, 'bytes'):>9}  {part.what}" for part in parts]
        if others:
            what = "files that no command made: 'cache clean' leaves them"
            rows.append(f"{'others':<11} {number(others, 'bytes'):>9}  {what}")
        rows.append(f"{'all':<11} {number(total, 'bytes'):>9}  {root}")
        return "\n".join([*rows, "'q8a8-patch cache clean KIND' or 'cache clean --all' empties it"])

    output.emit(
        {
            "cache": str(root),
            "bytes": total,
            "parts": [part.document() for part in parts],
            "others_bytes": others,
        },
        text,
    )


@command.command("clean")
@click.argument("chosen", nargs=-1, metavar="[KIND]...", shell_complete=values.cache_parts)
@click.option("--all", "everything", is_flag=True, help="Remove every part of the cache.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@common_options
def clean_command(chosen: tuple[str, ...], everything: bool, dry_run: bool, output: Output) -> None:
    """Remove parts of the cache, by the names that 'cache size' shows.

    Your trees, their records and what 'run' built in its own folder stay. While another q8a8-patch command
    is running this is refused. Example: q8a8-patch cache clean downloads builds
    """
    from patcher.base import cache
    from patcher.base.units import number

    if everything:
        refuse_beside("--all", "removes every part", "chosen")
    elif not chosen:
        raise UsageError(
            "cache clean: looked for the parts to remove, or --all",
            hint=f"name some of {', '.join(cache.PARTS)}; 'q8a8-patch cache size' shows how large they are",
        )
    gone = cache.clean(None if everything else chosen, dry_run=dry_run)
    freed = sum(part.bytes for part in gone)
    names = ", ".join(part.name for part in gone) or "nothing was there"
    output.emit(
        {
            "cache": str(cache.cache_dir()),
            "dry_run": dry_run,
            "freed_bytes": freed,
            "removed": [part.name for part in gone],
        },
        f"{number(freed, 'bytes')} {'would be freed' if dry_run else 'freed'}: {names}",
    )
