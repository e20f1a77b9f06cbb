"""Puts the times of all ranks on one clock, that of world rank 0.

Each rank's clock begins at the end of MPI_Init on that rank. A row of /clocks says by how much a rank's clock was ahead of rank 0's
at one of the rank's own moments. Between two rows the offset goes along a line, beyond them it stays. Without a row it is 0.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd


class Clocks:
    """Offsets of all ranks of a start."""

    def __init__(self, tables: Iterable[pd.DataFrame]) -> None:
        there = [table for table in tables if len(table)]
        self._rows: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.uncertainty_s = float("nan")  #: the largest one of all rows; NaN if there is none
        if not there:
            return
        table = pd.concat(there, ignore_index=True).sort_values(["world_rank", "time_s"])
        self.uncertainty_s = float(table["uncertainty_s"].max())
        for rank, rows in table.groupby("world_rank"):
            self._rows[int(str(rank))] = (rows["time_s"].to_numpy(float), rows["offset_s"].to_numpy(float))

    def offsets_s(self, ranks: np.ndarray, times_s: np.ndarray) -> np.ndarray:
        """How far each rank's clock is ahead of rank 0's at the rank's own times; shape of `times_s`."""
        ranks, times_s = np.asarray(ranks), np.asarray(times_s, dtype=float)
        result = np.zeros(times_s.shape)
        if not self._rows or not len(ranks):
            return result
        order = np.argsort(ranks, kind="stable")
        bounds = np.flatnonzero(np.diff(ranks[order])) + 1
        for rows in np.split(order, bounds):
            known = self._rows.get(int(ranks[rows[0]]))
            if known is not None:
                result[rows] = np.interp(times_s[rows], *known)
        return result

    def common_s(self, ranks: np.ndarray | int, times_s: np.ndarray) -> np.ndarray:
        """The ranks' own times as times of rank 0's clock."""
        times = np.asarray(times_s, dtype=float)
        return times - self.offsets_s(np.broadcast_to(np.asarray(ranks), times.shape), times)
