"""The runner of our own action has to understand what it is given, or say so."""

from __future__ import annotations

from typing import Any

import pytest

from tests.action_runner import Expression, filled, truthy

CONTEXTS: dict[str, Any] = {
    "inputs": {"mode": "auto", "upload": "true", "fail-on": "error"},
    "github": {"event_name": "push", "event": {"pull_request": {"head": {"repo": {"full_name": "a/b"}}}}},
    "steps": {"check": {"outputs": {"sarif": ""}}},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("inputs.mode == 'check' || (inputs.mode == 'auto' && github.event_name != 'schedule')", True),
        ("inputs.mode == 'AUTO'", True),  # the service compares without regard to case
        ("steps.check.outputs.sarif != '' && always()", False),
        ("github.event.pull_request.head.repo.full_name == 'a/b'", True),
        ("github.event.nothing.there", False),
        ("!(inputs.fail-on == 'error')", False),
        ("failure() || success()", True),
        ("false || 1", True),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    assert truthy(Expression(text, CONTEXTS).value()) is holds


@pytest.mark.parametrize("text", ["inputs.mode ==", "(true", "contains('a', 'b')", "true true", "a ? b", "%"])
def test_what_is_not_understood_is_an_error(text: str) -> None:
    with pytest.raises((AssertionError, IndexError, KeyError)):
        Expression(text, CONTEXTS).value()


def test_texts_are_filled() -> None:
    assert filled("a-${{ inputs.mode }}-${{ github.nothing }}-${{ true }}", CONTEXTS) == "a-auto--true"
