"""The page of architectures: which can be smoothed, quantized and evaluated, and which test says so."""

from __future__ import annotations

import ast
from pathlib import Path

from patcher.model import architecture
from tests import tiny_models

TESTS = Path(__file__).parents[1] / "tests" / "unit"
# a column -> the test whose cases are the architectures, and its file
COLUMNS = {
    "smooth": ("test_a_smoothed_model_computes_the_same_and_undo_restores_it", "test_model_smooth.py"),
    "LoRA adapter": ("test_it_computes_the_same_as_before", "test_model_lora.py"),
    "quantize, evaluate": (
        "test_a_model_of_each_architecture_is_quantized_compared_and_described",
        "test_model_likeness.py",
    ),
}

_HEAD = """# Architectures

`smooth` folds factors into what comes before a product, so it has to know the graph: the architectures
below are declared in `patches/architectures.toml`, every other one is refused by name. `quantize`, also with
`--stats`, and `evaluate` need no declaration: llama.cpp's own programs do the work, and a model of an
architecture that isn't below is quantized and measured all the same.

A *yes* is a test on a synthetic model of two layers:

- **smooth**: smoothed in F32 it computes the same (relative error of the logits below 1e-4), with a lower
  error in 8 bits, and `undo` restores it;
- **LoRA adapter**: folded by `smooth --lora`, it changes the smoothed model as it changed the original;
- **quantize, evaluate**: its Q8_A8 file passes the comparison of data that `quantize` ends with, a damaged
  tensor of it doesn't, and `evaluate` takes both files.

With llama.cpp itself and a text, models of llama (SmolLM2-135M) are tested at each of these steps; Gemma 3
270M was measured by hand.

| architecture | folds | last norm (`--head`) | smooth | LoRA adapter | quantize, evaluate |
|---|---|---|---|---|---|
"""
_TAIL = """
*declared*: it shares another one's graph, and its own has no synthetic model yet.
"""


def architectures_page() -> str:
    """The page. A column's *yes* is read off the cases of its test: no test, no *yes*."""
    declared = architecture.load()
    tested = {column: _tested(*where) for column, where in COLUMNS.items()}
    rows = []
    for name in sorted(declared):
        about = declared[name]
        folds = ", ".join(dict.fromkeys(fold.id for fold in about.folds))
        cells = ["yes" if name in tested[column] else "declared" for column in COLUMNS]
        rows.append(f"| {name} | {folds} | {'yes' if name in about.head else 'no'} | {' | '.join(cells)} |\n")
    return _HEAD + "".join(rows) + _TAIL


def _tested(test: str, file: str) -> set[str]:
    """The architectures that are cases of ``test``: read off its ``parametrize``, which names VARIANTS."""
    for node in ast.parse((TESTS / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == test:
            (marks,) = (mark for mark in node.decorator_list if "parametrize" in ast.unparse(mark))
            said = ast.unparse(marks)
            left_out = {item.value for item in ast.walk(marks) if isinstance(item, ast.Constant)} - {
                "variant"
            }
            if "VARIANTS" not in said:
                raise ValueError(f"{file}: {test} names no VARIANTS")
            return {
                tiny_models.architecture_of(each) for each in tiny_models.VARIANTS if each not in left_out
            }
    raise ValueError(f"{file}: no test is called {test}")
