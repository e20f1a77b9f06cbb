"""One page about a study: its scaling, and the parts that took time and memory. Self-contained HTML, and PNGs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from wan_analysis import charts
from wan_analysis.html_page import Cell, count, figure_bytes, figure_html, number, page, table
from wan_analysis.measures import (
    items_per_hour,
    outliers,
    phase_means_s,
    shape_text,
    shapes_of,
    steps_of_shape,
    typical_step,
    vram_peaks_bytes,
)
from wan_analysis.plan import Plans, planned_bytes
from wan_analysis.run import Run
from wan_analysis.study import Study
from wan_analysis.trace_file import Problem
from wan_analysis.trace_format import PARTS, REMAINDER

GIB = 2**30
GB = 1e9
PERCENT = 100.0

#: The page lists this many outliers and counts the rest.
MOST_OUTLIERS = 20


class Report:
    """Collects sections and figures; `write` puts them on disk."""

    def __init__(self, study: Study, plans: Plans, title: str, plan_problems: Sequence[Problem] = ()) -> None:
        self.study = study
        self.plans = plans
        self.title = title
        self.problems = [*study.problems, *plan_problems]
        self.figures: dict[str, tuple[Figure, str]] = {}

    def html(self) -> str:
        """The whole page."""
        return page(self.title, "".join(section for section in self._sections() if section))

    def write(self, html_path: Path, png_dir: Path | None) -> None:
        """Writes the page and, with `png_dir`, a PNG of every chart. Throws OSError."""
        text = self.html()
        html_path.parent.mkdir(parents=True, exist_ok=True)
        html_path.write_text(text, encoding="utf-8")
        if png_dir is not None:
            png_dir.mkdir(parents=True, exist_ok=True)
            for name, (figure, _) in self.figures.items():
                (png_dir / f"{name}.png").write_bytes(figure_bytes(figure, "png"))

    def _sections(self) -> list[str]:
        runs = [run for run in self.study.runs if not run.steps.empty]
        sections = [self._lead(), self._problem_list()]
        if self.study.scaling:
            sections += [self._scaling(), self._parts(), self._communication()]
        if runs:
            sections += [self._steps(runs), self._outliers(runs), self._memory(runs), self._throughput(runs),
                         self._runs(runs)]
        return sections

    def _figure(self, name: str, figure: Figure, description: str) -> str:
        self.figures[name] = (figure, description)
        return figure_html(figure, description)

    def _lead(self) -> str:
        if not self.study.scaling:
            return '<p class="lead">No run with steps was found.</p>\n'
        run = self.study.scaling[0].run
        shapes = ", ".join(shape_text(shape) for shape in self.study.shapes)
        return f'<p class="lead">{escape(run.attribute("task"))} on {escape(run.device)}; {escape(shapes)}.</p>\n'

    def _problem_list(self) -> str:
        if not self.problems:
            return ""
        lines = "".join(f"<li>{escape(str(problem))}</li>\n" for problem in self.problems)
        return f'<h2>To know before reading on</h2>\n<ul class="problems">\n{lines}</ul>\n'

    def _scaling(self) -> str:
        rows: list[list[Cell]] = []
        for row in self.study.scaling:
            key, run = f"scaling/{row.run.name}", row.run
            rows.append([count(f"{key}/gpus", run.gpus), count(f"{key}/groups", len(run.groups)), run.layout,
                         number(f"{key}/step_s", row.step.wall_s), number(f"{key}/median_step_s", row.step.median_s),
                         number(f"{key}/speedup", row.speedup), number(f"{key}/efficiency_percent", PERCENT * row.efficiency),
                         number(f"{key}/items_per_hour", row.items_per_hour)])
        unit = charts.unit_of(self.study.scaling)
        header = [(unit, "count"), ("groups", "count"), ("layout", ""), ("typical step", "s"), ("median step", "s"),
                  ("speed-up", "× first row"), ("efficiency", "%"), ("items", "1/h")]
        return (
            "<h2>Scaling</h2>\n" + table(header, rows)
            + '<p class="note">Typical step: mean over the middle half of the steps of each size, then over the sizes. '
            "Speed-up: steps per second of all groups together, over that of the first row. Efficiency: speed-up over "
            f"the ratio of {unit}.</p>\n"
            + self._figure("scaling", charts.speedup_chart(self.study.scaling), "Speed-up and efficiency")
        )

    def _parts(self) -> str:
        rows: list[list[Cell]] = []
        for row in self.study.scaling:
            key = f"parts/{row.run.name}"
            cells = [number(f"{key}/{part}", row.step.parts_s[part]) for part in (*PARTS, REMAINDER)]
            rows.append([row.run.label, *cells, number(f"{key}/sum", sum(row.step.parts_s.values()))])
        header = [(charts.unit_of(self.study.scaling), "count")]
        header += [(part.replace("_", " "), "s") for part in (*PARTS, REMAINDER)] + [("step", "s")]
        measured = "on the GPU" if self.study.scaling[0].run.has_gpu_times else "by the host"
        return (
            "<h2>A step by part</h2>\n" + table(header, rows)
            + f'<p class="note">Seconds {measured}, means over ranks, in the typical step. "Wait" is the exchange of the '
            'two guidance passes; "other" is the rest of the slowest rank\'s step.</p>\n'
            + self._figure("parts", charts.parts_chart(self.study.scaling), "Step time by part, stacked")
        )

    def _communication(self) -> str:
        rows: list[list[Cell]] = []
        for row in self.study.scaling:
            key, step = f"communication/{row.run.name}", row.step
            rows.append([row.run.label, number(f"{key}/seconds", step.communication_s),
                         number(f"{key}/share_percent", PERCENT * step.communication_share),
                         number(f"{key}/sent_gb", step.sent_bytes / GB),
                         number(f"{key}/achieved_gb_per_s", step.achieved_bytes_per_s / GB)])
        header = [(charts.unit_of(self.study.scaling), "count"), ("communication", "s per step"), ("share", "% of a step"),
                  ("sent by a rank", "GB per step"), ("rate", "GB/s")]
        return (
            "<h2>Communication</h2>\n" + table(header, rows)
            + '<p class="note">Communication is all to all, weight gather and wait, as far as computing does not hide '
            "it: the rate is bytes sent over that time, so hidden transfers raise it above the link's.</p>\n"
            + self._figure("communication", charts.communication_chart(self.study.scaling), "Communication share and rate")
        )

    def _steps(self, runs: Sequence[Run]) -> str:
        rows: list[list[Cell]] = []
        for run in runs:
            for shape in shapes_of(run):
                steps = steps_of_shape(run, shape)
                typical = typical_step(run, [shape])
                key = f"steps/{run.name}/{shape[0]}x{shape[1]}x{shape[2]}"
                rows.append([run.label, shape_text(shape), count(f"{key}/count", len(steps)),
                             number(f"{key}/step_s", typical.wall_s), number(f"{key}/median_s", typical.median_s),
                             number(f"{key}/fastest_s", steps["wall_s"].min()),
                             number(f"{key}/slowest_s", steps["wall_s"].max())])
        header = [(charts.unit_of(runs), "count"), ("size", ""), ("steps", "count"), ("typical", "s"), ("median", "s"),
                  ("fastest", "s"), ("slowest", "s")]
        return "<h2>Every step</h2>\n" + table(header, rows) + self._figure(
            "steps", charts.steps_chart(runs), "Time of every step, with the expert switch marked")

    def _outliers(self, runs: Sequence[Run]) -> str:
        rows: list[list[Cell]] = []
        total = 0
        for run in runs:
            found = outliers(run)
            total += len(found)
            for place, row in enumerate(found.head(MOST_OUTLIERS).itertuples()):
                key = f"outliers/{run.name}/{place}"
                rows.append([run.label, row.item, count(f"{key}/step", row.step), number(f"{key}/wall_s", row.wall_s),
                             number(f"{key}/median_s", row.median_s), row.part.replace("_", " "),
                             number(f"{key}/part_growth_s", row.part_growth_s), row.cause])
        if not rows:
            return '<h2>Outliers</h2>\n<p>None: no step stands out from its size\'s median.</p>\n'
        header = [(charts.unit_of(runs), "count"), ("item", ""), ("step", "from 0"), ("time", "s"),
                  ("median of its size", "s"), ("part that grew most", ""), ("growth", "s"), ("coincides with", "")]
        hidden = total - len(rows)
        more = f"<p>{count('outliers/hidden', hidden).html()} more are not listed.</p>\n" if hidden else ""
        return "<h2>Outliers</h2>\n" + table(header, rows) + more

    def _memory(self, runs: Sequence[Run]) -> str:
        with_memory = [run for run in runs if charts.has_vram(run)]
        if not with_memory:
            return "<h2>Memory</h2>\n<p>The traces record no GPU memory.</p>\n"
        rows: list[list[Cell]] = []
        for run in with_memory:
            planned = planned_bytes(run, self.plans)
            for rank, peak in vram_peaks_bytes(run).iterrows():
                key = f"memory/{run.name}/{rank}"
                rows.append([run.label, count(f"{key}/rank", int(str(rank))),
                             number(f"{key}/allocator_gib", peak["allocator"] / GIB),
                             number(f"{key}/device_gib", peak["device"] / GIB), number(f"{key}/plan_gib", planned / GIB),
                             number(f"{key}/over_plan_gib", (peak.max() - planned) / GIB)])
        header = [(charts.unit_of(runs), "count"), ("rank", "from 0"), ("peak, allocator", "GiB"), ("peak, device", "GiB"),
                  ("plan", "GiB"), ("peak over plan", "GiB")]
        return (
            "<h2>Memory</h2>\n" + table(header, rows)
            + self._figure("vram_peaks", charts.vram_peak_chart(with_memory, self.plans), "Peak VRAM of every GPU")
            + self._figure("vram_timeline", charts.vram_timeline_chart(with_memory), "VRAM of every GPU over time")
        )

    def _throughput(self, runs: Sequence[Run]) -> str:
        phases = list(dict.fromkeys(phase for run in runs for phase in run.phase_names()))
        rows: list[list[Cell]] = []
        for run in runs:
            key, means = f"items/{run.name}", phase_means_s(run)
            rows.append([run.label, count(f"{key}/done", int(run.items["done"].sum())),
                         number(f"{key}/per_hour", items_per_hour(run)),
                         *(number(f"{key}/{phase}_s", means.get(phase, float("nan"))) for phase in phases)])
        header = [(charts.unit_of(runs), "count"), ("finished items", "count"), ("rate", "1/h"), *((p, "s") for p in phases)]
        figure = self._figure("items", charts.items_chart(self.study.scaling), "Items per hour, and phases of an item") \
            if self.study.scaling else ""
        return "<h2>Items</h2>\n" + table(header, rows) + '<p class="note">Phases: means over items. ' \
            "The rate counts from the first item's start; loading the weights is left out.</p>\n" + figure

    def _runs(self, runs: Sequence[Run]) -> str:
        rows: list[list[Cell]] = [
            [run.label, run.name, run.attribute("version"), run.attribute("started"), run.attribute("host"),
             run.attribute("job"), run.device, run.attribute("command")] for run in runs
        ]
        header = [(charts.unit_of(runs), "count"), ("run", ""), ("version", ""), ("started", ""), ("host", ""), ("job", ""),
                  ("device", ""), ("command", "")]
        return "<h2>Runs</h2>\n" + table(header, rows)
