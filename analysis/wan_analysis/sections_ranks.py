"""The page's tables about single ranks: those that are late, and runs whose speed changes."""

from __future__ import annotations

from collections.abc import Sequence

from wan_analysis.blocks import Block, Cell, Heading, Table, count, note, number, sentence
from wan_analysis.sections import PERCENT, limited
from wan_analysis.sections_causes import RunCauses
from wan_analysis.stragglers import Slowest

#: The page lists this many late ranks and changes of speed, and counts the rest.
MOST_LISTED = 20


def straggler_section(causes: Sequence[RunCauses], unit: str) -> list[Block]:
    """Ranks that compute slowly, by name; the slowest rank of each run in any case."""
    found = sorted(((one, late) for one in causes for late in one.stragglers), key=lambda entry: -entry[1].cost_gpu_s)
    slow = [(one, one.slowest) for one in causes if one.slowest is not None]
    if not found and not slow:
        return []
    blocks: list[Block] = [Heading("Late ranks")]
    if found:
        places: dict[str, int] = {}
        rows: list[list[Cell]] = []
        shown, more = limited("stragglers", found, MOST_LISTED)
        for one, late in shown:
            place = places[one.figures.name] = places.get(one.figures.name, -1) + 1
            key = f"stragglers/{one.figures.name}/{place}"
            rows.append([one.figures.label, count(f"{key}/rank", late.rank), late.host, late.gpu, late.part,
                         number(f"{key}/excess_percent", PERCENT * late.excess), late.at, number(f"{key}/since_s", late.since_s),
                         count(f"{key}/steps", late.steps), count(f"{key}/of_steps", late.of_steps),
                         number(f"{key}/cost_s", late.cost_s), number(f"{key}/cost_gpu_s", late.cost_gpu_s)])
        header = [("run", unit + "s"), ("rank", ""), ("host", ""), (unit, ""), ("part", ""), ("over the median", "%"), ("since", "UTC"),
                  ("since", "s after the start"), ("steps", "late"), ("steps", "compared"), ("holds up its group", "s"),
                  ("cost", f"{unit}-s")]
        blocks += [Table(header, rows), *more, note(
            "A rank is late if a computing part takes it longer than the median of all ranks that do the same work, by 1 % or more (by "
            "10 % on CPU ranks), in most steps of a window. Ranks that only wait for it are not named.")]
    else:
        blocks.append(sentence("No rank is late: none takes 1 % (10 % on CPU ranks) longer than the median in a computing part."))
    if slow:
        shown, more = limited("slowest", sorted(slow, key=lambda entry: -entry[1].cost_gpu_s), MOST_LISTED)
        rows = [_slowest_row(one, rank) for one, rank in shown]
        blocks += [sentence("The slowest rank of each run, whether that is much or little:"), Table(
            [("run", unit + "s"), ("rank", ""), ("host", ""), (unit, ""), ("most of it in", ""), ("computing over the median", "%"),
             ("cost", "s"), ("cost", f"{unit}-s")], rows), *more]
    return blocks


def _slowest_row(one: RunCauses, rank: Slowest) -> list[Cell]:
    key = f"slowest/{one.figures.name}"
    return [one.figures.label, count(f"{key}/rank", rank.rank), rank.device.host, rank.device.gpu, rank.part,
            number(f"{key}/excess_percent", PERCENT * rank.excess), number(f"{key}/cost_s", rank.cost_s),
            number(f"{key}/cost_gpu_s", rank.cost_gpu_s)]


def drift_section(causes: Sequence[RunCauses], unit: str) -> list[Block]:
    """Runs that became slower or faster, or whose steps have two speeds."""
    found = sorted(((one, drift) for one in causes for drift in one.drifts), key=lambda entry: -entry[1].cost_gpu_s)
    if not found:
        return []
    places: dict[str, int] = {}
    rows: list[list[Cell]] = []
    shown, more = limited("drifts", found, MOST_LISTED)
    for one, drift in shown:
        place = places[one.figures.name] = places.get(one.figures.name, -1) + 1
        key = f"drifts/{one.figures.name}/{place}"
        rows.append([one.figures.label, drift.ranks, drift.kind, drift.part.replace("_", " "),
                     number(f"{key}/excess_percent", PERCENT * drift.excess), drift.at, number(f"{key}/since_s", drift.since_s),
                     number(f"{key}/until_s", drift.until_s), count(f"{key}/steps", drift.steps), count(f"{key}/of_steps", drift.of_steps),
                     number(f"{key}/cost_s", drift.cost_s), number(f"{key}/cost_gpu_s", drift.cost_gpu_s)])
    header = [("run", unit + "s"), ("ranks", ""), ("change", ""), ("part", ""), ("slow over fast steps", "%"), ("since", "UTC"),
              ("since", "s after the start"), ("until", "s after the start"), ("steps", "of this speed"), ("steps", "compared"),
              ("cost", "s"), ("cost", f"{unit}-s")]
    return [Heading("Changes of speed"), Table(header, rows), *more]
