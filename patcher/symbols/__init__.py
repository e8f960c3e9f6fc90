"""The undefined-symbol verifier: reads ELF files, never runs them."""

from patcher.symbols.check import Finding, Report, check
from patcher.symbols.rules import RULES, Rule
from patcher.symbols.search import SearchOptions

__all__ = ["RULES", "Finding", "Report", "Rule", "SearchOptions", "check"]
