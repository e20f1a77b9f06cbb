"""One page about a study. It answers first, then come tables, then charts. HTML, the same numbers as JSON, charts as PNGs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from wan_analysis import charts, charts_run, charts_timeline, sections, sections_causes, sections_notes, sections_ranks, sections_runs
from wan_analysis.advice import Advice
from wan_analysis.answers import answers
from wan_analysis.blocks import Block, Chart, Heading, Listing, charts_of, count, sentence
from wan_analysis.chart_style import MOST_BARS
from wan_analysis.efficiency import ANY_FRAMES, Scaled
from wan_analysis.html_page import blocks_html, figure_bytes, page
from wan_analysis.json_page import json_page
from wan_analysis.measured import measured_values
from wan_analysis.plan import Plans
from wan_analysis.repetitions import is_repeated
from wan_analysis.report_repeated import RepeatedReport
from wan_analysis.scaling_parts import PartRow, missing_of, parts_section
from wan_analysis.sections_advice import advice_section
from wan_analysis.sections_causes import RunCauses
from wan_analysis.sections_model import largest_section, model_section
from wan_analysis.step_table import StepTable, merged_table
from wan_analysis.study import MOST_UNITS, Study
from wan_analysis.study_record import StudyRecord
from wan_analysis.study_rules import judge_rules, rules_section
from wan_analysis.texts import listed
from wan_analysis.trace_file import Problem
from wan_analysis.whole_file import write_whole

#: The page shows this many problems and counts the rest; stderr has them all.
MOST_PROBLEMS = 30


class Report:
    """Collects the blocks of a page; `write` puts them on disk."""

    def __init__(self, study: Study, plans: Plans, title: str, plan_problems: Sequence[Problem] = (),
                 record: StudyRecord | None = None, advice: Advice | None = None, parts: Sequence[PartRow] = ()) -> None:
        self.study = study
        self.record = record
        self.advice = advice
        self.parts = list(parts)
        self.plans = plans
        self.title = title
        left_out = [Problem("study", text) for text in record.left_out] if record else []
        self.problems = [*missing_of(self.parts), *left_out, *study.problems, *plan_problems]

    @cached_property
    def blocks(self) -> list[Block]:
        """The whole page."""
        if not self.study.figures:
            return [sentence("No run with steps was found.", kind="lead"), *self._problem_list()]
        if is_repeated(self.study.cases):
            page = RepeatedReport(self.study, self.plans, self.record)
            return [*self._advice(), *page.answers(), *self._problem_list(), *self._of_parts(), *page.tables(), *page.charts()]
        said = answers(self.study, self.causes)
        return [*self._advice(), *said, *self._problem_list(), *self._of_parts(), *self._tables(), Heading("Charts"), *self._charts()]

    def _of_parts(self) -> list[Block]:
        unit = self.study.unit
        return [*parts_section(self.parts, unit), *largest_section(self.study.step_tables, unit)] if self.parts else []

    def _advice(self) -> list[Block]:
        return advice_section(self.advice, self.study.unit) if self.advice else []

    @cached_property
    def causes(self) -> list[RunCauses]:
        """Where the GPU-seconds of each run or batch went."""
        return [RunCauses(one) for one in self.study.shown]

    @cached_property
    def step_tables(self) -> list[StepTable]:
        """The study's tables of steps; many rows that are alike are one."""
        return [merged_table(table, MOST_UNITS) for table in self.study.step_tables]

    @property
    def charts(self) -> list[Chart]:
        """The page's charts."""
        return charts_of(self.blocks)

    def html(self) -> str:
        """The page."""
        return page(self.title, blocks_html(self.blocks))

    def json(self) -> str:
        """The page's numbers and charts."""
        return json_page(self.title, self.blocks, measured_values(self.study.cases, self.study.step_tables))

    def write(self, html_path: Path, png_dir: Path | None, json_path: Path | None = None) -> None:
        """Writes the page, with `json_path` its numbers, and with `png_dir` a PNG of every chart. Throws OSError."""
        _write(html_path, self.html())
        if json_path is not None:
            _write(json_path, self.json())
        if png_dir is not None:
            png_dir.mkdir(parents=True, exist_ok=True)
            for chart in self.charts:
                (png_dir / f"{chart.name}.png").write_bytes(figure_bytes(chart.figure, "png"))

    def _problem_list(self) -> list[Block]:
        if not self.problems:
            return []
        problems = _together(self.problems)
        lines = [sentence(str(problem)) for problem in problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            lines.append(sentence(count("problems/hidden", len(problems) - MOST_PROBLEMS), " more are on stderr."))
        return [Heading("To know before reading on"), Listing(tuple(lines), "problems")]

    def _tables(self) -> list[Block]:
        study, unit = self.study, self.study.unit
        runs = [one.run for one in study.figures]
        blocks = sections.scaling_section(study.strong, "scaling", "Strong scaling: the same items on more " + unit + "s", unit)
        if study.weak is not None:
            what = "work that grows with the frames" if study.weak.equal == ANY_FRAMES else "more items of the same kinds"
            blocks += sections.scaling_section(study.weak, "weak", f"Weak scaling: {what}", unit)
        blocks += sections.throughput_section(study.throughput, unit)
        blocks += sections_runs.campaign_section(study.campaigns, unit)
        blocks += sections.step_sections(self.step_tables, unit)
        blocks += model_section(study.step_tables[0] if study.step_tables else None, unit)
        blocks += sections_causes.run_factors_section(self.causes, unit)
        blocks += sections_ranks.straggler_section(self.causes, unit)
        blocks += sections_ranks.drift_section(self.causes, unit)
        blocks += sections_notes.notes_section(runs, unit)
        blocks += sections_notes.gain_section(runs, unit)
        blocks += sections_causes.account_section(self.causes, unit)
        blocks += sections_causes.rank_section(self.causes, unit)
        blocks += sections_causes.factors_section([table.rows for table in self.step_tables], unit)
        blocks += sections.parts_section([row for table in self.step_tables for row in table.rows], unit)
        blocks += sections_runs.items_section(study.shown, unit)
        blocks += sections_runs.outliers_section(runs, unit)
        blocks += sections_runs.memory_section([run for run in runs if charts_run.has_vram(run)], self.plans, unit)
        blocks += rules_section(judge_rules(study.cases, study.strong, study.step_tables, self.record))
        return blocks + sections_runs.runs_section(study.figures, unit)

    def _charts(self) -> list[Block]:
        study, unit = self.study, self.study.unit
        rows, shown = study.steps, self.step_tables[0].rows
        blocks: list[Block] = []
        for name, table, what in (("scaling", study.strong, "the same items"), ("weak", study.weak, "growing work")):
            if table is not None and len(table.rows) > 1:
                points = scaling_points(table.rows)
                blocks.append(charts.scaling_chart(name, points, unit, what))
        if len(rows) > 1:
            points = [(charts.layout_series(row, rows), row.run.label, row.gpus, row.speedup, row.efficiency) for row in rows]
            blocks.append(charts.scaling_chart("step_scaling", points, unit, "a step"))
        blocks.append(charts_run.account_chart(*self._account_bars(), unit))
        blocks.append(charts_timeline.timeline_chart([one.run for one in study.figures], unit))
        blocks.append(charts.parts_chart(shown, unit))
        if any(row.gpus > 1 for row in rows):
            blocks.append(charts.communication_chart(shown, unit))
        if study.throughput:
            blocks.append(charts_run.items_chart(study.throughput, unit))
        blocks.append(charts.steps_chart([row for table in study.step_tables for row in table.rows]))
        with_memory = [one.run for one in study.figures if charts_run.has_vram(one.run)]
        if with_memory:
            blocks += [charts_run.vram_peak_chart(with_memory, self.plans), charts_run.vram_timeline_chart(with_memory)]
        return blocks

    def _account_bars(self) -> tuple[list[tuple[str, dict[str, float]]], str]:
        """Bars of the chart of all GPU-seconds: for each item if every run finished one. If there are many runs: those that took most."""
        per_item = all(one.figures.work.count for one in self.causes)
        chosen = self.causes
        if len(chosen) > MOST_BARS:
            largest = sorted(self.causes, key=lambda one: -one.total_gpu_s)[:MOST_BARS]
            chosen = [one for one in self.causes if one in largest]
        bars = []
        for one in chosen:
            share = one.figures.work.count if per_item else 1
            bars.append(
                (f"{one.figures.label}\n{one.figures.division}", {name: seconds / share for name, seconds in one.gpu_s.items()})
            )
        return bars, "finished item" if per_item else "run"


def _together(problems: Sequence[Problem]) -> list[Problem]:
    """The same facts; one that is true of several places is one line."""
    places: dict[str, list[str]] = {}
    for problem in problems:
        places.setdefault(problem.what, []).append(problem.where)
    return [Problem(listed(where, 3), what) for what, where in places.items()]


def scaling_points(rows: Sequence[Scaled]) -> list[charts.Point]:
    """The points of a chart of these rows."""
    return [(row.series, row.figures.label, row.figures.gpus, row.speedup, row.efficiency) for row in rows]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
