"""Where the templates and the patch sets lie: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from patcher.base.errors import ShippedFileError


@cache
def resource_dir(name: str) -> Path:
    """The folder ``templates`` or ``patches``."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "data" / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise ShippedFileError(f"{name}: not in this installation", hint="install q8a8-patch again")
