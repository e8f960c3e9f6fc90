"""Mangled C++ names as people write them (libstdc++'s own demangler, through cxxfilt)."""

from __future__ import annotations

from functools import cache


@cache
def demangle(name: str) -> str:
    """``name`` demangled; as it is where it isn't mangled, or where libstdc++ isn't there."""
    if not name.startswith(("_Z", "__Z")):
        return name
    try:
        import cxxfilt

        text: str = cxxfilt.demangle(name)
    except Exception:  # noqa: BLE001 - cxxfilt's own InvalidName, or its library missing: a name is enough
        return name
    return text
