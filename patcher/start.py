"""The way in. What is asked in a hurry goes without an option parser: loading one takes longer than the work.

``q8a8-patch verify-symbols [-q] [--json] PATH...`` is run by build after build. Here it is answered by the
same code as ever; everything else, and everything that goes wrong, goes to :mod:`patcher.cli`.
"""

from __future__ import annotations

import os
import sys

from patcher import __version__
from patcher.base import interrupt, standard_streams

ALONE = "elfproof"
_PLAIN = ("-q", "--quiet", "--json")


def main(argv: list[str] | None = None) -> None:
    """Run the command line and leave the process with the contract's exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments in (["--version"], ["-V"]):
        print(f"q8a8-patch, version {__version__}")
        sys.exit(0)
    interrupt.listen()
    standard_streams.install()
    code = in_a_hurry(arguments)
    if code is None:
        try:
            from patcher.cli import run

            code = run(arguments)
        except KeyboardInterrupt as why:  # while all of this was being loaded
            code = _interrupted(why)
        sys.exit(standard_streams.settle(code))
    # nothing is open: taking tens of thousands of names apart again is for nobody
    os._exit(standard_streams.settle(code))


def elfproof(argv: list[str] | None = None) -> None:
    """``verify-symbols`` under a name of its own, for people who have nothing to patch."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments in (["--version"], ["-V"]):
        print(f"{ALONE}, version {__version__}")
        sys.exit(0)
    code = in_a_hurry(["verify-symbols", *arguments])
    if code is not None:
        sys.stdout.flush()
        os._exit(code)
    from patcher.cli import run

    sys.exit(run(arguments, program=ALONE))


def in_a_hurry(arguments: list[str]) -> int | None:
    """Verify symbols where that is plainly asked; None, nothing printed, where the long way is needed."""
    if arguments[:1] != ["verify-symbols"]:
        return None
    options = [word for word in arguments[1:] if word.startswith("-")]
    paths = [word for word in arguments[1:] if not word.startswith("-")]
    # on a terminal somebody may want to watch
    if not paths or not set(options) <= set(_PLAIN) or (sys.stderr.isatty() and not options):
        return None
    import gc

    gc.disable()  # nothing here makes circles, and looking for them takes a tenth of the time
    from pathlib import Path

    try:
        from patcher.commands.verification import VerificationRequest, verify

        code, document, shown = verify(VerificationRequest(tuple(map(Path, paths))))
        if "--json" in options:
            import json

            text = json.dumps(document(), indent=2, ensure_ascii=False)
        else:
            text = shown() if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else _plain(shown())
    except KeyboardInterrupt as why:
        return _interrupted(why)
    except Exception:  # noqa: BLE001 - the long way meets it again, and says it as it says everything
        return None
    print(text)
    return code


def _interrupted(why: BaseException) -> int:
    print("error: interrupted", file=sys.stderr)
    return interrupt.exit_code(why)


def _plain(text: str) -> str:
    if "\x1b" not in text:
        return text
    import re

    return re.sub(r"\x1b\[\d+m", "", text)
