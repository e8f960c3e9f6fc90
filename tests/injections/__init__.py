"""Signals and errors at every call that writes: what the tree or the model is afterwards.

A process that has everything loaded forks one child for each injection, so that a run costs what its work costs.
"""
