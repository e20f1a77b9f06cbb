"""Tables of steps, phases and walls as the reader gives them, with times that a test chooses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

PARTS = ("attention", "linear", "elementwise", "all_to_all", "weight_gather", "host_copy", "wait")
#: Seconds of the computing parts of a step of about 1.38 s on one of four H200s.
COMPUTING_S = {"attention": 0.715, "linear": 0.56, "elementwise": 0.057}
HOST_S, TRANSFER_S = 0.005, 0.02

PROJECT = Path(__file__).resolve().parents[2]
H200 = PROJECT / "analysis" / "results" / "wan_batch_4xh200.h5"
#: Traces of format 0 of wan_batch on H200s.
REAL_TRACES = [H200, *sorted((PROJECT / "tests" / "data" / "traces").glob("*xh200*.h5"))]


def step_table(
    ranks: int = 4,
    *,
    groups: int = 1,
    steps: int = 40,
    items: int = 1,
    cards: float = 0.0,
    scatter: float = 0.0,
    seed: int = 0,
    factor: Callable[[int, str, int], float] = lambda rank, part, step: 1.0,
    switch: int = 15,
    gpu: bool = True,
    gap_s: float = 0.0,
    size: tuple[int, int, int] = (832, 480, 81),
    start_s: float = 20.0,
) -> pd.DataFrame:
    """Rows of rank and step of `groups` groups of `ranks` ranks.

    A card computes by up to `cards` faster or slower than its peers, each part scatters with standard deviation `scatter`
    (fractions), and `factor(world_rank, part, number of the step)` multiplies a part. Ranks of a group wait for the latest.
    """
    random = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    speed = {rank: 1.0 + cards * random.uniform(-1.0, 1.0) for rank in range(ranks * groups)}
    for group in range(groups):
        clock_s, number = start_s, 0
        for item in range(items):
            for step in range(steps):
                parts = {rank: {part: seconds * speed[rank] * factor(rank, part, number) * (1 + scatter * random.standard_normal())
                                for part, seconds in COMPUTING_S.items()} for rank in range(group * ranks, (group + 1) * ranks)}
                latest_s = max(sum(of_rank.values()) for of_rank in parts.values())
                for rank, of_rank in parts.items():
                    exchange_s = latest_s - sum(of_rank.values()) + (TRANSFER_S if ranks > 1 else 0.0)
                    wall_s = sum(of_rank.values()) + exchange_s + HOST_S
                    seconds = dict.fromkeys(PARTS, 0.0) | of_rank | {"all_to_all": exchange_s}
                    rows.append({"group": group, "item": item, "stretch": item, "world_rank": rank, "step": step,
                                 "expert": "low_noise" if step >= switch else "high_noise", "warm_up": int(number == 0),
                                 "start_s": clock_s, "wall_s": wall_s, "width": size[0], "height": size[1], "frames": size[2],
                                 **{f"wall_{part}_s": 0.01 if gpu else seconds[part] for part in PARTS},
                                 **{f"gpu_{part}_s": seconds[part] if gpu else np.nan for part in PARTS}})
                clock_s += latest_s + (TRANSFER_S if ranks > 1 else 0.0) + HOST_S + gap_s
                number += 1
    return pd.DataFrame(rows)


def phase_table(rows: list[tuple[int, int, int, str, float, float, int]]) -> pd.DataFrame:
    """Rows of (world_rank, group, item, phase, start_s, wall_s, background)."""
    return pd.DataFrame(rows, columns=["world_rank", "group", "item", "phase", "start_s", "wall_s", "background"])


def joined(*tables: pd.DataFrame) -> pd.DataFrame:
    """Several tables in one."""
    return pd.concat(tables, ignore_index=True)


def seconds(value: float) -> timedelta:
    """A duration."""
    return timedelta(seconds=value)
