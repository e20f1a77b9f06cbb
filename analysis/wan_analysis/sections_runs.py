"""The page's tables about single runs: phases, outliers, memory, and what was run."""

from __future__ import annotations

from collections.abc import Sequence

from wan_analysis.blocks import Block, Cell, Heading, Table, count, note, number, sentence
from wan_analysis.campaign import MISSING_TIME, Campaign
from wan_analysis.charts_run import MOST_GPUS
from wan_analysis.figures import RunFigures
from wan_analysis.measures import vram_peaks_bytes
from wan_analysis.outliers import outliers
from wan_analysis.plan import Plans, planned_bytes
from wan_analysis.run import Run
from wan_analysis.sections import MOST_ROWS, PERCENT, limited, most_rows

GIB = 2**30
#: The page lists this many outliers and counts the rest.
MOST_OUTLIERS = 20
#: Steps of more runs than this are not searched for outliers one by one.
_MOST_PROVENANCE = 40


def items_section(figures: Sequence[RunFigures], unit: str) -> list[Block]:
    """Items and their phases."""
    shown, more = limited("items", figures)
    phases = list(dict.fromkeys(phase for one in shown for phase in one.phase_seconds))
    rows: list[list[Cell]] = []
    for one in shown:
        key = f"items/{one.name}"
        rows.append(
            [
                one.label,
                count(f"{key}/begun", len(one.items)),
                count(f"{key}/done", int(one.items["done"].sum())),
                *(number(f"{key}/{phase}_s", one.phase_seconds.get(phase, float("nan"))) for phase in phases),
            ]
        )
    header = [("run", unit + "s"), ("items", "begun"), ("items", "finished"), *((phase.replace("_", " "), "s") for phase in phases)]
    return [
        Heading("Items"),
        Table(header, rows),
        *more,
        note("Phases: seconds of the slowest rank, means over finished items, without a group's first item if it made more of that size."),
    ]


def campaign_section(campaigns: Sequence[Campaign], unit: str) -> list[Block]:
    """Batches that were made in several starts: each step and item counts for the start that made it."""
    several = [campaign for campaign in campaigns if len(campaign.runs) > 1]
    if not several:
        return []
    header = [("batch", ""), ("starts", "count"), (unit + "s", "at most at a time"), ("items", "finished"), ("items", "in all"),
              ("running", "s"), ("rate", "items/h of running"), ("rate", "items/h of working"), (f"{unit}-hours", "h"),
              ("start-up, load", "%"), ("idle", "%"), ("lost steps", "count (%)"), ("repeated steps", "count (%)")]
    shown, more = limited("campaign", several)
    rows: list[list[Cell]] = []
    for campaign in shown:
        key, table = f"campaign/{campaign.name}", campaign.starts
        total = float(table["rank_s"].sum())
        share = {name: PERCENT * float(table[f"{name}_rank_s"].sum()) / total for name in ("start_up", "load", "idle", "lost", "repeated")}
        rows.append([
            campaign.name, count(f"{key}/starts", len(campaign.runs)), count(f"{key}/gpus", campaign.gpus),
            count(f"{key}/done", campaign.items_done), count(f"{key}/items", len(campaign.items)),
            number(f"{key}/running_s", campaign.running_s, 4), number(f"{key}/items_per_hour", campaign.items_per_hour),
            number(f"{key}/items_per_working_hour", campaign.items_per_working_hour), number(f"{key}/rank_hours", campaign.rank_hours),
            number(f"{key}/load_percent", share["start_up"] + share["load"]), number(f"{key}/idle_percent", share["idle"]),
            *((count(f"{key}/steps_{name}", int(table[f"steps_{name}"].sum())), " (", number(f"{key}/{name}_percent", share[name]), ")")
              for name in ("lost", "repeated"))])
    largest = max(several, key=lambda campaign: len(campaign.runs))
    blocks: list[Block] = [Heading("Batches in several starts"), Table(header, rows), *more, note(
        f"Running: at least one start ran. Working: from a start's first item to its last one. Percent are of the {unit}-hours. Note: "
        f"{MISSING_TIME}.")]
    return blocks + _starts(largest, unit)


def _starts(campaign: Campaign, unit: str) -> list[Block]:
    """The starts of one campaign."""
    shown, more = limited(f"campaign/{campaign.name}/starts", list(zip(campaign.runs, campaign.starts.itertuples(), strict=True)))
    rows: list[list[Cell]] = []
    for place, (run, row) in enumerate(shown):
        key = f"campaign/{campaign.name}/{place}"
        rows.append([run.label, run.name, count(f"{key}/gpus", row.gpus), count(f"{key}/items", row.items_done),
                     count(f"{key}/steps", row.steps), count(f"{key}/lost", row.steps_lost), count(f"{key}/repeated", row.steps_repeated),
                     number(f"{key}/wall_s", row.wall_s, 4),
                     number(f"{key}/load_gpu_s", row.load_rank_s), number(f"{key}/idle_gpu_s", row.idle_rank_s)])
    header = [("run", unit + "s"), ("id", ""), (unit + "s", "count"), ("items", "finished here"), ("steps", "made"), ("lost", "steps"),
              ("repeated", "steps"), ("wall time", "s"), ("load", f"{unit}-s"), ("idle", f"{unit}-s")]
    return [Heading(f"The starts of {campaign.name}"), Table(header, rows), *more]


def outliers_section(runs: Sequence[Run], unit: str) -> list[Block]:
    """Single steps far slower than others of their kind."""
    found = [(run, row) for run in runs for row in outliers(run).itertuples()]
    if not found:
        return [Heading("Outliers"), sentence("None: no step stands out from the median of its kind.")]
    if len(runs) > 1:
        found.sort(key=lambda entry: entry[1].median_s - entry[1].wall_s)
    places: dict[str, int] = {}
    rows: list[list[Cell]] = []
    for run, row in found[:MOST_OUTLIERS]:
        place = places[run.name] = places.get(run.name, -1) + 1
        key = f"outliers/{run.name}/{place}"
        rows.append(
            [
                run.label,
                row.item,
                count(f"{key}/step", row.step),
                number(f"{key}/wall_s", row.wall_s),
                number(f"{key}/median_s", row.median_s),
                row.part.replace("_", " "),
                number(f"{key}/part_growth_s", row.part_growth_s),
                row.cause,
            ]
        )
    header = [
        ("run", unit + "s"),
        ("item", ""),
        ("step", "from 0"),
        ("time", "s"),
        ("median of its kind", "s"),
        ("part that grew most", ""),
        ("growth", "s"),
        ("coincides with", ""),
    ]
    hidden = len(found) - len(rows)
    more: list[Block] = [note(count("outliers/hidden", hidden), " more are not listed.")] if hidden else []
    return [Heading("Outliers"), Table(header, rows), *more]


def memory_section(runs: Sequence[Run], plans: Plans, unit: str) -> list[Block]:
    """Peak memory: of every GPU, or of each run's smallest, middle and largest GPU if there are many."""
    if not runs:
        return [Heading("Memory"), sentence("The traces record no GPU memory.")]
    peaks_of = {run.name: vram_peaks_bytes(run) for run in runs}
    if most_rows() > MOST_ROWS or sum(len(peaks) for peaks in peaks_of.values()) > 2 * MOST_GPUS:
        return _memory_summary(runs, plans, unit)
    rows: list[list[Cell]] = []
    for run in runs:
        planned = planned_bytes(run, plans)
        for rank, peak in peaks_of[run.name].iterrows():
            key = f"memory/{run.name}/{rank}"
            rows.append(
                [
                    run.label,
                    count(f"{key}/rank", int(str(rank))),
                    number(f"{key}/allocator_gib", peak["allocator"] / GIB),
                    number(f"{key}/device_gib", peak["device"] / GIB),
                    number(f"{key}/plan_gib", planned / GIB),
                    number(f"{key}/over_plan_gib", (peak.max() - planned) / GIB),
                ]
            )
    header = [
        ("run", unit + "s"),
        ("rank", "from 0"),
        ("peak, allocator", "GiB"),
        ("peak, device", "GiB"),
        ("plan", "GiB"),
        ("peak over plan", "GiB"),
    ]
    return [Heading("Memory"), Table(header, rows)]


def _memory_summary(runs: Sequence[Run], plans: Plans, unit: str) -> list[Block]:
    tables = [(run, vram_peaks_bytes(run).max(axis=1).dropna()) for run in runs]
    tables.sort(key=lambda entry: -float(entry[1].max()))
    shown, more = limited("memory", tables)
    rows: list[list[Cell]] = []
    for run, peaks in shown:
        key, planned = f"memory/{run.name}", planned_bytes(run, plans)
        rows.append(
            [
                run.label,
                count(f"{key}/gpus", len(peaks)),
                number(f"{key}/smallest_gib", peaks.min() / GIB),
                number(f"{key}/median_gib", peaks.median() / GIB),
                number(f"{key}/largest_gib", peaks.max() / GIB),
                count(f"{key}/largest_rank", int(str(peaks.idxmax()))),
                number(f"{key}/plan_gib", planned / GIB),
                number(f"{key}/over_plan_gib", (peaks.max() - planned) / GIB),
            ]
        )
    header = [
        ("run", unit + "s"),
        (unit + "s", "count"),
        ("smallest peak", "GiB"),
        ("median peak", "GiB"),
        ("largest peak", "GiB"),
        ("by rank", ""),
        ("plan", "GiB"),
        ("largest over plan", "GiB"),
    ]
    return [Heading("Memory"), Table(header, rows), *more]


def runs_section(figures: Sequence[RunFigures], unit: str) -> list[Block]:
    """Version, host, job and command of each run."""
    shown, more = limited("runs", figures, _MOST_PROVENANCE)
    named = [
        ("run", ""),
        ("version", ""),
        ("revision", ""),
        ("started", ""),
        ("exit_reason", "ended"),
        ("host", ""),
        ("job", ""),
        ("command", ""),
    ]
    told = [entry for entry in named[1:] if any(one.run.attribute(entry[0]) not in ("", "unknown") for one in shown)]
    rows: list[list[Cell]] = [
        [one.label, one.name, one.run.device, *(one.run.attribute(name) for name, _ in told)] for one in shown
    ]
    header = [("run", unit + "s"), ("id", ""), ("device", ""), *((word or name, "") for name, word in told)]
    return [Heading("Runs"), Table(header, rows), *more]
