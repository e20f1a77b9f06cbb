"""A study: runs that were read together, what can be compared of them, and what cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from wan_analysis.campaign import Campaign, find_campaigns
from wan_analysis.campaign_figures import CampaignFigures, together
from wan_analysis.efficiency import SAME_ITEMS, Scaled, ScalingTable, Throughput, scaling_table, throughput
from wan_analysis.figures import RunFigures
from wan_analysis.repetitions import Case, find_cases
from wan_analysis.run import Run, gather_runs
from wan_analysis.series import LayoutNames
from wan_analysis.step_table import StepRow, StepTable, step_tables
from wan_analysis.texts import listed
from wan_analysis.trace_file import Problem, Traces

#: A page shows so many runs and batches one by one.
MOST_UNITS = 24


@dataclass(eq=False)
class Study:
    """`runs` are all runs that could be read. The tables hold those that can be compared; `problems` names the others."""

    runs: list[Run]
    figures: list[RunFigures]  #: of each run with a step
    campaigns: list[Campaign]
    units: list[RunFigures]  #: of each campaign of several starts, and of each other run with a step
    shown: list[RunFigures]  #: the units; many that are alike are one
    strong: ScalingTable  #: the same items
    weak: ScalingTable | None  #: work that grows with the GPUs, if the user asked for it
    throughput: list[Throughput]
    step_tables: list[StepTable]
    problems: list[Problem] = field(default_factory=list)

    @cached_property
    def cases(self) -> list[Case]:
        """The units by case: starts that repeat one another."""
        return find_cases(self.units)

    @property
    def scaling(self) -> list[Scaled]:
        """The runs that did the same work, those on the fewest GPUs first."""
        return self.strong.rows

    @property
    def steps(self) -> list[StepRow]:
        """The step rows of the work that most runs did."""
        return self.step_tables[0].rows if self.step_tables else []

    @property
    def unit(self) -> str:
        """The unit of a rank: "GPU" or "CPU rank"."""
        return self.figures[0].run.unit if self.figures else "GPU"


def make_study(traces: Traces, weak: str | None = None) -> Study:
    """Compares what can be compared. `weak`: None, or what grows with the GPUs (ANY_FRAMES, SAME_KINDS)."""
    runs = gather_runs(traces.groups)
    figures = [RunFigures(run) for run in runs if not run.steps.empty]
    names = LayoutNames(series.layout for one in figures for series in one.series)
    for one in figures:
        one.names = names
    problems: list[Problem] = []
    steps = step_tables(figures, problems)
    campaigns = [campaign for campaign in _campaigns(runs) if any(not run.steps.empty for run in campaign.runs)]
    units = _units(campaigns, figures)
    shown = together(units, MOST_UNITS)
    strong = scaling_table(units, SAME_ITEMS)
    grown = scaling_table(units, weak) if weak else None
    differ = (grown or strong).problems
    _name_versions([one.run for one in figures], problems)
    problems = [*differ, *problems, *traces.problems, *(problem for run in runs for problem in run.problems)]
    return Study(runs, figures, campaigns, units, shown, strong, grown, throughput(shown), steps, problems)


def _campaigns(runs: Sequence[Run]) -> list[Campaign]:
    """The campaigns. Only an output folder (OUT/trace/*.h5) tells that starts belong together; loose files beside each other do not."""
    in_folders = [run for run in runs if all(group.path.resolve().parent.name == "trace" for group in run.groups)]
    loose = [campaign for run in runs if run not in in_folders for campaign in find_campaigns([run])]
    return [*find_campaigns(in_folders), *loose]


def _units(campaigns: Sequence[Campaign], figures: Sequence[RunFigures]) -> list[RunFigures]:
    of_run = {one.run.name: one for one in figures}
    units = []
    for campaign in campaigns:
        members = [of_run.get(run.name) or RunFigures(run) for run in campaign.runs]  # a start that was killed at once has no step
        units.append(members[0] if len(members) == 1 else CampaignFigures(campaign, members))
        units[-1].names = next(of_run[run.name] for run in campaign.runs if run.name in of_run).names
    return sorted(units, key=lambda one: (one.gpus, one.run.attribute("started"), one.name))


def _name_versions(runs: Sequence[Run], problems: list[Problem]) -> None:
    for name, word in (("version", "version"), ("revision", "revision")):
        found = sorted({run.attribute(name) for run in runs} - {"", "unknown"})
        if len(found) > 1:
            problems.append(Problem("study", f"its runs were made by different {word}s of wan_batch: {listed(found, 5)}"))
            return
