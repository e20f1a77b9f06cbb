"""Layouts that no start of a study had, from those that it had and the model of a step's time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from wan_analysis.campaign_facts import LayoutFacts, StartFacts
from wan_analysis.cost_model import Prediction, Predictor, starts_of
from wan_analysis.layouts import NODE_GPUS, Division, Layout
from wan_analysis.step_table import StepTable
from wan_analysis.texts import plural

#: A standard deviation: other phases of an item in a group of another size, as a fraction of them.
_PHASES_DOUBT = 0.1
_NORMAL = 1.96


def step_seconds(table: StepTable) -> dict[int, float]:
    """Seconds of a step by the ranks of a group or team: the shortest median of each."""
    found: dict[int, float] = {}
    for row in table.rows:
        found[row.gpus] = min(row.median_s, found.get(row.gpus, math.inf))
    return found


def predicted_facts(table: StepTable, facts: Sequence[LayoutFacts], most_gpus: int) -> list[LayoutFacts]:
    """Divisions of 1, 2, 4, 8 GPUs and of the measured counts that were not measured and can be predicted.

    None has more groups than a start of the study: nobody knows how they share a node's cores. None on CPUs, whose ranks share cores.
    """
    known = [one for one in facts if one.device != "cpu"]
    starts = starts_of(table.rows)
    if not known or not starts:
        return []
    predictor = Predictor(starts, guided=table.work.passes != 1)
    measured = {(one.gpus, one.group_gpus, one.layout.split(",")[0]) for one in facts}
    most_groups = max(one.groups for one in known)
    counts = sorted({count for count in (1, 2, 4, 8, *(one.gpus for one in known)) if count <= min(most_gpus, NODE_GPUS)})
    found = []
    for gpus in counts:
        for way in predictor.divisions(gpus):
            plain = f"cfg{way.layout.cfg} x ulysses{way.layout.ulysses}"
            if way.layout.spans or way.groups > most_groups or (gpus, way.layout.gpus, plain) in measured:
                continue
            one = _predicted(predictor, way, known)
            if one is not None:
                found.append(one)
    return found


def _predicted(predictor: Predictor, way: Division, known: Sequence[LayoutFacts]) -> LayoutFacts | None:
    donor = min(known, key=lambda one: (abs(math.log(one.group_gpus / way.layout.gpus)), abs(one.groups - way.groups), -one.gpus))
    here, there = predictor.predict(way.layout), _step_of(predictor, donor)
    if not isinstance(here, Prediction) or not math.isfinite(there) or not donor.starts:
        return None
    ratio = here.step_s / there
    denoise_s, interval_s = donor.median("denoise_s"), donor.median("interval_s")
    if not math.isfinite(denoise_s) or not denoise_s <= interval_s:
        return None
    share = ratio * denoise_s / (interval_s + (ratio - 1.0) * denoise_s)
    of_step = 0.0 if math.isnan(here.spread) else here.spread / _NORMAL
    doubt = math.hypot(share * of_step, (1.0 - share) * (_PHASES_DOUBT if donor.group_gpus != way.layout.gpus else 0.0))
    starts = tuple(_scaled(start, ratio) for start in donor.starts)
    name = f"{plural(way.gpus, 'GPU')}, {f'{way.groups} groups of ' if way.groups > 1 else ''}{way.layout}"
    return replace(donor, name=name, gpus=way.gpus, groups=way.groups, group_gpus=way.layout.gpus, layout=str(way.layout),
                   joins=way.groups > 1 and donor.joins, starts=starts, options=tuple(way.layout.options.split()), hosts=1,
                   is_measured=False, doubt=doubt)


def _scaled(start: StartFacts, ratio: float) -> StartFacts:
    more_s = (ratio - 1.0) * start.denoise_s
    return replace(start, first_s=start.first_s + more_s, interval_s=start.interval_s + more_s, denoise_s=ratio * start.denoise_s)


def _step_of(predictor: Predictor, donor: LayoutFacts) -> float:
    """The step of a measured layout. NaN if the model does not know it."""
    fitting = [layout for layout in predictor.layouts if _plain(layout) == donor.layout.split(",")[0]]
    found = predictor.predict(fitting[0]) if fitting else None
    return found.step_s if isinstance(found, Prediction) else math.nan


def _plain(layout: Layout) -> str:
    return f"cfg{layout.cfg} x ulysses{layout.ulysses}"
