"""The guard of a repository that carries llama.cpp: does the type still apply, build, link, and miss nothing?

``check`` judges one tree; ``watch`` judges upstream's newest and keeps one issue about it. Both return
values; what is printed, annotated and written comes from ``outputs`` and ``issue``.
"""

from __future__ import annotations

from patcher.guard.check import CheckRequest, check
from patcher.guard.problem import FAIL_ON, Judgement, Problem, Stage
from patcher.guard.watch import Watched, watch

__all__ = ["FAIL_ON", "CheckRequest", "Judgement", "Problem", "Stage", "Watched", "check", "watch"]
