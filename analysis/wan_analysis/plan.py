"""The memory that ``wan_batch --plan`` predicted, to compare it with a run's memory."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from wan_analysis.run import Run
from wan_analysis.trace_file import Problem

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_RANKS = re.compile(r"^ranks +(\d+) in \d+ groups? of (\d+)$", re.MULTILINE)
_TOGETHER = re.compile(r"^ +(?:at most )?together +([\d.]+) (B|KiB|MiB|GiB)$", re.MULTILINE)

#: (GPUs, GPUs of a group) -> bytes of each GPU
Plans = dict[tuple[int, int], float]


def read_plans(paths: Iterable[Path], problems: list[Problem]) -> Plans:
    """Reads the output of ``wan_batch --plan ... > FILE``. A file without a plan becomes a problem."""
    plans: Plans = {}
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            problems.append(Problem(str(path), f"cannot be read ({error.strerror})"))
            continue
        ranks, together = _RANKS.search(text), _TOGETHER.search(text)
        if ranks is None or together is None:
            problems.append(Problem(str(path), "contains no plan; make one with: wan_batch --plan ... > FILE"))
            continue
        plans[int(ranks[1]), int(ranks[2])] = float(together[1]) * _UNITS[together[2]]
    return plans


def planned_bytes(run: Run, plans: Plans) -> float:
    """Bytes that the plan predicts for each GPU of `run`. Read from its trace if it has them, otherwise from `plans`; or NaN."""
    recorded = run.groups[0].attributes.get("plan_bytes")
    return float(recorded) if recorded else plans.get((run.gpus, run.group_size), float("nan"))
