"""Figures against each other and against what was asked for."""
