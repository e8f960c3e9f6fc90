"""A row of revisions as a picture: edits down, revisions across, red where an edit can't be placed."""

from __future__ import annotations

from html import escape

from patcher.drift.result import Drift
from patcher.engine.patchset import PatchSet

_ROW, _LEFT, _TOP, _WIDTH = 14, 230, 46, 900


def svg(drift: Drift, patchset: PatchSet) -> str:
    """The picture; runs of revisions with one verdict are one bar, so a thousand cost no more than ten."""
    names = [edit.id for edit in patchset.edits]
    count = len(drift.revisions)
    step = _WIDTH / max(1, count)
    height = _TOP + _ROW * len(names) + 40
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 20} {height}"'
        ' font-family="monospace" font-size="10">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{_LEFT}" y="16" font-size="13">{patchset.type.upper} over {count} revisions</text>',
    ]
    if drift.revisions:
        first, last = drift.revisions[0], drift.revisions[-1]
        for x, anchor, one in ((_LEFT, "start", first), (_LEFT + _WIDTH, "end", last)):
            label = escape(f"{one.date} {one.ref}")
            out.append(f'<text x="{x}" y="34" text-anchor="{anchor}">{label}</text>')
    refused = {
        name: [any(one.edit == name for one in rev.conflicts) for rev in drift.revisions] for name in names
    }
    for number, name in enumerate(names):
        y = _TOP + number * _ROW
        out.append(f'<text x="{_LEFT - 8}" y="{y + 10}" text-anchor="end">{escape(name)}</text>')
        out += [
            f'<rect x="{_LEFT + start * step:.2f}" y="{y + 1}" width="{(end - start) * step:.2f}"'
            f' height="{_ROW - 2}" fill="{"#d1242f" if bad else "#2da44e"}"/>'
            for start, end, bad in _runs(refused[name])
        ]
    out.append(
        f'<text x="{_LEFT}" y="{height - 14}">green: the edit has its place; red: it is in conflict</text>'
    )
    return "\n".join([*out, "</svg>", ""])


def _runs(values: list[bool]) -> list[tuple[int, int, bool]]:
    """Neighbours that agree, as (first, behind the last, value)."""
    runs: list[tuple[int, int, bool]] = []
    for position, value in enumerate(values):
        if runs and runs[-1][2] == value:
            runs[-1] = (runs[-1][0], position + 1, value)
        else:
            runs.append((position, position + 1, value))
    return runs
