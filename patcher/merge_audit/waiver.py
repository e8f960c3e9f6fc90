"""Findings that are meant, each with the reason: a TOML file of the user's."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path

from patcher.base.bounded import TooLongError, regular_file
from patcher.base.errors import UsageError
from patcher.base.os_errors import refused
from patcher.merge_audit.finding import RULES, Finding

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LONGEST = 1 << 20  # bytes of such a file


@dataclass(frozen=True)
class Waiver:
    """Findings that match all that is given are waived."""

    file: str  # a glob, in which * crosses folders
    reason: str
    rule: str = "*"  # a glob
    owner: str = "*"  # a glob over the owners, joined by ' > '
    text: str = ""  # what the item's text has in it
    merge: str = ""  # how the merge commit's hash begins

    def covers(self, one: Finding, merge: str | None) -> bool:
        """Whether this waiver is meant for ``one`` of the commit ``merge``."""
        return (
            fnmatchcase(one.file, self.file)
            and fnmatchcase(one.rule, self.rule)
            and fnmatchcase(" > ".join(one.owner), self.owner)
            and self.text in one.text
            and (merge or "").startswith(self.merge)
        )


_FORM = "write [[waiver]] tables, each with a file and a reason: docs/how-to/audit-a-merge.md shows one"


def load(paths: Iterable[Path]) -> tuple[Waiver, ...]:
    """The waivers of the files ``paths``. Raises :class:`UsageError` for one that is malformed."""
    found: list[Waiver] = []
    for path in paths:
        try:
            document = tomllib.loads(regular_file(path, _LONGEST).decode("utf-8"))
        except OSError as why:
            raise refused(path, why, what="read") from why
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, TooLongError) as why:
            raise UsageError(f"{path}: looked for waivers in TOML, found none: {why}", hint=_FORM) from why
        tables = document.get("waiver")
        if not isinstance(tables, list) or set(document) != {"waiver"}:
            raise UsageError(
                f"{path}: looked for [[waiver]] tables and nothing else, found {sorted(document)}", hint=_FORM
            )
        found += [_waiver(table, f"{path}: waiver {number}") for number, table in enumerate(tables, 1)]
    return tuple(found)


def _waiver(table: object, where: str) -> Waiver:
    known = {one.name for one in fields(Waiver)}
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise UsageError(f"{where}: looked for a table of texts, found another", hint=_FORM)
    strange = sorted(set(table) - known)
    if strange:
        raise UsageError(
            f"{where}: looked for {', '.join(sorted(known))}, found {', '.join(strange)}", hint=_FORM
        )
    lacking = [name for name in ("file", "reason") if not str(table.get(name, "")).strip()]
    if lacking:
        raise UsageError(f"{where}: looked for {' and '.join(lacking)}, found none", hint=_FORM)
    made = Waiver(**table)
    if not any(fnmatchcase(rule, made.rule) for rule in RULES):
        raise UsageError(f"{where}: {made.rule} is no rule", hint=f"name one of {', '.join(RULES)}")
    return made
