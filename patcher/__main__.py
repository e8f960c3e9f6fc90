"""``python -m patcher`` is ``q8a8-patch``."""

from patcher.start import main

if __name__ == "__main__":
    main()
