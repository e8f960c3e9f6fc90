"""The exit codes with what they mean, in step with :mod:`patcher.base.errors`."""

from __future__ import annotations

from dataclasses import dataclass

from patcher.base.errors import ExitCode


@dataclass(frozen=True)
class Meaning:
    """One exit code: its number, what happened, what state things are in."""

    code: ExitCode
    meaning: str
    left: str

    @property
    def number(self) -> int:
        """What the shell sees."""
        return int(self.code)


_TIDIED = "A write that was under way is finished or taken back; children are ended and drafts removed."
_MEANINGS = {
    ExitCode.OK: ("Done, or clean.", "What was asked for."),
    ExitCode.FINDINGS: (
        "Findings: an undefined symbol, a new site of the sibling type, a revision that refuses an edit,"
        " a limit that isn't kept, something that is missing on this machine.",
        "The command has done its work; the findings are its answer.",
    ),
    ExitCode.USAGE: ("Wrong usage, or an input that can't be read.", "Nothing was written."),
    ExitCode.CONFLICT: (
        "An anchor is missing, ambiguous or contradicted.",
        "Nothing was written; the tree is what it was, to the byte.",
    ),
    ExitCode.SOURCE: (
        "The source can't be had: no route, no such release, a hostile archive.",
        "No half checkout is left; what was downloaded whole is kept.",
    ),
    ExitCode.BUILD: (
        "CMake, the compiler, the linker or a program that was built failed.",
        "The build folder and its log are kept; the same command goes on.",
    ),
    ExitCode.TREE_CHANGED: (
        "The tree was changed by somebody else since the tool wrote it, or a file of it can't be written.",
        "What was written is taken back; where that can't be, the error says so, and the next command does.",
    ),
    ExitCode.INTERNAL: (
        "A bug in the tool. The error names the log that has the traceback.",
        "A write that was under way is finished or taken back by the next command.",
    ),
    ExitCode.HUNG_UP: ("Ended because its terminal was closed (SIGHUP).", _TIDIED),
    ExitCode.INTERRUPTED: ("Interrupted (Ctrl-C, SIGINT).", _TIDIED),
    ExitCode.TERMINATED: ("Ended by SIGTERM, as a cancelled job is.", _TIDIED),
}

EXIT_CODES = tuple(Meaning(code, *_MEANINGS[code]) for code in ExitCode)
