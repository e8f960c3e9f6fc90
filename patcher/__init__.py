"""q8a8-patch: carry the Q8_A8 quantization type on top of any llama.cpp.

Data flows one way: source -> tree -> plan -> transaction -> build -> symbols -> report.
"""

__version__ = "0.1.0"
