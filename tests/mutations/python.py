"""A Python module with what edits look for in gguf-py and the converters, and the ways to change it.

The module's check imports it and asks for the type wherever its sibling is.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.mutations.mutation import Mutation, sub
from tests.mutations.program import Program

PATH = "constants.py"
TEXT = """\
from enum import IntEnum


class QuantType(IntEnum):
    F32  = 0
    Q8_0 = 8
    Q2_0 = 42


class FileType(IntEnum):
    ALL_F32     = 0
    MOSTLY_Q8_0 = 7  # but vectors
    MOSTLY_Q2_0 = 41

    GUESSED     = 1024  # nobody said


SIZES: dict[QuantType, tuple[int, int]] = {
    QuantType.F32:  (1, 4),
    QuantType.Q8_0: (32, 2 + 32),
    QuantType.Q2_0: (64, 2 + 16),
}


class Q8_0:
    block = 32


def type_of(ftype):
    if ftype == FileType.ALL_F32:
        return QuantType.F32
    elif ftype == FileType.MOSTLY_Q8_0:
        return QuantType.Q8_0
    else:
        raise ValueError(ftype)


CHOICES = ["f32", "f16", "q8_0", "auto"]
"""
CHECK = """\
import constants as c
assert c.QuantType.Q8_A8 == 120 and len(c.QuantType) == 4
assert c.FileType.MOSTLY_Q8_A8 == 120 and c.FileType.GUESSED == 1024 and len(c.FileType) == 5
assert c.SIZES[c.QuantType.Q8_A8] == c.SIZES[c.QuantType.Q8_0] == (32, 34) and len(c.SIZES) == 4
assert c.Q8_A8.block == c.Q8_0.block == 32 and c.Q8_A8 is not c.Q8_0
assert c.type_of(120) == 120 and c.type_of(7) == 8 and c.type_of(0) == 0
assert sorted(c.CHOICES) == ["auto", "f16", "f32", "q8_0", "q8_a8"]
try:
    c.type_of(5)
except ValueError:
    pass
else:
    raise AssertionError("a type of nothing")
"""
_OURS = "Q8_A8"
_TEMPLATES = {
    "type": "Q8_A8\t= 120\n",
    "ftype": "MOSTLY_Q8_A8\t= 120\n",
    "sizes": "QuantType.Q8_A8:\t(32, 2 + 32),\n",
    "class": "class Q8_A8:\n    block = 32\n",
    "branch": "elif ftype == FileType.MOSTLY_Q8_A8:\n    return QuantType.Q8_A8\n",
    "choice": ', "q8_a8"\n',
}
_ANCHORS: dict[str, tuple[str, dict[str, object]]] = {
    "type": ("py-member", {"name": "QuantType", "ours": _OURS, "value": 120}),
    "ftype": ("py-member", {"name": "FileType", "ours": "MOSTLY_Q8_A8", "value": 120, "before": "GUESSED"}),
    "sizes": ("py-entry", {"variable": "SIZES", "key": "QuantType.Q8_0", "ours": "QuantType.Q8_A8"}),
    "class": ("py-definition", {"name": "Q8_0", "ours": _OURS}),
    "branch": ("py-branch", {"mentions": "MOSTLY_Q8_0", "test": r"\bftype == FileType\.MOSTLY_Q8_0$",
                             "ours": r"MOSTLY_Q8_A8\b"}),
    "choice": ("py-string", {"beside": "q8_0", "ours": "q8_a8", "among": ["f16", "auto"]}),
}  # fmt: skip


def _python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", "-I", "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def _run(folder: Path) -> tuple[int, str]:
    done = _python(CHECK, folder)
    failed_check = "AssertionError" in done.stderr or "AttributeError" in done.stderr
    return done.returncode, "" if failed_check else done.stderr


def _sound(folder: Path, ours_is_known: bool) -> str:
    return _python("import constants", folder).stderr


PYTHON = Program(TEXT, (PATH,), _TEMPLATES, _ANCHORS, _run, _sound)

PYTHON_STYLES = (
    Mutation("Python: CRLF", lambda data: data.replace(b"\n", b"\r\n"), True),
    Mutation("Python: BOM", lambda data: b"\xef\xbb\xbf" + data, True),
    sub("Python: tabs", r"^( {4})", "\t", lands=True),
    sub("Python: trailing comments", r"([,:0-9\]])$", r"\1  # Q8_0: why", lands=True),
    Mutation("Python: no final newline", lambda data: data.rstrip(b"\n"), True),
    sub("Python: blank lines", r"\n", "\n\n", lands=True),
)
PYTHON_CHANGES = (
    sub("Python: as it is", "$^", "", lands=True),
    sub("Python: hexadecimal members", r"= 42", "= 0x2a", lands=True),
    sub("Python: members by auto()", r"Q2_0 = 42", "Q2_0 = auto()", lands=False),
    sub("Python: number taken", r"^    Q2_0 = 42", "    Q2_0 = 120", lands=False),
    sub("Python: another number of ours", r"^    Q2_0 = 42", "    Q2_0 = 42\n    Q8_A8 = 39", lands=False),
    sub("Python: ours there", r"^    Q2_0 = 42", "    Q8_A8 = 120\n    Q2_0 = 42", lands=True),
    sub("Python: ours in a comment", r"^    Q2_0 = 42", "    # Q8_A8 = 120\n    Q2_0 = 42", lands=True),
    sub("Python: two members on a line", r"8\n    Q2_0 = 42", "8; Q2_0 = 42", lands=False),
    sub("Python: enum renamed", r"QuantType", "GGMLType", lands=False),
    sub("Python: a second enum", r"^class FileType", "class Old(IntEnum):\n    Q8_0 = 8\n\n\nclass FileType", lands=True),
    sub("Python: no GUESSED", r"^    GUESSED.*\n", "", lands=False),
    sub("Python: a docstring", r"^(class \w+\(IntEnum\):)", '\\1\n    """Q8_A8 = 120"""\n', lands=True),
    sub("Python: a method behind the members", r"^    Q2_0 = 42", "    Q2_0 = 42\n\n    def bits(self):\n        return 8", lands=True),
    sub("Python: entries on one line", r"\(1, 4\),\n    QuantType.Q8_0", "(1, 4), QuantType.Q8_0", lands=True),
    sub("Python: entry last, no comma", r"(    QuantType\.Q8_0: .*),\n(    QuantType\.Q2_0: .*\n)", r"\2\1\n", lands=False),
    sub("Python: entry twice", r"(    QuantType\.Q8_0: .*\n)", r"\1\1", lands=False),
    sub("Python: entry over two lines", r"\(32, 2 \+ 32\)", "(\n        32, 2 + 32)", lands=True),
    sub("Python: no annotation", r"^SIZES: .* = ", "SIZES = ", lands=True),
    sub("Python: dict()", r"^SIZES: .* = (\{(?:.|\n)*?^\})", r"SIZES = dict(\1)", lands=False),
    sub("Python: dict filled later", r"^    QuantType\.Q8_0: .*\n((?:.|\n)*?^\}\n)", r"\1SIZES[QuantType.Q8_0] = (32, 34)\n", lands=False),
    sub("Python: ours in the dict", r"^(    Q2_0 = 42\n)((?:.|\n)*?^    QuantType\.Q8_0: .*\n)", "\\1    Q8_A8 = 120\n\\2    QuantType.Q8_A8: (32, 34),\n", lands=True),
    sub("Python: a second class of that name", r"^class Q8_0:", "class Outer:\n    class Q8_0:\n        block = 3\n\n\nclass Q8_0:", lands=True),
    sub("Python: class with a decorator", r"^class Q8_0:", "@staticmethod\ndef none(): pass\n\n\n@(lambda c: c)\nclass Q8_0:", lands=True),
    sub("Python: class on one line", r"^class Q8_0:\n    block", "class Q8_0: block", lands=True),
    sub("Python: class under a condition", r"^class Q8_0:\n    block = 32", "if True:\n    class Q8_0:\n        block = 32", lands=False),
    sub("Python: our class is there", r"^class Q8_0:", "class Q8_A8:\n    block = 32\n\n\nclass Q8_0:", lands=True),
    sub("Python: another statement behind the class", r"^(    block = 32)", r"\1; other = 1", lands=True),
    sub("Python: match", r"    if ftype == FileType.ALL_F32:(?:.|\n)*?raise ValueError\(ftype\)", "    match ftype:\n        case FileType.ALL_F32:\n            return QuantType.F32\n        case FileType.MOSTLY_Q8_0:\n            return QuantType.Q8_0\n    raise ValueError(ftype)", lands=False),
    sub("Python: condition turned around", r"ftype == FileType.MOSTLY_Q8_0", "FileType.MOSTLY_Q8_0 == ftype", lands=False),
    sub("Python: condition with more", r"ftype == FileType.MOSTLY_Q8_0", "ftype == FileType.MOSTLY_Q8_0 and ftype != 5", lands=False),
    sub("Python: condition in parentheses", r"elif ftype == FileType.MOSTLY_Q8_0", "elif (ftype == FileType.MOSTLY_Q8_0)", lands=True),
    sub("Python: if after if", r"elif ftype == FileType.MOSTLY_Q8_0", "if ftype == FileType.MOSTLY_Q8_0", lands=True),
    sub("Python: branch on one line", r"(MOSTLY_Q8_0:)\n +return", r"\1 return", lands=True),
    sub("Python: sibling's branch twice", r"^(def type_of\(ftype\):)$", "\\1\n    if ftype == FileType.MOSTLY_Q8_0:\n        pass", lands=False),
    sub("Python: our branch is there", r"^    else:", "    elif ftype == FileType.MOSTLY_Q8_A8:\n        return QuantType.Q8_A8\n    else:", lands=True),
    sub("Python: our branch commented out", r"^    else:", "    # elif ftype == FileType.MOSTLY_Q8_A8:\n    #     return QuantType.Q8_A8\n    else:", lands=True),
    sub("Python: a list over lines", r'\["f32", "f16", "q8_0", "auto"\]', '[\n    "f32",\n    "f16",\n    "q8_0",\n    "auto",\n]', lands=True),
    sub("Python: single quotes", r'"', "'", lands=True),
    sub("Python: a tuple", r'\["f32", "f16", "q8_0", "auto"\]', '("f32", "f16", "q8_0", "auto")', lands=True),
    sub("Python: split()", r'\["f32", "f16", "q8_0", "auto"\]', '"f32 f16 q8_0 auto".split()', lands=False),
    sub("Python: a second list with the name", r"^CHOICES", 'OTHERS = ["q8_0", "q4_0"]\nCHOICES', lands=True),
    sub("Python: a second list with all of it", r"^(CHOICES = (.*))$", r"\1\nOTHERS = \2", lands=False),
    sub("Python: our choice is there", r'"auto"', '"auto", "q8_a8"', lands=True),
    sub("Python: no Python", r"\Z", "print 'q8_0'\n", lands=False),
)  # fmt: skip
PYTHON_MUTATIONS = {"Python: style": PYTHON_STYLES, "Python": PYTHON_CHANGES}
