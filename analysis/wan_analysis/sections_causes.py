"""The page's tables about causes: the account of all GPU-seconds, and the factors of the efficiency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from wan_analysis.account import MEANINGS, account, unnamed_share
from wan_analysis.blocks import Block, Cell, Heading, Table, count, note, number
from wan_analysis.drift import Drift, drifts
from wan_analysis.factors import (
    FACTOR_NAMES,
    Factors,
    RunFactors,
    campaign_factors,
    computation_scaling,
    factors,
    losses_against,
    run_factors,
)
from wan_analysis.figures import RunFigures
from wan_analysis.sections import PERCENT, limited, most_rows
from wan_analysis.step_table import StepRow, row_keys
from wan_analysis.stragglers import Slowest, Straggler, comparable_rows, slowest_of, stragglers_of


@dataclass(eq=False)
class RunCauses:
    """Where the GPU-seconds of one run, or of all starts of a campaign, went."""

    figures: RunFigures

    @cached_property
    def _accounts(self) -> list[pd.DataFrame]:
        return [account(run) for run in self.figures.runs]

    @cached_property
    def account(self) -> pd.DataFrame:
        """Seconds of each rank by name; a row for each start and rank."""
        table = pd.concat(self._accounts).fillna(0.0) if len(self._accounts) > 1 else self._accounts[0]
        return table[[*(name for name in table if name != "unnamed"), "unnamed"]]

    @cached_property
    def gpu_s(self) -> dict[str, float]:
        """GPU-seconds by name, those of all ranks whose trace is there. Names without seconds are left out."""
        return {str(name): float(seconds) for name, seconds in self.account.sum().items() if seconds}

    @property
    def total_gpu_s(self) -> float:
        """Ranks times wall time, over the ranks whose trace is there."""
        return sum(self.gpu_s.values())

    @cached_property
    def factors(self) -> RunFactors:
        """The factors of the whole run."""
        of_runs = [run_factors(run) for run in self.figures.runs]
        return campaign_factors(of_runs) if len(of_runs) > 1 else of_runs[0]

    @cached_property
    def _ranks(self) -> tuple:
        return comparable_rows(self.figures.runs)

    @cached_property
    def stragglers(self) -> list[Straggler]:
        """Ranks that compute slowly, the costliest first."""
        return stragglers_of(*self._ranks)

    @cached_property
    def slowest(self) -> Slowest | None:
        """The rank that costs most. None if no two ranks did the same work."""
        return slowest_of(*self._ranks)

    @cached_property
    def drifts(self) -> list[Drift]:
        """Changes of speed within its starts."""
        return [drift for run in self.figures.runs for drift in drifts(run)]

    @property
    def unnamed_share(self) -> float:
        """GPU-seconds without a name over all, 0 to 1."""
        return unnamed_share(self.account)


def account_section(causes: Sequence[RunCauses], unit: str) -> list[Block]:
    """Seconds of all ranks by name: the GPU-seconds of each run, and the ranks that had the least and the most of each."""
    if not causes:
        return []
    names = list(dict.fromkeys(name for one in causes for name in one.gpu_s))
    blocks: list[Block] = [Heading(f"Where all {unit}-seconds went")]
    shown, more = limited("account", sorted(causes, key=lambda one: -one.total_gpu_s) if len(causes) > most_rows() else causes)
    header = [
        ("run", unit + "s"),
        *((name.replace("_", " "), f"{unit}-s") for name in names),
        ("sum", f"{unit}-s"),
        ("without a name", "%"),
    ]
    rows: list[list[Cell]] = []
    for one in shown:
        key = f"account/{one.figures.name}"
        rows.append(
            [
                one.figures.label,
                *(number(f"{key}/{name}", one.gpu_s.get(name, 0.0)) for name in names),
                number(f"{key}/sum", one.total_gpu_s, 4),
                number(f"{key}/unnamed_percent", PERCENT * one.unnamed_share),
            ]
        )
    told = "; ".join(f"{name.replace('_', ' ')}: {MEANINGS[name]}" for name in names if name in MEANINGS and name != "steps")
    blocks += [
        Table(header, rows),
        *more,
        note(f"Ranks times wall time of the ranks whose trace is there, from the end of MPI_Init to the end of the run. {told}."),
    ]
    return blocks


def rank_section(causes: Sequence[RunCauses], unit: str) -> list[Block]:
    """How unequal the ranks of the largest run are, by name."""
    if not causes:
        return []
    largest = max(causes, key=lambda one: (len(one.account), one.total_gpu_s))
    table, figures = largest.account.groupby(level=0).sum(), largest.figures
    if len(table) < 2:
        return []
    rows: list[list[Cell]] = []
    for name in largest.gpu_s:
        seconds, key = table[name], f"ranks/{figures.name}/{name}"
        rows.append(
            [
                name.replace("_", " "),
                number(f"{key}/mean_s", float(seconds.mean())),
                number(f"{key}/least_s", float(seconds.min())),
                count(f"{key}/least_rank", int(seconds.idxmin())),
                number(f"{key}/most_s", float(seconds.max())),
                count(f"{key}/most_rank", int(seconds.idxmax())),
            ]
        )
    return [
        Heading(f"The ranks of run {figures.label}"),
        Table([("time", ""), ("mean of the ranks", "s"), ("least", "s"), ("by rank", ""), ("most", "s"), ("by rank", "")], rows),
    ]


def _lost(key: str, share: float, gpu_s: float) -> Cell:
    """Percent lost and GPU-seconds: "3.05 (0.0955)"."""
    key = key.replace(" ", "_")
    return number(f"{key}_lost_percent", PERCENT * share), " (", number(f"{key}_lost_gpu_s", gpu_s), ")"


def factors_section(tables: Sequence[Sequence[StepRow]], unit: str) -> list[Block]:
    """The factors of each step series, what each loses, and the difference to the base. One sequence of rows for each work."""
    ratios: list[list[Cell]] = []
    losses: list[list[Cell]] = []
    hidden = 0
    keys = dict(zip((id(row) for rows in tables for row in rows), row_keys([row for rows in tables for row in rows]), strict=True))
    for rows in tables:
        base = factors(rows[0].rank_steps)
        for row in rows:
            if len(ratios) >= most_rows():
                hidden += 1
                continue
            here, key = factors(row.rank_steps), f"factors/{keys[id(row)]}"
            ratios.append(_factor_row(row, key, base, here))
            losses.append(_loss_row(row, key, base, here))
    if not ratios:
        return []
    header = [
        ("run", unit + "s"),
        ("layout", ""),
        *((name, "%") for name in FACTOR_NAMES),
        ("parallel efficiency", "%"),
        ("computation scaling", "%"),
        ("efficiency", "%"),
    ]
    lost = [
        ("run", unit + "s"),
        ("layout", ""),
        *((f"lost to {name}", f"% ({unit}-s a step)") for name in FACTOR_NAMES),
        ("more computing", f"{unit}-s a step"),
        ("exposed", "s, mean of the ranks"),
        ("at most transfer", "s"),
        ("at least waiting", "s"),
    ]
    more: list[Block] = [note(count("factors/hidden", hidden), " more rows are not shown.")] if hidden else []
    return [
        Heading("Why a step does not scale"),
        Table(header, ratios),
        *more,
        note(
            "Load balance: mean over largest computing time of a rank. Host: the rest of a step that is neither computing "
            "nor communication. "
            "Serialisation: waiting that follows from the order of steps. Transfer: what an infinitely fast network could "
            "gain at most. Their "
            "product is the parallel efficiency. Computation scaling: computing on the base over computing here. Efficiency = computation "
            "scaling × parallel efficiency / that of the base."
        ),
        Heading(f"What it costs in {unit}-seconds"),
        Table(lost, losses),
        *more,
        note(
            f"Percent of the steps' {unit}-seconds. More computing: than on the base, for one step. Exposed: communication "
            "and waiting that "
            "computing does not hide, in one step; it is split into transfer and waiting for a later rank."
        ),
    ]


def _factor_row(row: StepRow, key: str, base: Factors, here: Factors) -> list[Cell]:
    scaling = computation_scaling(base, here)
    return [
        row.label,
        row.name,
        *(number(f"{key}/{name.replace(' ', '_')}_percent", PERCENT * value, 4) for name, value in here.by_name.items()),
        number(f"{key}/parallel_efficiency_percent", PERCENT * here.parallel_efficiency, 4),
        number(f"{key}/computation_scaling_percent", PERCENT * scaling, 4),
        number(f"{key}/efficiency_percent", PERCENT * scaling * here.parallel_efficiency / base.parallel_efficiency, 4),
    ]


def _loss_row(row: StepRow, key: str, base: Factors, here: Factors) -> list[Cell]:
    return [
        row.label,
        row.name,
        *(_lost(f"{key}/{name}", lost / here.gpu_s, lost / here.steps) for name, lost in here.losses_gpu_s.items()),
        number(f"{key}/more_computing_gpu_s", losses_against(base, here)["computing"] / here.steps),
        number(f"{key}/exposed_s", here.exposed_s),
        number(f"{key}/transfer_s", here.transfer_s),
        number(f"{key}/waiting_s", here.waiting_s),
    ]


def run_factors_section(causes: Sequence[RunCauses], unit: str) -> list[Block]:
    """The losses of each run, from idle ranks to the steps' factors, with the GPU-seconds of each."""
    if not causes:
        return []
    shown, more = limited("run_factors", sorted(causes, key=lambda one: -one.total_gpu_s) if len(causes) > most_rows() else causes)
    rows: list[list[Cell]] = []
    names: list[str] = []
    for one in shown:
        key, found = f"run_factors/{one.figures.name}", one.factors
        names = [loss.name for loss in found.losses]
        cells: list[Cell] = [one.figures.label, number(f"{key}/total_gpu_s", found.total_gpu_s, 4)]
        cells += [_lost(f"{key}/{loss.name}", loss.share, loss.gpu_s) for loss in found.losses]
        rows.append([*cells, number(f"{key}/computing_percent", PERCENT * found.efficiency)])
    header = [("run", unit + "s"), ("in all", f"{unit}-s"), *((name, f"% ({unit}-s)") for name in names), ("steps' computing", "%")]
    return [
        Heading("Why a run does not scale"),
        Table(header, rows),
        *more,
        note(
            "Percent of ranks times wall time, from the end of MPI_Init to the end of the run, of the ranks whose trace is "
            "there. Other than "
            "steps: every phase beside the steps, and the time between steps and phases: nothing is measured as computing there."
        ),
    ]
