"""Children that start children: ended together, first politely, then for good."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

GROUP = os.name == "posix"  # what Popen's start_new_session is to be, so that end() reaches all of them


def end(child: subprocess.Popen[Any], *, first: int = signal.SIGTERM, seconds: float = 5.0) -> None:
    """End ``child`` and all that it has started; ``seconds`` is how long it may take to each signal.

    ``first`` is what makes it tidy up: Ninja removes what it had half written at SIGINT.
    """
    if child.returncode is not None:
        return
    for number in (first, getattr(signal, "SIGKILL", signal.SIGTERM)):
        try:
            if GROUP:
                os.killpg(child.pid, number)
            else:
                child.terminate()
            child.wait(timeout=seconds)
        except ProcessLookupError:
            child.wait()
        except subprocess.TimeoutExpired:
            continue
        return
