"""The undefined-symbol verifier: reads ELF files, never runs them.

>>> from pathlib import Path
>>> from patcher import symbols
>>> report = symbols.check([Path("build/bin")])  # doctest: +SKIP
>>> [finding.symbol for finding in report.at_least("error")]  # doctest: +SKIP
[]
"""

from patcher.symbols.check import Demands, check
from patcher.symbols.findings import SymbolFinding, SymbolReport
from patcher.symbols.ignores import Ignores
from patcher.symbols.rules import RULES, Rule
from patcher.symbols.search import SearchOptions

__all__ = ["RULES", "Demands", "Ignores", "Rule", "SearchOptions", "SymbolFinding", "SymbolReport", "check"]
