"""The steps in which a rank is late, from rows with references (`rank_excess`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from wan_analysis.segments import levels
from wan_analysis.step_rows import COMPUTING_PARTS

#: A late rank's part takes longer than the median of all ranks by this fraction ...
LEAST_EXCESS = 0.01
#: ... in more than this share of the steps of a window ...
LEAST_SHARE = 0.5
#: ... and by this many standard errors of a median, from the scatter of all ranks or of its own, whichever is larger.
LEAST_ERRORS = 5.0
#: Fewest steps of a window.
LEAST_STEPS = 3
#: With fewer steps, the excess less its standard error must reach the limit: the median of three steps may lie above it by chance.
FEW_STEPS = 8
#: On CPU ranks the whole computing counts, and this fraction, because cores are shared with other programs. These come in
#: bursts, so up to `CPU_STEPS` steps are taken together, and fewer standard errors are asked for.
LEAST_EXCESS_CPU, LEAST_ERRORS_CPU, CPU_STEPS = 0.10, 3.0, 5
#: Fewest times that steps are taken together on CPU ranks.
LEAST_TIMES_CPU = 5
#: A part of a late CPU rank is named if it takes this share of the seconds more that its worst part takes.
LEAST_PART_SHARE = 0.2
#: Standard error of a median over that of a mean, and standard deviation over the median absolute deviation, for normal noise.
_MEDIAN_ERROR, _DEVIATION_PER_MAD = 1.2533, 1.4826


@dataclass(frozen=True)
class LatePart:
    """A part in which a rank is late."""

    places: np.ndarray  #: places of the steps among the rank's rows
    excess: float  #: its seconds over the median of all ranks, less 1


def late_on_gpus(rows: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, dict[str, LatePart]]]:
    """The late cards of one series: their rows, and the parts in which they are late. Their excess is the median of the steps."""
    scatter = {part: _scatter(_apart(rows, excess_of_part(rows, part))) for part in COMPUTING_PARTS}
    found = {}
    for key, own in rows.groupby("card", sort=False):
        late = {}
        for part in COMPUTING_PARTS:
            excess = excess_of_part(own, part)
            places = _window(excess, scatter[part], LEAST_EXCESS, LEAST_ERRORS)
            if places.size:
                late[part] = LatePart(places, float(np.median(excess[places])))
        if late:
            found[str(key)] = own, late
    return found


def late_on_cpus(rows: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, dict[str, LatePart]]]:
    """The same for CPU ranks. The excess of a part is that of its sum over the steps."""
    of_cards = {str(key): own for key, own in rows.groupby("card", sort=False)}
    together = int(np.clip(min(map(len, of_cards.values())) // (LEAST_TIMES_CPU + 1), 1, CPU_STEPS))
    excess = {key: _excess_together(own, together) for key, own in of_cards.items()}
    if min(map(len, excess.values())) < LEAST_TIMES_CPU:
        return {}
    scatter = _scatter(np.concatenate([np.abs(values - np.median(values)) for values in excess.values()]))
    found = {}
    for key, own in of_cards.items():
        places = np.flatnonzero(np.isin(np.arange(len(own)) // together, _window(excess[key], scatter, LEAST_EXCESS_CPU, LEAST_ERRORS_CPU)))
        if not places.size:
            continue
        sums = own[[f"{kind}_{part}" for part in COMPUTING_PARTS for kind in ("part", "usual")]].iloc[places].sum()
        more_s = {part: float(sums[f"part_{part}"] - sums[f"usual_{part}"]) for part in COMPUTING_PARTS}
        found[key] = own, {part: LatePart(places, more_s[part] / float(sums[f"usual_{part}"])) for part in COMPUTING_PARTS
                           if more_s[part] > LEAST_PART_SHARE * max(more_s.values())}
    return found


def excess_of_part(rows: pd.DataFrame, part: str) -> np.ndarray:
    """[steps]: a part's seconds over the usual ones, less 1; 0 where the part does not happen."""
    usual_s = rows[f"usual_{part}"].to_numpy(float)
    return np.divide(rows[f"part_{part}"].to_numpy(float), usual_s, out=np.ones(len(rows)), where=usual_s > 0.0) - 1.0


def _excess_together(own: pd.DataFrame, together: int) -> np.ndarray:
    """[steps / together]: computing of so many steps over the usual one, less 1. Steps of the end that fill no such part are left out."""
    usual_s = own[[f"usual_{part}" for part in COMPUTING_PARTS]].sum(axis=1).to_numpy(float)
    whole = len(own) // together * together
    mine_s, all_s = (values[:whole].reshape(-1, together).sum(axis=1) for values in (own["computing_s"].to_numpy(float), usual_s))
    return np.divide(mine_s, all_s, out=np.ones(len(all_s)), where=all_s > 0.0) - 1.0


def _apart(rows: pd.DataFrame, excess: np.ndarray) -> np.ndarray:
    """[rows]: how far each excess lies from its card's median, made larger where few values pull the median to them."""
    values = pd.Series(excess, index=rows.index)
    of_card = values.groupby(rows["card"])
    counts = of_card.transform("size")
    return ((values - of_card.transform("median")).abs() * np.sqrt(counts / (counts - 1).clip(lower=1))).to_numpy(float)


def _scatter(apart: np.ndarray) -> float:
    """Standard deviation of a step's excess around its card's median."""
    return _DEVIATION_PER_MAD * float(np.median(apart))


def _window(excess: np.ndarray, scatter: float, least: float, least_errors: float) -> np.ndarray:
    """Places of the steps in which the rank is late; empty if it is late in none."""
    places = [np.arange(level.first, level.last + 1) for level in levels(1.0 + excess, least_shift=least, least_deviations=1.0)]
    late = [window for window in places if _is_late(excess[window], scatter, least, least_errors)]
    return np.concatenate(late) if late else np.empty(0, dtype=int)


def _is_late(excess: np.ndarray, scatter: float, least: float, least_errors: float) -> bool:
    if len(excess) < LEAST_STEPS:
        return False
    median = float(np.median(excess))
    own_scatter = _DEVIATION_PER_MAD * float(np.median(np.abs(excess - median)))
    error = _MEDIAN_ERROR * max(own_scatter, scatter) / np.sqrt(len(excess))
    certain = median - error if len(excess) < FEW_STEPS else median
    return certain >= least and float(np.mean(excess >= least)) > LEAST_SHARE and median >= least_errors * error
