"""The history of a nightly benchmark: one line of JSON for each night, and for each change that was accepted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

from wan_analysis.nightly_result import MANIFEST, NightlyError, benchmark_key, check_result, metrics_of, parse_result

HISTORY, ACCEPTED = "history.jsonl", "accepted.jsonl"
#: Fields of a line that the history adds to a result.
OWN_FIELDS = ("time", "refused", "key", "repeat_of", "clears")
#: Facts that are stored beside a night, and named when they change together with a metric. Card and host stand in "ranks"; revisions
#: are listed.
FACTS = ("driver", "cuda", "nccl", "mpi", "libtorch", "hdf5", "build")
#: Nights that say what is usual.
_USUAL_NIGHTS = 10


@dataclass(frozen=True)
class Night:
    """One good result."""

    number: int  # from 1, among the nights of its key
    time: str  # UTC, ISO 8601
    key: str
    metrics: dict[str, float]
    record: Mapping[str, Any] = field(repr=False)

    @property
    def date(self) -> str:
        """The day."""
        return self.time[:10]

    @property
    def moment(self) -> datetime:
        """The time as a moment."""
        return moment_of(self.time)

    @property
    def card(self) -> str:
        """The UUIDs of all cards, or "" if they are not recorded."""
        return " ".join(sorted({str(rank["gpu_uuid"]) for rank in self.ranks if rank.get("gpu_uuid")}))

    @property
    def host(self) -> str:
        """The hosts of all ranks, or ""."""
        return " ".join(sorted({str(rank["host"]) for rank in self.ranks if rank.get("host")}))

    @property
    def ranks(self) -> list[dict[str, Any]]:
        """The facts of each rank in the result."""
        ranks = self.record.get("ranks")
        return [rank for rank in ranks if isinstance(rank, dict)] if isinstance(ranks, list) else []

    def fact(self, name: str) -> str:
        """Card, host, or another fact; "" if it is not recorded."""
        if name in ("card", "host"):
            return str(getattr(self, name))
        value = self.record.get(name)
        return value if isinstance(value, str) else ""


def moment_of(time: str) -> datetime:
    """A moment of UTC. Throws ValueError."""
    moment = datetime.fromisoformat(time.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class History:
    """All nights of a folder, and what of it was left out."""

    nights: tuple[Night, ...]
    left_out: tuple[str, ...]  # why, one line each
    failed: tuple[tuple[str, str, str], ...]  # time, key or "", reason of results that were refused
    cleared: frozenset[tuple[str, str]]  # (time of a night, metric): outliers, as a repeat showed
    accepted: tuple[Mapping[str, Any], ...]

    def of(self, key: str) -> list[Night]:
        """The nights of one benchmark, oldest first."""
        return [night for night in self.nights if night.key == key]

    def benchmarks(self) -> list[str]:
        """All benchmarks, in the order of their first nights."""
        return list(dict.fromkeys(night.key for night in self.nights))


def now() -> str:
    """The present moment, as it is stored."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def read_history(folder: Path) -> History:
    """Reads a folder. Lines that a crash cut off, and nights that cannot be true, are left out and named."""
    nights: list[Night] = []
    left_out, failed, cleared, numbers = [], [], set(), dict[str, int]()
    for place, line in _lines(folder / HISTORY):
        try:
            record = parse_result(line)
            time = record.get("time")
            if not isinstance(time, str):
                raise NightlyError("it has no time")
            moment_of(time)
            if isinstance(record.get("refused"), str):
                failed.append((time, str(record.get("key", "")), record["refused"]))
                continue
            check_result(record)
        except (NightlyError, ValueError) as error:
            left_out.append(f"{HISTORY}, line {place}: {error}")
            continue
        key = benchmark_key(record)
        numbers[key] = numbers.get(key, 0) + 1
        nights.append(Night(numbers[key], time, key, metrics_of(record), record))
        clears = record.get("clears")
        if isinstance(clears, dict) and isinstance(clears.get("metrics"), list):
            cleared |= {(str(clears.get("time")), str(metric)) for metric in clears["metrics"]}
    accepted = []
    for place, line in _lines(folder / ACCEPTED):
        try:
            accepted.append(_checked_acceptance(parse_result(line)))
        except NightlyError as error:
            left_out.append(f"{ACCEPTED}, line {place}: {error}")
    return History(tuple(nights), tuple(left_out), tuple(failed), frozenset(cleared), tuple(accepted))


def _checked_acceptance(record: dict[str, Any]) -> dict[str, Any]:
    metrics = record.get("metrics")
    if not all(isinstance(record.get(name), str) for name in ("key", "night", "first", "last", "why")) or not isinstance(metrics, dict) \
            or not all(isinstance(change, dict) and isinstance(change.get(end), (int, float))
                       for change in metrics.values() for end in ("before", "low_percent", "high_percent")):
        raise NightlyError("it is no accepted change")
    return record


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [(place, line) for place, line in enumerate(text.splitlines(), 1) if line.strip()]


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Adds a line. If a crash cut the last one off, the new one begins on a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ends_open = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if ends_open else "") + json.dumps(record) + "\n")


def usual(nights: Sequence[Night]) -> dict[str, float]:
    """Metric -> median of the last nights, for metrics that all of them have."""
    last = nights[-_USUAL_NIGHTS:]
    names = [name for name in last[-1].metrics if all(name in night.metrics for night in last) and name != MANIFEST] if last else []
    return {name: median(night.metrics[name] for night in last) for name in names}
