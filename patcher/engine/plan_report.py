"""Plans as documents for machines and as text for people."""

from __future__ import annotations

from collections import Counter
from typing import Any

from patcher.engine.plan import EditPlan, Plan, State

_MARKS = {
    State.APPLIED: "+",
    State.PRESENT: "=",
    State.MISSING: " ",
    State.CONFLICT: "!",
    State.NOT_NEEDED: "-",
    State.UNPLACED: "~",
}

_TOLD = (State.CONFLICT, State.NOT_NEEDED, State.PRESENT, State.UNPLACED)


def plan_document(plan: Plan, *, base: str | None, done: bool = False) -> dict[str, Any]:
    """The JSON contract of ``apply``, ``diff`` and ``status``; ``done``: what was missing is written."""
    return {
        "tree": plan.tree,
        "base": base,
        "type": plan.patchset.type.upper,
        "edits": [
            {
                "id": edit.edit.id,
                "file": edit.file,
                "state": _state(edit, done).value,
                "detail": edit.detail,
                "group": edit.edit.group,
                "purpose": edit.edit.purpose,
                "required": edit.edit.optional is None,
                "resolution": edit.resolution or None,
            }
            for edit in plan.edits
        ],
        "files": [file.path for file in plan.files],
        "foreign": [place.document() for place in plan.foreign],
        "state": "applied" if done and not plan.conflicts else plan.state,
    }


def _state(edit: EditPlan, done: bool) -> State:
    return State.APPLIED if done and edit.state is State.MISSING else edit.state


def plan_text(plan: Plan, *, verbose: bool = False) -> str:
    """One line an edit, by group, and a summary line."""
    lines: list[str] = []
    group = None
    for edit in plan.edits:
        if edit.edit.group != group:
            group = edit.edit.group
            lines.append(f"{group}:")
        shown = f"  {_MARKS[edit.state]} {edit.state.value:<10} {edit.edit.id:<28} {edit.file}"
        if edit.detail and (verbose or edit.state in _TOLD):
            shown += f"\n{'':15}{edit.detail}"
        lines.append(shown)
    if plan.foreign:
        lines.append("by another hand:")
        lines += [
            f"  {place.file}:{place.line}: {place.construct} of {place.name}\n{'':15}{place.consequence}"
            for place in plan.foreign
        ]
    return "\n".join([*lines, summary(plan)])


def summary(plan: Plan) -> str:
    """The tree in one line: how many edits are in which state."""
    counts = Counter(edit.state for edit in plan.edits)
    parts = [f"{counts[state]} {state.value}" for state in State if counts[state]]
    return f"{plan.tree}: {plan.patchset.type.upper} {plan.state} ({', '.join(parts)})"
