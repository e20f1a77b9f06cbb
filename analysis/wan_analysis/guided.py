"""Which steps of a run have guidance: the passes that its scales ask of each expert, and the kinds of steps that follow from them.

With guidance in one expert only ("1:3.5"), steps of one size have one pass or two, and take as different times. Steps of a team that joined
have more ranks than those of a group. So such steps are kinds of their own wherever steps are compared by their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from wan_analysis.command_line import given_options
from wan_analysis.measures import Shape, shape_text
from wan_analysis.once import once_per_run
from wan_analysis.run import SHAPE, Run
from wan_analysis.series import described_steps, is_unknown
from wan_analysis.texts import listed, plural

#: Passes that each scale asks for: those of the low-noise and the high-noise expert; one number if both are equal.
Passes = tuple[int, ...]


def passes_of(scales: str) -> Passes | None:
    """(1, 2) for "1:3.5", (2,) for "3.5:3.5". None: no scales."""
    try:
        passes = tuple(1 if float(scale) == 1.0 else 2 for scale in scales.split(":"))
    except ValueError:
        return None
    return passes[:1] if len(set(passes)) == 1 else passes


def given_scales(run: Run) -> str:
    """The scales that the command line gives. Empty: none."""
    return given_options(run.attribute("command")).get("sample-guide-scale", "")


@once_per_run
def guidance_of(run: Run) -> dict[Shape, dict[Passes, str]]:
    """For each size of its steps: the passes that its scales ask for, with these scales. Sizes whose scales no trace holds are missing."""
    steps = described_steps(run)
    if steps.empty:
        return {}
    given = given_scales(run)
    found: dict[Shape, dict[Passes, str]] = {}
    for *size, scales in steps[[*SHAPE, "guidance"]].drop_duplicates().itertuples(index=False):
        text = given if is_unknown(scales) else str(scales)
        passes = passes_of(text)
        if passes is not None:
            width, height, frames = map(int, size)
            found.setdefault((width, height, frames), {}).setdefault(passes, text)
    return found


def other_guidance(base: Run, new: Run) -> tuple[str, str] | None:
    """The scales of two runs that have no guidance in common in a size that both made. None: there is no such size."""
    before, after = guidance_of(base), guidance_of(new)
    for size in before:
        if size in after and not set(before[size]) & set(after[size]):
            return tuple(listed(list(one[size].values()), 3) for one in (before, after))
    return None


@dataclass(frozen=True)
class StepKind:
    """Steps that are compared with one another. None: all steps of this size have as many."""

    shape: Shape
    passes: int | None = None
    ranks: int | None = None

    def __str__(self) -> str:
        """832×480, 81 frames, 1 pass."""
        more = [] if self.passes is None else [f"{self.passes} pass{'' if self.passes == 1 else 'es'}"]
        more += [] if self.ranks is None else [plural(self.ranks, "rank")]
        return ", ".join([shape_text(self.shape), *more])


@once_per_run
def _kinds_of(run: Run) -> pd.DataFrame:
    """Columns SHAPE, passes (0: not known) and ranks, with the index of `described_steps`."""
    steps = described_steps(run)
    if steps.empty:
        return pd.DataFrame(columns=[*SHAPE, "passes", "ranks"])
    codes, teams = pd.factorize(steps["ranks"])
    ranks = np.array([str(team).count(",") + 1 for team in teams], int)[codes]
    return steps[SHAPE].astype(int).assign(passes=steps["passes"].fillna(0).astype(int), ranks=ranks)


def step_kinds(bases: Sequence[Run], news: Sequence[Run]) -> list[StepKind]:
    """The kinds of steps that both sides made, by size. Passes and ranks tell kinds apart only where a run has steps of several."""
    sides = [[_kinds_of(run).drop_duplicates() for run in runs] for runs in (bases, news)]
    several: dict[str, set[Shape]] = {"passes": set(), "ranks": set()}
    for table in (table for tables in sides for table in tables):
        for column, shapes in several.items():
            counts = table[table[column] > 0].groupby(SHAPE)[column].nunique()
            shapes |= {tuple(map(int, shape)) for shape in counts.index[counts > 1]}

    def kinds(tables: Sequence[pd.DataFrame]) -> set[StepKind]:
        found = set()
        for *size, passes, ranks in pd.concat(tables).itertuples(index=False):
            shape = tuple(map(int, size))
            if shape in several["passes"] and not passes:
                continue  # it could be of either kind
            own = [int(number) if shape in several[column] else None for column, number in (("passes", passes), ("ranks", ranks))]
            found.add(StepKind(shape, *own))
        return found

    return sorted(kinds(sides[0]) & kinds(sides[1]), key=lambda kind: (kind.shape, kind.passes or 0, kind.ranks or 0))


def is_of_kind(run: Run, kind: StepKind) -> pd.Series:
    """For each row of `run.rank_steps`: whether its step is of this kind."""
    kinds = _kinds_of(run)
    fits = (kinds[SHAPE] == list(kind.shape)).all(axis=1)
    for column, number in (("passes", kind.passes), ("ranks", kind.ranks)):
        if number is not None:
            fits &= kinds[column] == number
    return fits.reindex(run.rank_steps.index, fill_value=False).astype(bool)


def shares_of_size(run: Run, kinds: Sequence[StepKind]) -> dict[str, float]:
    """For each kind, by its text: how much of the steps of its size are of it, 0 to 1."""
    steps = run.rank_steps
    firsts = ~steps.duplicated(["group", "item", "step"])
    return {str(kind): float((is_of_kind(run, kind) & firsts).sum()) / max(int((is_of_kind(run, StepKind(kind.shape)) & firsts).sum()), 1)
            for kind in kinds}


def steps_by_kind(run: Run) -> list[pd.DataFrame]:
    """Rows of `run.steps` of each kind, by size."""
    key = ["group", "item", "step"]
    found = []
    for kind in step_kinds([run], [run]):
        steps = run.rank_steps.loc[is_of_kind(run, kind), key].drop_duplicates()
        found.append(run.steps.merge(steps, on=key))
    return found
