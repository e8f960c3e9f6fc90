"""``python -m patcher`` is ``q8a8-patch``."""

from patcher.cli import main

if __name__ == "__main__":
    main()
