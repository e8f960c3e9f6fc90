"""Whether the places that sources come from can be reached, as git, pip and npm here are set up."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from patcher.doctor.check import Examination, Health, said
from patcher.source import DEFAULT_URL

SECONDS = 8.0  # for each, all at once


def checks() -> Iterator[Examination]:
    """One question each, side by side; nothing is downloaded."""
    questions: dict[str, tuple[Callable[[], bool], str]] = {
        "llama.cpp's repository": (_git, "sources come from packages, or from this disk"),
        "Python packages": (_pip, "pypi: sources, CMake's and Ninja's wheels can't be had"),
        "npm packages": (_npm, "npm: sources can't be had"),
    }
    with ThreadPoolExecutor(len(questions)) as pool:
        answers = {name: pool.submit(ask) for name, (ask, _) in questions.items()}
    for name, (_, detail) in questions.items():
        if answers[name].result():
            yield Examination(name, Health.OK, "reached")
        else:
            yield Examination(name, Health.WARNING, f"no answer in {SECONDS:g} s, or a refusal", detail)


def _git() -> bool:
    from patcher import git
    from patcher.base.errors import PatcherError

    try:
        git.run(None, "ls-remote", "--exit-code", "--", DEFAULT_URL, "HEAD", timeout=SECONDS)
    except PatcherError:
        return False
    return True


def _pip() -> bool:
    options = ("--disable-pip-version-check", "--timeout", "4", "--retries", "0")
    command = (sys.executable, "-I", "-m", "pip", "index", "versions", "llama-cpp-python", *options)
    return bool(said(*command, seconds=SECONDS))


def _npm() -> bool:
    npm = shutil.which("npm")
    options = ("--fetch-timeout=4000", "--fetch-retries=0")
    return npm is not None and bool(said(npm, "view", "node-llama-cpp", "version", *options, seconds=SECONDS))
