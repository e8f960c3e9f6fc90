"""A roofline: what the core can compute, what memory can deliver, and where the kernels are between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.kernels_alone import Speed

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 32, 44, 52


def bound(speed: Speed, scaled: float) -> float:
    """GOP/s that a product of so few rows can have at best: memory's pace or the core's, scales included."""
    return min(speed.read_gbs * speed.intensity, scaled)


def picture(speeds: Sequence[Speed], instructions: float) -> str:
    """An SVG. ``instructions``: share of the peak that is left when scales are applied to every block."""
    peak = max(speed.peak_gops for speed in speeds)
    read = max(speed.read_gbs for speed in speeds)
    low_x, high_x = math.floor(math.log2(speeds[0].intensity)), math.ceil(math.log2(speeds[-1].intensity))
    low_y = math.floor(math.log2(min(speed.product_gops for speed in speeds)))
    high_y = math.ceil(math.log2(peak * 1.1))

    def x(intensity: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (math.log2(intensity) - low_x) / (high_x - low_x)

    def y(gops: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (math.log2(gops) - low_y) / (high_y - low_y)

    def words(at_x: float, at_y: float, text: str, anchor: str = "start", colour: str = "#333") -> str:
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'

    def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
        return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'

    grid, roof = 'stroke="#ddd"', 'stroke="#555" stroke-width="1.5"'
    dashed = roof + ' stroke-dasharray="5 4"'
    right, foot = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        words(_LEFT, 20, f"{speeds[0].kernels}, one core: GOP/s over operations a byte of weights"),
    ]
    for power in range(low_x, high_x + 1):
        out += [line(x(2.0**power), _TOP, x(2.0**power), foot, grid)]
        out += [words(x(2.0**power), foot + 17, f"{2**power}", "middle")]
    for power in range(low_y, high_y + 1):
        out += [line(_LEFT, y(2.0**power), right, y(2.0**power), grid)]
        out += [words(_LEFT - 7, y(2.0**power) + 4, f"{2**power}", "end")]
    ridge = peak / read
    start = max(2.0**low_x, 2.0**low_y / read)
    out += [
        line(x(start), y(start * read), x(ridge), y(peak), roof),
        line(x(ridge), y(peak), right, y(peak), roof),
        line(x(ridge * instructions), y(peak * instructions), right, y(peak * instructions), dashed),
        words(right, y(peak) - 6, f"int8 instructions, {peak:.0f} GOP/s", "end"),
        words(
            right,
            y(peak * instructions) + 15,
            f"with a scale for every block, {100 * instructions:.0f} %",
            "end",
        ),
        words(x(ridge / 6) - 8, y(peak / 6) - 8, f"memory, {read:.0f} GB/s", "end"),
        words(
            (_LEFT + right) / 2,
            _HEIGHT - 12,
            "operations a byte of weights (rows of activations in the points)",
            "middle",
        ),
    ]
    for speed in speeds:
        at_x, at_y = x(speed.intensity), y(speed.product_gops)
        label = f"{speed.rows} rows: {speed.product_gops:.0f} GOP/s"
        out.append(
            f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="5" fill="#27b"><title>{label}</title></circle>'
        )
        out.append(words(at_x + 2, at_y + 19, str(speed.rows), "middle", "#27b"))
    return "\n".join([*out, "</svg>", ""])
