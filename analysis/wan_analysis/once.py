"""Keeps the result of a function of a run, because many parts of a page ask for the same tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import pandas as pd

from wan_analysis.run import Run

Result = TypeVar("Result")


def once_per_run(function: Callable[[Run], Result]) -> Callable[[Run], Result]:
    """Computes `function(run)` once for each run. A table is given out as a copy that shares its values until it is changed."""

    @wraps(function)
    def kept(run: Run) -> Result:
        known = run.__dict__.setdefault("_kept", {})
        key = f"{function.__module__}.{function.__qualname__}"
        if key not in known:
            known[key] = function(run)
        result = known[key]
        return result.copy(deep=False) if isinstance(result, pd.DataFrame) else result

    return kept
