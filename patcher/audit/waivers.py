"""Sites that need nothing, each with the reason: ``patches/waivers.toml``."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from patcher.base import sandbox
from patcher.base.errors import ShippedFileError, UsageError
from patcher.base.resources import resource_dir

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from patcher.audit.sites import SiblingSite


@dataclass(frozen=True)
class SiteWaiver:
    """Sites that match all that is given are waived."""

    file: str  # a glob, in which * crosses folders
    reason: str
    function: str = "*"
    kind: str = "*"  # the table's word for a site's construct
    text: str = ""  # a pattern, looked for in the site's line

    def covers(self, site: SiblingSite) -> bool:
        """Whether this waiver is meant for ``site``."""
        return (
            fnmatchcase(site.file, self.file)
            and fnmatchcase(site.function, self.function)
            and fnmatchcase(site.construct, self.kind)
            and (not self.text or re.search(self.text, site.text) is not None)
        )

    def try_on(self, sites: Iterable[SiblingSite], where: str) -> None:
        """Look for the pattern in a process of its own first: a stranger's may have no end.

        Raises :class:`UsageError` where it takes more than seconds.
        """
        if not self.text:
            return

        def child() -> str:
            for site in sites:
                self.covers(site)
            return "done"

        try:
            sandbox.confined(child)
        except sandbox.OverLimitError as why:
            raise UsageError(
                f"{where}: waiver of {self.file}: text: its pattern {why} on this tree",
                hint="write it without nested repetitions",
            ) from why


def load() -> tuple[SiteWaiver, ...]:
    """The waivers that come with the tool. Raises :class:`PatcherError` where the file is malformed."""
    path = resource_dir("patches") / "waivers.toml"
    where = f"patches/{path.name}"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return own(document["waiver"], where)
    except (OSError, tomllib.TOMLDecodeError, KeyError) as why:
        raise ShippedFileError(f"{where}: {why}") from why


def own(tables: Iterable[Mapping[str, str]], where: str) -> tuple[SiteWaiver, ...]:
    """The waivers that come with a type. Raises :class:`UsageError` where one is malformed."""
    try:
        waivers = tuple(SiteWaiver(**table) for table in tables)
        for waiver in waivers:
            re.compile(waiver.text)
    except (TypeError, re.error) as why:
        raise UsageError(
            f"{where}: looked for a [[waiver]] of {', '.join(one.name for one in fields(SiteWaiver))},"
            f" found another ({why})",
            hint="see docs/how-to/own-type.md for what a waiver says; 'q8a8-patch type show FILE' checks"
            " the file",
        ) from why
    return waivers
