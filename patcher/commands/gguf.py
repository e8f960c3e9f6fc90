"""``q8a8-patch gguf``: what is done to model files themselves, and known of them."""

from __future__ import annotations

from pathlib import Path

import click

from patcher.base.console import Output, common_options
from patcher.base.errors import UsageError
from patcher.base.units import how_many
from patcher.commands import values
from patcher.commands.arguments import type_option
from patcher.commands.family import Family


@click.group("gguf", cls=Family)
def command() -> None:
    """Tell which tree wrote a GGUF file, and move it to the reserved numbers.

    Example: q8a8-patch gguf retag model.gguf -o model-120.gguf
    """


@command.command("retag")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output-file", type=click.Path(path_type=Path), help="The new file to write.")
@click.option("--in-place", is_flag=True, help="Replace FILE itself, once the new file is proved right.")
@click.option(
    "--from-id",
    type=click.IntRange(0, 2**31 - 1),
    help="The type number that FILE has for the type. [default: found by size, of Q8_A8's]",
)
@type_option
@click.option("--force", is_flag=True, help="Replace the output file where it exists.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, write nothing.")
@common_options
def retag_command(
    file: Path,
    output_file: Path | None,
    in_place: bool,
    from_id: int | None,
    type_name: str,
    force: bool,
    dry_run: bool,
    output: Output,
) -> None:
    """Give FILE's Q8_A8 tensors, and its file type, the reserved numbers; with --type, another type's.

    The tensors are found by their size, 34 bytes for 32 weights, and their scales: what is upstream's
    MXFP4, or may be another type, is refused. For a type of your own, name its old number with --from-id;
    only the size is checked then. For a model in several files, name the first. Data, order and alignment
    stay as they are, which is verified before the new file gets its name.
    Example: q8a8-patch gguf retag old.gguf -o new.gguf
    """
    from patcher.engine.patchset import load
    from patcher.engine.type_file import SHIPPED
    from patcher.model.retag import retag

    if in_place and output_file is not None:
        raise UsageError(
            "--in-place and --output-file can't be given together",
            hint="--in-place changes FILE itself, --output-file leaves it as it is: leave one out",
        )
    if output_file is not None and output_file.exists() and file.exists() and output_file.samefile(file):
        raise UsageError(
            f"{output_file}: is the model that is read", hint="name another output, or use --in-place"
        )
    if not (in_place or output_file or dry_run):
        raise UsageError(
            f"{file}: looked for where to write, found nothing", hint="-o FILE, --in-place or --dry-run"
        )
    quant_type = load(type_name).type
    if quant_type.name not in SHIPPED and from_id is None:
        raise UsageError(
            f"{file}: looked for --from-id, the number that it has for {quant_type.upper}, found none",
            hint="'q8a8-patch gguf identify FILE' says which numbers it has",
        )
    done = retag(
        file,
        quant_type,
        destination=file if in_place else output_file,
        from_id=from_id,
        dry_run=dry_run,
        force=force,
        reporter=output.reporter,
    )

    def text() -> str:
        if not done.tensors:
            return f"{file}: no tensor of {quant_type.upper} under another number, nothing to do"
        where = ", ".join(map(str, done.written)) or f"{file}, dry run"
        lines = [f"{where}: {how_many(len(done.tensors), 'tensor')} from {done.from_id} to {done.to_id}"]
        if done.file_type:
            lines.append(f"general.file_type from {done.file_type[0]} to {done.file_type[1]}")
        if done.written:
            lines.append(f"the data of {how_many(len(done.sha256), 'tensor')} is unchanged")
        return "\n".join(lines)

    output.emit(done.document, text)


@command.command("identify")
@click.argument("file", shell_complete=values.files)
@common_options
def identify_command(file: str, output: Output) -> None:
    """Say which trees wrote FILE (a path or an https address), who can load it, and whether retag is safe.

    From 31 on, trees have given one number to several types: they are told apart by sizes and scales. At most
    1 MB is read. What fits no type that is known here is called unknown.
    Example: q8a8-patch gguf identify model.gguf
    """
    from patcher.engine.patchset import load
    from patcher.model import partial_read
    from patcher.model.identify import LIMIT, identify

    is_address = "://" in file
    source = partial_read.of_url(file, LIMIT) if is_address else partial_read.of_file(Path(file), LIMIT)
    found = identify(source, load().type)

    def text() -> str:
        lines = [f"written by  {found.verdict}"]
        for one in found.numbers:
            where = "; ".join(f"{each.name} in {', '.join(each.trees)}" for each in one.fits)
            lines.append(
                f"number {one.number:<4} {one.tensors} tensors, {one.verdict}" + f" ({where})" * bool(where)
            )
        lines.append(f"retag       {found.retag}")
        lines.append(f"read        {found.read} of {found.size} bytes")
        return "\n".join(lines)

    output.emit(found.document, text)
