"""A study: runs of the same work on different GPU counts, and their scaling."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from wan_analysis.measures import Shape, TypicalStep, items_per_hour, shape_text, shapes_of, typical_step
from wan_analysis.run import Run, gather_runs
from wan_analysis.trace_file import Problem, Traces


@dataclass(frozen=True)
class ScalingRow:
    """One run of a study, compared with the study's smallest run."""

    run: Run
    step: TypicalStep
    steps_per_s: float  #: all groups together
    speedup: float
    efficiency: float  #: speed-up over the ratio of GPU counts, 0 to 1
    items_per_hour: float


@dataclass
class Study:
    """`runs` are all runs that could be read. `scaling` holds those that did the same work, by GPU count."""

    runs: list[Run]
    shapes: list[Shape] = field(default_factory=list)  #: shapes that all runs of `scaling` have
    scaling: list[ScalingRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def make_study(traces: Traces) -> Study:
    """Selects the runs that can be compared. The others stay in `runs`, and `problems` names them."""
    runs = gather_runs(traces.groups)
    study = Study(runs=runs, problems=[*traces.problems, *(problem for run in runs for problem in run.problems)])
    candidates = _same_work([run for run in runs if not run.steps.empty], study.problems)
    candidates, study.shapes = _common_shapes(candidates, study.problems)
    if candidates:
        _name_versions(candidates, study.problems)
    study.scaling = _scale(candidates, study.shapes)
    return study


def _work(run: Run) -> tuple[str, str, str]:
    return run.attribute("task"), run.device, run.precision


def _work_text(work: tuple[str, str, str]) -> str:
    return " ".join(part for part in work if part)


def _same_work(runs: list[Run], problems: list[Problem]) -> list[Run]:
    """The runs with the most frequent model, GPU and precision."""
    if not runs:
        return []
    most = Counter(_work(run) for run in runs).most_common(1)[0][0]
    for run in runs:
        if _work(run) != most:
            problems.append(
                Problem(f"run {run.name}", f"measured {_work_text(_work(run))}, but the study measured {_work_text(most)}: "
                        "reported separately, left out of the scaling")
            )
    return [run for run in runs if _work(run) == most]


def _common_shapes(runs: list[Run], problems: list[Problem]) -> tuple[list[Run], list[Shape]]:
    """The runs that share a size with the majority, and the sizes that all of them have."""
    if not runs:
        return [], []
    counts = Counter(shape for run in runs for shape in shapes_of(run))
    if not counts:
        return [], []
    leading = max(counts.items(), key=lambda entry: (entry[1], entry[0]))[0]
    kept = [run for run in runs if leading in shapes_of(run)]
    common = sorted(set.intersection(*(set(shapes_of(run)) for run in kept)))
    for run in runs:
        own = [shape for shape in shapes_of(run) if shape not in common]
        if run not in kept:
            problems.append(
                Problem(f"run {run.name}", f"made only {_shapes_text(own)}, but the study made {_shapes_text(common)}: "
                        "reported separately, left out of the scaling")
            )
        elif own:
            problems.append(
                Problem(f"run {run.name}", f"{_shapes_text(own)} are not in every run of the study: left out of the scaling")
            )
    return kept, common


def _shapes_text(shapes: list[Shape]) -> str:
    return " and ".join(shape_text(shape) for shape in shapes)


def _name_versions(runs: list[Run], problems: list[Problem]) -> None:
    versions = sorted({run.attribute("version") for run in runs})
    if len(versions) > 1:
        problems.append(Problem("study", f"its runs were made by different versions of wan_batch: {', '.join(versions)}"))


def _scale(runs: list[Run], shapes: list[Shape]) -> list[ScalingRow]:
    rows: list[ScalingRow] = []
    for run in runs:
        step = typical_step(run, shapes)
        rate = len(run.groups) / step.wall_s
        base_rate, base_gpus = (rows[0].steps_per_s, rows[0].run.gpus) if rows else (rate, run.gpus)
        speedup = rate / base_rate
        efficiency = speedup * base_gpus / run.gpus
        rows.append(ScalingRow(run, step, rate, speedup, efficiency, items_per_hour(run)))
    return rows
