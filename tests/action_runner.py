"""A composite GitHub Action, run step by step on this machine, as far as that goes without the service.

``run`` steps are run with bash as the runner does it; ``uses`` steps are recorded with their inputs.
Expressions are those that our own actions use: contexts, literals, comparisons, ``&&``, ``||``, ``!``,
parentheses and the status functions. Anything else is an error, not a guess.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_TOKEN = re.compile(r"\s*(?:(&&|\|\||==|!=|[!()])|'((?:[^']|'')*)'|([A-Za-z_][\w.-]*)|(-?\d+))")
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


@dataclass
class Step:
    """A step as it went. ``outcome``: success, failure or skipped; ``uses`` with its inputs, or a script."""

    name: str
    outcome: str
    uses: str | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)  # what the step itself sets
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""

    @property
    def annotations(self) -> list[str]:
        """The workflow commands that it printed."""
        return [line for line in self.log.splitlines() if re.match(r"::(error|warning|notice)[ :]", line)]


@dataclass
class Job:
    """All steps of an action."""

    steps: list[Step]
    summary: str

    @property
    def green(self) -> bool:
        """Whether no step failed."""
        return all(step.outcome != "failure" for step in self.steps)

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)


def run(
    action: Path,
    inputs: Mapping[str, str],
    *,
    workspace: Path,
    temp: Path,
    github: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Job:
    """Run ``action`` (an action.yml) in ``workspace``. Unknown inputs are an error, as in an editor."""
    document = yaml.safe_load(action.read_text(encoding="utf-8"))
    assert document["runs"]["using"] == "composite"
    unknown = set(inputs) - set(document["inputs"])
    assert not unknown, f"no such inputs: {unknown}"
    temp.mkdir(parents=True, exist_ok=True)
    contexts: dict[str, Any] = {
        "github": {
            "event_name": "push",
            "repository": "owner/name",
            "run_id": 1,
            "token": "t",
            **(github or {}),
        },
        "runner": {"os": "Linux", "arch": "X64", "temp": str(temp)},
        "steps": {},
        "inputs": {},
    }
    for name, about in document["inputs"].items():
        contexts["inputs"][name] = inputs.get(name, filled(str(about.get("default", "")), contexts))
    summary = temp / "summary.md"
    summary.touch()
    shared = {
        **os.environ,
        "GITHUB_ACTIONS": "true",
        "GITHUB_ACTION_PATH": str(action.parent.resolve()),
        "GITHUB_WORKSPACE": str(workspace),
        "GITHUB_STEP_SUMMARY": str(summary),
        **(environment or {}),
    }
    steps: list[Step] = []
    for number, entry in enumerate(document["runs"]["steps"]):
        failed = any(step.outcome == "failure" for step in steps)
        step = _step(entry, number, contexts, failed, workspace, temp, shared)
        steps.append(step)
        if "id" in entry:
            contexts["steps"][entry["id"]] = {"outputs": step.outputs, "outcome": step.outcome}
    return Job(steps, summary.read_text(encoding="utf-8"))


def _step(
    entry: Mapping[str, Any],
    number: int,
    contexts: Mapping[str, Any],
    failed: bool,
    workspace: Path,
    temp: Path,
    shared: Mapping[str, str],
) -> Step:
    step = Step(str(entry.get("name", number)), "skipped", entry.get("uses"))
    condition = str(entry.get("if", "success()"))
    if not re.search(r"\b(always|success|failure)\(\)", condition):
        condition = f"success() && ({condition})"
    if not truthy(Expression(condition, contexts, failed=failed).value()):
        return step
    step.inputs = {name: filled(str(value), contexts) for name, value in entry.get("with", {}).items()}
    step.environment = {name: filled(str(value), contexts) for name, value in entry.get("env", {}).items()}
    if step.uses is not None:
        step.outcome = "success"
        return step
    assert entry["shell"] == "bash"
    script, outputs = temp / f"step-{number}.sh", temp / f"outputs-{number}"
    script.write_text(filled(entry["run"], contexts), encoding="utf-8")
    outputs.write_text("", encoding="utf-8")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
        cwd=workspace,
        env={**shared, **step.environment, "GITHUB_OUTPUT": str(outputs)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
    )
    step.log = done.stdout
    step.outcome = "success" if done.returncode == 0 else "failure"
    step.outputs = dict(line.split("=", 1) for line in outputs.read_text(encoding="utf-8").splitlines())
    return step


def filled(text: str, contexts: Mapping[str, Any]) -> str:
    """``text`` with its expressions replaced by their values."""
    return _EXPRESSION.sub(lambda found: shown(Expression(found[1], contexts).value()), text)


def shown(value: Any) -> str:
    """A value as the service writes it into a text."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def truthy(value: Any) -> bool:
    """What counts as true in a condition."""
    return value not in (None, "", False, 0)


class Expression:
    """A recursive descent over ``a == 'b' && (c || !d)``."""

    def __init__(self, text: str, contexts: Mapping[str, Any], *, failed: bool = False) -> None:
        self._contexts = contexts
        self._status = {"always": True, "success": not failed, "failure": failed}
        self._tokens: list[tuple[str, str, str, str]] = []
        position = 0
        text = text.strip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            assert found, f"{text!r}: not understood at {text[position:]!r}"
            self._tokens.append(
                (found[1] or "", found[2] if found[2] is not None else "\0", found[3] or "", found[4] or "")
            )
            position = found.end()

    def value(self) -> Any:
        value = self._either()
        assert not self._tokens, f"left over: {self._tokens}"
        return value

    def _next(self, *operators: str) -> bool:
        if self._tokens and self._tokens[0][0] in operators and self._tokens[0][0]:
            self._tokens.pop(0)
            return True
        return False

    def _either(self) -> Any:
        value = self._both()
        while self._next("||"):
            other = self._both()
            value = value if truthy(value) else other
        return value

    def _both(self) -> Any:
        value = self._compared()
        while self._next("&&"):
            other = self._compared()
            value = other if truthy(value) else value
        return value

    def _compared(self) -> Any:
        value = self._single()
        if self._next("=="):
            return shown(value).lower() == shown(self._single()).lower()
        if self._next("!="):
            return shown(value).lower() != shown(self._single()).lower()
        return value

    def _single(self) -> Any:
        if self._next("!"):
            return not truthy(self._single())
        if self._next("("):
            value = self._either()
            assert self._next(")"), "looked for a closing parenthesis"
            return value
        operator, string, name, number = self._tokens.pop(0)
        assert not operator, f"found {operator} where a value was looked for"
        if string != "\0":
            return string.replace("''", "'")
        if number:
            return int(number)
        if name in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[name]
        if self._next("("):
            assert self._next(")"), f"{name}: only functions without arguments are known"
            return self._status[name]
        found: Any = self._contexts
        for part in name.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found
