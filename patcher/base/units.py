"""Numbers with their units, as people read them."""

from __future__ import annotations


def how_many(count: int, noun: str) -> str:
    """A number of things in words: ``1 file``, ``2 files``, ``1 match``, ``0 matches``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}{'es' if noun.endswith(('s', 'sh', 'ch', 'x')) else 's'}"


def number(value: float, unit: str) -> str:
    """A value with its unit: three or four digits that matter."""
    if unit == "bytes":
        for name, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if value >= size:
                scaled = value / size
                text = f"{scaled:.0f}" if scaled >= 1e3 else f"{scaled:.{4 if scaled >= 100 else 3}g}"
                return f"{text} {name}"
        return f"{value:.0f} B"
    if unit == "tokens/s":
        return f"{value:.0f} t/s" if value >= 100 else f"{value:.3g} t/s"
    if unit == "ms":
        return (
            f"{value / 1e3:.3g} s"
            if value >= 1e4
            else f"{value:.3g} ms"
            if value < 1e3
            else f"{value:.0f} ms"
        )
    if value >= 1e6:
        return f"{value / 1e9:.4g} G" if value >= 1e9 else f"{value / 1e6:.4g} M"
    return f"{value:.4f}" if unit == "" else f"{value:.4g} {unit}"
