"""Findings that somebody has decided to live with: patterns with reasons and, if they like, a date.

The file is TOML::

    [[ignore]]
    symbol = "tcmalloc_*"          # glob on the symbol, mangled or demangled
    object = "libfoo.so*"          # optional: glob on the object's file name
    rule = "undefined-symbol"      # optional
    reason = "preloaded by the launcher"
    expires = 2027-01-31           # optional: from the day after, the finding is back
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from patcher.base.errors import UsageError
from patcher.base.os_errors import reason, way_out
from patcher.symbols.findings import SymbolFinding
from patcher.symbols.rules import RULES

if TYPE_CHECKING:
    import datetime as dt

_KEYS = {"symbol", "object", "rule", "reason", "expires"}
_FORM = "write [[ignore]] tables, each with a symbol and a reason; docs/symbols/usage.md shows one"


class Ignore(NamedTuple):
    """One decision. ``place`` says where it was made: a file and entry, or the command line."""

    symbol: str
    place: str
    object: str = "*"
    rule: str = "*"
    reason: str = ""
    expires: dt.date | None = None

    def hides(self, finding: SymbolFinding) -> bool:
        """Whether the finding is one that was meant."""
        from fnmatch import fnmatchcase

        return (
            fnmatchcase(finding.rule, self.rule)
            and fnmatchcase(finding.object.rpartition("/")[2], self.object)
            and (fnmatchcase(finding.symbol, self.symbol) or fnmatchcase(finding.demangled, self.symbol))
        )


class Remaining(NamedTuple):
    """What is left of some findings, and how many were hidden."""

    findings: list[SymbolFinding]
    ignored: int


class Ignores:
    """All decisions. ``today`` is what expiry dates are compared with; None is the day in UTC."""

    def __init__(self, entries: Iterable[Ignore] = (), today: dt.date | None = None) -> None:
        self.entries = list(entries)
        self.today = today
        self.report_unused = False

    @classmethod
    def of(cls, patterns: Iterable[str]) -> Ignores:
        """Patterns as ``--ignore`` takes them: ``SYMBOL``, or ``FILE!SYMBOL`` for one object."""
        ignores = cls()
        for pattern in patterns:
            place, bang, name = pattern.partition("!")
            where = f"--ignore {pattern}"
            ignores.entries.append(Ignore(name, where, place) if bang else Ignore(pattern, where))
        return ignores

    def read(self, path: Path) -> None:
        """Add the entries of a file. Raises :class:`UsageError` where it is malformed."""
        import datetime as dt

        from patcher.base import toml

        self.today = self.today or dt.datetime.now(dt.timezone.utc).date()
        try:
            document = toml.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, toml.TOMLDecodeError) as why:
            raise UsageError(
                f"{path}: looked for an ignore file, found none that can be read ({reason(why)})",
                hint=way_out(why, "mend the line that is named; docs/symbols/usage.md shows such a file"),
            ) from why
        tables = document.get("ignore", [])
        if set(document) - {"ignore"} or not isinstance(tables, list):
            raise UsageError(
                f"{path}: looked for [[ignore]] tables, found {', '.join(sorted(document))}", hint=_FORM
            )
        self.report_unused = True
        self.entries += [_entry(table, f"{path}, entry {number}") for number, table in enumerate(tables, 1)]

    def _valid(self, entry: Ignore) -> bool:
        return entry.expires is None or self.today is None or self.today <= entry.expires

    def apply(self, findings: Iterable[SymbolFinding]) -> Remaining:
        """The findings that stay, with one more for each entry that has expired or hides nothing."""
        kept: list[SymbolFinding] = []
        used: set[Ignore] = set()
        late: set[Ignore] = set()
        ignored = 0
        for finding in findings:
            by = [entry for entry in self.entries if entry.hides(finding)]
            valid = [entry for entry in by if self._valid(entry)]
            used.update(valid)
            late.update(entry for entry in by if entry not in valid)
            if valid:
                ignored += 1
            else:
                kept.append(finding)
        for entry in self.entries:
            place = entry.place.partition(",")[0]
            if entry in late:
                detail = f"{entry.place} expired on {entry.expires}: {entry.reason}"
                kept.append(SymbolFinding("expired-ignore", entry.symbol, place, (place,), detail))
            elif entry not in used and self.report_unused:
                kept.append(
                    SymbolFinding(
                        "unused-ignore", entry.symbol, place, (place,), f"{entry.place} hides nothing"
                    )
                )
        return Remaining(kept, ignored)


def _entry(table: Any, place: str) -> Ignore:
    import datetime as dt

    if not isinstance(table, dict) or set(table) - _KEYS:
        unknown = ", ".join(sorted(set(table) - _KEYS)) if isinstance(table, dict) else repr(table)
        raise UsageError(f"{place}: looked for {', '.join(sorted(_KEYS))}; found {unknown}", hint=_FORM)
    for key in ("symbol", "reason"):
        if not isinstance(table.get(key), str) or not table[key].strip():
            raise UsageError(f"{place}: looked for a {key}, found {table.get(key)!r}", hint=_FORM)
    rule, name, expires = table.get("rule", "*"), table.get("object", "*"), table.get("expires")
    if not isinstance(name, str):
        raise UsageError(f"{place}: looked for a pattern as object, found {name!r}", hint=_FORM)
    if rule != "*" and rule not in RULES:
        raise UsageError(
            f"{place}: looked for a rule, found {rule!r}", hint=f"name one of {', '.join(RULES)}"
        )
    if isinstance(expires, dt.datetime):
        expires = expires.date()
    if expires is not None and not isinstance(expires, dt.date):
        raise UsageError(f"{place}: looked for a date as expires, found {expires!r}", hint="write 2027-01-31")
    return Ignore(table["symbol"], place, name, rule, table["reason"], expires)
