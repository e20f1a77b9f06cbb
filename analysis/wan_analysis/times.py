"""Moments and durations as text."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

UNKNOWN = "unknown"


def start_moment(started: str) -> datetime | None:
    """A trace's attribute `started`, with or without microseconds. None if it is none."""
    for form in ("%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%SZ"):
        try:
            return datetime.strptime(started, form).replace(tzinfo=timezone.utc)
        except ValueError:
            continue
    return None


def moment_of(started: str, later: timedelta) -> str:
    """The time of day in UTC some time after the start: "2026-11-21 12:42:25 UTC". "unknown" without a start."""
    moment = start_moment(started)
    if moment is None:
        return UNKNOWN
    try:
        return (moment + later).strftime("%Y-%m-%d %H:%M:%S UTC")
    except OverflowError:
        return UNKNOWN


def time_text(seconds: float) -> str:
    """A duration with three digits: "350 ms", "12.3 s", "1 h 02 min". "unknown" if it is no number."""
    if not math.isfinite(seconds):
        return UNKNOWN
    if abs(seconds) < 1.0:
        return f"{1000.0 * seconds:.3g} ms"
    if abs(seconds) < 600.0:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60.0)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
