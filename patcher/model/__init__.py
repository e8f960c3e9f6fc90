"""Work on models: GGUF files read and written as streams, activation statistics, smoothing."""

import os

# The matrix products here are small: more threads than one only wait for each other (20 times slower on two
# busy cores). OpenBLAS reads this when numpy is loaded, and only then.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
