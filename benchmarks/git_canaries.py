"""What of a stranger's repository git runs, and what of it we do: a page for the documentation.

    python -m benchmarks.git_canaries > docs/reference/git-settings.md

Exit code 1 where something of a repository is run.
"""

from __future__ import annotations

import sys

from tests.git_canaries import main

if __name__ == "__main__":
    sys.exit(main())
