"""The reference pages and the man pages, made from the code: ``python -m manual``."""
