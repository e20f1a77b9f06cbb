"""The page's tables of a study with repetitions: scaling of cases against their base, with medians and 95 % intervals.

Speed-up and efficiency are ratios of medians over starts; their intervals hold the spread of both sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from wan_analysis.blocks import Block, Cell, Heading, Table, count, note, number, sentence
from wan_analysis.blocks_intervals import brackets_note, figure, starts_cell
from wan_analysis.efficiency import ANY_FRAMES, Scaled, ScalingTable
from wan_analysis.intervals import Interval, median_interval, ratio_interval
from wan_analysis.repetitions import Case, speed_of
from wan_analysis.sections import PERCENT, PFLOP
from wan_analysis.step_table import StepRow, StepTable
from wan_analysis.texts import plural


def speed_section(cases: Sequence[Case], unit: str) -> list[Block]:
    """The speed of each case, and how exactly it is known."""
    rows: list[list[Cell]] = []
    for case in cases:
        key, found = f"speed/{case.name}", speed_of(case)
        of = "s a step" if case.first.is_benchmark else "items an hour"
        rows.append([starts_cell(key, case), count(f"{key}/groups", case.first.groups), case.first.layouts[0],
                     figure(f"{key}/value", found), of, number(f"{key}/precision_percent", PERCENT * found.half_width)])
    header = [(unit + "s", "and starts"), ("groups", "count"), ("layout", ""), ("speed", "median [95 % interval]"), ("unit", ""),
              ("interval", "± % of the median")]
    return [Heading("Speed of each case"), Table(header, rows), brackets_note()]


def scaled_cases(table: ScalingTable, cases: Sequence[Case]) -> list[tuple[Case, list[Scaled]]]:
    """The rows of a scaling table by case, those of the base first."""
    homes = {id(one): case for case in cases for one in case.starts}
    found: dict[str, tuple[Case, list[Scaled]]] = {}
    for row in table.rows:
        case = homes.get(id(row.figures))
        if case is not None:
            found.setdefault(case.name, (case, []))[1].append(row)
    return list(found.values())


def scaling_of(base: Sequence[Scaled], here: Sequence[Scaled], *, with_load: bool = False) -> Interval:
    """Speed-up: time for the same work on the base over that here."""
    def times(rows: Sequence[Scaled]) -> list[float]:
        return [(row.seconds_with_load if with_load else row.seconds) / row.amount for row in rows]

    return ratio_interval(times(base), times(here))


def step_scaling(base: Sequence[StepRow], here: Sequence[StepRow]) -> Interval:
    """Speed-up of a step: the median step of the starts on the base over that here."""
    if here is base:
        return base_itself(len(base))
    return ratio_interval([row.median_s for row in base], [row.median_s for row in here])


def base_itself(starts: int) -> Interval:
    """The base's speed-up: it is its own measure, without a spread."""
    return Interval(1.0, math.nan, math.nan, starts)


def repeated_scaling_section(table: ScalingTable, cases: Sequence[Case], name: str, title: str, unit: str) -> list[Block]:
    """One table of cases against their base. `name` is the first part of its keys."""
    found = scaled_cases(table, cases)
    if not found:
        return []
    is_flop = table.equal == ANY_FRAMES
    scale, amount, of_unit = (PFLOP, "work", "PFLOP") if is_flop else (1.0, "items", "finished")
    base_case, base = found[0]
    rows: list[list[Cell]] = []
    for case, of_case in found:
        key = f"{name}/{case.name}"
        ratio = base_case.gpus / case.gpus
        speedup, with_load = scaling_of(base, of_case), scaling_of(base, of_case, with_load=True)
        if case is base_case:
            speedup = with_load = base_itself(len(of_case))
        done = of_case[0].amount / scale
        rows.append([
            starts_cell(key, case), count(f"{key}/gpus", case.gpus), count(f"{key}/groups", case.first.groups), case.first.layouts[0],
            number(f"{key}/work_pflop", done, 4) if is_flop else count(f"{key}/items", int(done)),
            figure(f"{key}/seconds", median_interval([row.seconds for row in of_case])),
            figure(f"{key}/speedup", speedup), figure(f"{key}/efficiency_percent", speedup.scaled(PERCENT * ratio)),
            figure(f"{key}/seconds_with_load", median_interval([row.seconds_with_load for row in of_case])),
            figure(f"{key}/efficiency_with_load_percent", with_load.scaled(PERCENT * ratio)),
            figure(f"{key}/gpu_hours", median_interval([case.gpus * row.seconds_with_load / 3600.0 for row in of_case]))])
    header = [("run", unit + "s and starts"), (unit + "s", "all of the start"), ("groups", "count"), ("layout", ""), (amount, of_unit),
              ("time", "s"), ("speed-up", "× base"), ("efficiency", "%"), ("time", "s, with start and load"),
              ("efficiency", "%, with start and load"), (unit + "-hours", "with start and load")]
    lead = sentence(
        "Base: ", *starts_cell(f"base/{name}", base_case), " on ", count(f"base/{name}/gpus", base_case.gpus),
        f" {plural(base_case.gpus, unit).split(' ', 1)[1]} ({base_case.first.division}), ",
        *figure(f"base/{name}/seconds", median_interval([row.seconds for row in base])), " s.")
    return [Heading(title), lead, Table(header, rows), note(
        "Time: from the first item's start to the last item's end (of wan_bench: of its measured steps). Speed-up: the median time for the "
        f"same work on the base, over that here. Efficiency: speed-up over the ratio of {unit}s; idle ones count. Start and load: from the "
        "end of MPI_Init; time before it is not in a trace. Brackets hold 95 % intervals; those of ratios contain the spread of both "
        "sides.")]


def step_cases(table: StepTable, cases: Sequence[Case]) -> list[tuple[Case, list[StepRow]]]:
    """The rows of a table of steps by case and layout, those of the base first."""
    homes = {id(one): case for case in cases for one in case.starts}
    found: dict[tuple, tuple[Case, list[StepRow]]] = {}
    for row in table.rows:
        case = homes.get(id(row.figures)) or next((one for one in cases if row.run in one.runs), None)
        if case is not None:
            found.setdefault((case.name, row.layout), (case, []))[1].append(row)
    return list(found.values())


def repeated_step_sections(tables: Sequence[StepTable], cases: Sequence[Case], unit: str) -> list[Block]:
    """How steps of equal work scale over layouts: one table for each work."""
    blocks: list[Block] = []
    for place, table in enumerate(tables):
        found = step_cases(table, cases)
        if not found:
            continue
        base_case, base = found[0]
        rows: list[list[Cell]] = []
        for case, of_case in found:
            row = of_case[0]
            key = f"steps/{case.name}" + ("" if sum(other is case for other, _ in found) == 1 else f"/{row.name}")
            key += f"/{place}" if place else ""
            speedup = step_scaling(base, of_case)
            rows.append([
                starts_cell(key, case), row.name, count(f"{key}/gpus", row.gpus), count(f"{key}/teams", row.teams),
                figure(f"{key}/step_s", median_interval([one.median_s for one in of_case])),
                number(f"{key}/fastest_s", min(one.fastest_s for one in of_case), 4),
                number(f"{key}/slowest_s", max(one.slowest_s for one in of_case), 4),
                figure(f"{key}/gpu_s", median_interval([one.median_s * one.gpus for one in of_case])),
                figure(f"{key}/speedup", speedup),
                figure(f"{key}/efficiency_percent", speedup.scaled(PERCENT * base[0].gpus / row.gpus))])
        lead = sentence(str(table.work), ". Base: ", base[0].name, ", ", *starts_cell(f"base/steps/{place}", base_case), ", ",
                        *figure(f"base/steps/{place}/step_s", median_interval([one.median_s for one in base])), " s a step on ",
                        count(f"base/steps/{place}/gpus", base[0].gpus), f" {plural(base[0].gpus, unit).split(' ', 1)[1]}.")
        header = [("run", unit + "s and starts"), ("layout", ""), (unit + "s", "of a team"), ("teams", "count"), ("step", "s"),
                  ("fastest", "s, of all starts"), ("slowest", "s, of all starts"), (f"{unit}-seconds", "per step"),
                  ("speed-up", "× base"), ("efficiency", "%")]
        blocks += [lead, Table(header, rows)]
    if not blocks:
        return []
    return [Heading("Strong scaling of a step"), *blocks, note(
        "Steps without warm-up. Each start counts with its median step, from the first rank's start to the last one's end. Steps of groups "
        "that joined count for the layout of their team. Brackets hold 95 % intervals; those of ratios contain the spread of both sides.")]
