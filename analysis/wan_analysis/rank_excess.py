"""How much longer each rank computes than the ranks that do the same work at the same time.

The reference of a step is the median over all ranks of the series, in all groups and starts. Ranks of the same team are
compared step by step, so that noise that hits all of them cancels. From other teams the steps nearest in time count, each
smoothed over its neighbours.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from wan_analysis.step_rows import COMPUTING_PARTS, STEP_KEY, present

#: Steps of another team are smoothed over so many.
NEIGHBOURS = 9
#: Added to a start's times if its date is not known, so that starts do not overlap.
_FAR_S = 1e9


def add_references(rows: pd.DataFrame, moments: dict[int, float]) -> pd.DataFrame:
    """The rows of `prepared` with a column `card` (one GPU or CPU rank), and for each computing part a column `usual_<part>` in seconds.

    `others_s` is the computing of the slowest other rank in the same step of the team; 0 if it has none. `moments` gives each
    start's date in seconds. Series of one card alone are left out.
    """
    rows = rows.copy()
    rows["step_number"] = rows.groupby(present(rows, STEP_KEY), sort=False, dropna=False).ngroup()
    rows["others_s"] = _slowest_other(rows)
    starts = rows["start"] if "start" in rows else pd.Series(0, index=rows.index)
    rows["moment_s"] = rows["start_s"] + starts.map({start: moments.get(start, _FAR_S * (1 + start)) for start in starts.unique()})
    done = [_with_reference(series) for _, series in rows.groupby("series", sort=False) if len(series["card"].unique()) > 1]
    return pd.concat(done) if done else rows.iloc[:0].assign(**{f"usual_{part}": 0.0 for part in COMPUTING_PARTS})


def _slowest_other(rows: pd.DataFrame) -> pd.Series:
    """[rows]: seconds of computing of the slowest rank of the same step that is not the row's own."""
    of_step = rows.groupby("step_number")["computing_s"]
    slowest = of_step.transform("max")
    is_slowest = pd.Series(False, index=rows.index)
    is_slowest[of_step.idxmax()] = True
    second = rows[~is_slowest].groupby("step_number")["computing_s"].max().reindex(rows["step_number"]).to_numpy()
    return slowest.where(~is_slowest, second).fillna(0.0)


def _with_reference(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of one series."""
    rows = rows.sort_values("moment_s", kind="stable")
    columns = [f"part_{part}" for part in COMPUTING_PARTS]
    devices = [of_device for _, of_device in rows.groupby("card", sort=False)]
    moments = [of_device["moment_s"].to_numpy(float) for of_device in devices]
    numbers = [of_device["step_number"].to_numpy(int) for of_device in devices]
    seconds = [of_device[columns].to_numpy(float) for of_device in devices]  # each [steps, parts]
    smooth = [_smoothed(values) for values in seconds]
    done = []
    for own, of_device in enumerate(devices):
        every = np.empty((len(devices), len(of_device), len(columns)))
        for other in range(len(devices)):
            nearest = _nearest(moments[other], moments[own])
            is_same = numbers[other][nearest] == numbers[own]
            every[other] = np.where(is_same[:, None], seconds[other][nearest], smooth[other][nearest])
        usual = np.median(every, axis=0)
        done.append(of_device.assign(**{f"usual_{part}": usual[:, index] for index, part in enumerate(COMPUTING_PARTS)}))
    return pd.concat(done)


def _nearest(among: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """For each moment the place in `among` (ascending) that is nearest."""
    after = np.clip(np.searchsorted(among, moments), 0, len(among) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(np.abs(among[before] - moments) <= np.abs(among[after] - moments), before, after)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """[steps, parts]: the median over `NEIGHBOURS` steps around each."""
    half = min(NEIGHBOURS, len(values)) // 2
    if half == 0:
        return values
    padded = np.pad(values, ((half, half), (0, 0)), mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0), axis=-1)
