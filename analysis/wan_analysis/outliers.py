"""Steps of a run that are far slower than others of their kind."""

from __future__ import annotations

import pandas as pd

from wan_analysis.guided import steps_by_kind
from wan_analysis.measures import DEVIATION_PER_MAD
from wan_analysis.once import once_per_run
from wan_analysis.run import Run
from wan_analysis.trace_format import PARTS, REMAINDER

#: A step is an outlier when it is slower than the median of its kind by this many robust standard deviations ...
OUTLIER_DEVIATIONS = 5.0
#: ... and by this fraction of the median.
OUTLIER_FRACTION = 0.05


@once_per_run
def outliers(run: Run) -> pd.DataFrame:
    """Steps far slower than the median of their kind (`guided.StepKind`), slowest first.

    Columns: item (its id), step, wall_s, median_s, part and part_growth_s (the part that grew most over its own
    median, and by how much), cause ("first step of the run", "expert switch", or empty).
    """
    found = [_outliers_of_kind(run, steps) for steps in steps_by_kind(run) if _has_slow_step(steps)]
    columns = ["item", "step", "wall_s", "median_s", "part", "part_growth_s", "cause"]
    if not found:
        return pd.DataFrame(columns=columns)
    table = pd.concat(found, ignore_index=True)
    return table.sort_values("wall_s", ascending=False, ignore_index=True)[columns]


def _has_slow_step(steps: pd.DataFrame) -> bool:
    """Whether a step is slower than the median by OUTLIER_FRACTION. Most kinds have none, and are done quickly."""
    return bool((steps["wall_s"] > (1 + OUTLIER_FRACTION) * steps["wall_s"].median()).any())


def _outliers_of_kind(run: Run, steps: pd.DataFrame) -> pd.DataFrame:
    names = [*PARTS, REMAINDER]
    medians = steps[["wall_s", *names]].median()
    excess = steps["wall_s"] - medians["wall_s"]
    deviation = DEVIATION_PER_MAD * float(excess.abs().median())
    slow = steps[excess > max(OUTLIER_DEVIATIONS * deviation, OUTLIER_FRACTION * medians["wall_s"])].copy()
    growth = slow[names] - medians[names]
    slow["median_s"] = medians["wall_s"]
    slow["part"] = growth.idxmax(axis=1) if len(slow) else ""
    slow["part_growth_s"] = growth.max(axis=1)
    slow["cause"] = [_cause(run, row.group, row.item, row.step) for row in slow.itertuples()]
    ids = run.items.set_index(["group", "item"])["id"]
    slow["item"] = [ids[(row.group, row.item)] for row in slow.itertuples()]
    return slow


def _cause(run: Run, group: int, item: int, step: int) -> str:
    steps = run.steps[run.steps["group"] == group]
    first = steps.iloc[0]
    if (item, step) == (first["item"], first["step"]):
        return "first step of the run"
    of_item = steps[steps["item"] == item].set_index("step")["expert"]
    if step - 1 in of_item.index and of_item[step] != of_item[step - 1]:
        return "expert switch"
    return ""
