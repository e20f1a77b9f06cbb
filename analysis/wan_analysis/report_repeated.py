"""The page of a study with repetitions: a row of a table is a case, and every figure has a median and an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from wan_analysis import (
    charts,
    charts_repeated,
    charts_run,
    charts_timeline,
    sections,
    sections_causes,
    sections_notes,
    sections_ranks,
    sections_repeated,
    sections_runs,
    study_rules,
)
from wan_analysis.answers_repeated import repeated_answers
from wan_analysis.blocks import Block, Heading, note
from wan_analysis.blocks_intervals import by_case
from wan_analysis.campaign_figures import together
from wan_analysis.efficiency import ANY_FRAMES, ScalingTable, series_name, throughput
from wan_analysis.figures import RunFigures
from wan_analysis.plan import Plans
from wan_analysis.repetitions import Case
from wan_analysis.sections_causes import RunCauses
from wan_analysis.sections_model import model_section
from wan_analysis.step_table import StepRow, StepTable, merged_table
from wan_analysis.study import Study
from wan_analysis.study_record import StudyRecord

_FACTORS_NOTE = "Factors that compare with the base compare with its start that has the median step."


class RepeatedReport:
    """The blocks of the page."""

    def __init__(self, study: Study, plans: Plans, record: StudyRecord | None) -> None:
        self.study, self.plans, self.record = study, plans, record
        self.cases = study.cases

    def answers(self) -> list[Block]:
        """The first sentences."""
        return repeated_answers(self.study, self.cases, self.causes)

    @cached_property
    def causes(self) -> list[RunCauses]:
        """Where the GPU-seconds of every start went."""
        return [RunCauses(one) for case in self.cases for one in case.starts]

    @cached_property
    def _merged(self) -> list[RunFigures]:
        """The starts of each case as one, for the charts."""
        return together(self.study.units, 0)

    def tables(self) -> list[Block]:
        """All tables, those about cases first."""
        study, unit, cases = self.study, self.study.unit, self.cases
        blocks = sections_repeated.speed_section(cases, unit)
        title = f"Strong scaling: the same items on more {unit}s"
        blocks += sections_repeated.repeated_scaling_section(study.strong, cases, "scaling", title, unit)
        if study.weak is not None:
            what = "work that grows with the frames" if study.weak.equal == ANY_FRAMES else "more items of the same kinds"
            blocks += sections_repeated.repeated_scaling_section(study.weak, cases, "weak", f"Weak scaling: {what}", unit)
        blocks += sections_repeated.repeated_step_sections(study.step_tables, cases, unit)
        blocks += model_section(study.step_tables[0] if study.step_tables else None, unit)
        with sections.all_rows():
            blocks += by_case(self._tables_of_starts(), cases)
        blocks += study_rules.rules_section(study_rules.judge_rules(cases, study.strong, study.step_tables, self.record))
        runs = [one.run for one in study.figures]
        blocks += sections_runs.campaign_section(study.campaigns, unit)
        blocks += sections_ranks.straggler_section(self.causes, unit)
        blocks += sections_ranks.drift_section(self.causes, unit)
        blocks += sections_notes.notes_section(runs, unit)
        blocks += sections_runs.outliers_section(runs, unit)
        return blocks + sections_runs.runs_section(study.figures, unit)

    def _tables_of_starts(self) -> list[Block]:
        """Tables with a row for each start, which by_case puts together."""
        study, unit = self.study, self.study.unit
        runs = [one.run for one in study.figures]
        tables = [_median_first(table, study.cases) for table in study.step_tables]
        blocks = sections.throughput_section(throughput(study.units), unit)
        blocks += sections_causes.run_factors_section(self.causes, unit)
        blocks += sections_notes.gain_section(runs, unit)
        blocks += sections_causes.account_section(self.causes, unit)
        blocks += sections_causes.factors_section([table.rows for table in tables], unit)
        blocks.append(note(_FACTORS_NOTE))
        blocks += sections.parts_section([row for table in tables for row in table.rows], unit)
        blocks += sections_runs.items_section(study.units, unit)
        with_memory = [run for run in runs if charts_run.has_vram(run)]
        return blocks + (sections_runs.memory_section(with_memory, self.plans, unit) if with_memory else [])

    def charts(self) -> list[Block]:
        """All charts; the starts of a case are one bar."""
        study, unit = self.study, self.study.unit
        blocks: list[Block] = [Heading("Charts"), charts_repeated.distribution_chart(self.cases)]
        for name, table, what in (("scaling", study.strong, "the same items"), ("weak", study.weak, "growing work")):
            points = _scaling_points(table, self.cases) if table is not None else []
            if len(points) > 1:
                blocks.append(charts_repeated.interval_scaling_chart(name, points, unit, what))
        points = _step_points(study.step_tables[0], self.cases) if study.step_tables else []
        if len(points) > 1:
            blocks.append(charts_repeated.interval_scaling_chart("step_scaling", points, unit, "a step"))
        blocks.append(charts_run.account_chart(*self._account_bars(), unit))
        blocks.append(charts_timeline.timeline_chart([case.first.run for case in self.cases], unit))
        shown = [merged_table(table, 0) for table in study.step_tables]
        if shown:
            blocks.append(charts.parts_chart(shown[0].rows, unit))
            if any(row.gpus > 1 for row in shown[0].rows):
                blocks.append(charts.communication_chart(shown[0].rows, unit))
        if rates := throughput(self._merged):
            blocks.append(charts_run.items_chart(rates, unit))
        blocks.append(charts.steps_chart([row for table in study.step_tables for row in table.rows]))
        with_memory = [case.first.run for case in self.cases if charts_run.has_vram(case.first.run)]
        if with_memory:
            blocks += [charts_run.vram_peak_chart(with_memory, self.plans), charts_run.vram_timeline_chart(with_memory)]
        return blocks

    def _account_bars(self) -> tuple[list[tuple[str, dict[str, float]]], str]:
        of_cases = [RunCauses(one) for one in self._merged]
        per_item = all(one.figures.work.count for one in of_cases)
        shares = [one.figures.work.count if per_item else len(one.figures.runs) for one in of_cases]
        bars = [(f"{one.figures.label}\n{one.figures.division}", {name: seconds / share for name, seconds in one.gpu_s.items()})
                for one, share in zip(of_cases, shares, strict=True)]
        return bars[:charts.MOST_BARS], "finished item" if per_item else "start"


def _median_first(table: StepTable, cases: Sequence[Case]) -> StepTable:
    """The same table; its first row is the start of the base that has the median step."""
    _, base = sections_repeated.step_cases(table, cases)[0]
    ordered = sorted(base, key=lambda row: row.median_s)
    first = ordered[(len(ordered) - 1) // 2]
    return replace(table, rows=[first, *(row for row in table.rows if row is not first)])


def _scaling_points(table: ScalingTable, cases: Sequence[Case]) -> list[charts_repeated.IntervalPoint]:
    found = sections_repeated.scaled_cases(table, cases)
    if len(found) < 2:
        return []
    every = [row.figures for row in table.rows]
    base_case, base = found[0]
    points = []
    for case, rows in found:
        speedup = sections_repeated.scaling_of(base, rows) if case is not base_case else sections_repeated.base_itself(len(base))
        points.append((series_name(rows[0].figures, every), case.label, case.gpus, speedup, speedup.scaled(base_case.gpus / case.gpus)))
    return points


def _step_points(table: StepTable, cases: Sequence[Case]) -> list[charts_repeated.IntervalPoint]:
    found = sections_repeated.step_cases(table, cases)
    every: list[StepRow] = [rows[0] for _, rows in found]
    base = found[0][1] if found else []
    points = []
    for case, rows in found:
        speedup = sections_repeated.step_scaling(base, rows)
        efficiency = speedup.scaled(base[0].gpus / rows[0].gpus)
        points.append((charts.layout_series(rows[0], every), case.label, rows[0].gpus, speedup, efficiency))
    return points
