"""The answer at the top of the page: which layout makes so many videos soonest, most cheaply, or by a deadline."""

from __future__ import annotations

import math
from collections.abc import Sequence

from wan_analysis import palette
from wan_analysis.advice import SECONDS_PER_HOUR, Advice, Outcome
from wan_analysis.advice_lines import sbatch_line
from wan_analysis.blocks import Block, Cell, Chart, Heading, Listing, Number, Sentence, Table, count, note, sentence
from wan_analysis.blocks_intervals import figure
from wan_analysis.chart_style import new_figure
from wan_analysis.texts import chart_text, plural

#: More layouts than these are not shown: the soonest ones and the Pareto front stay.
MOST_LAYOUTS = 24


def advice_sentences(advice: Advice, unit: str) -> list[Sentence]:
    """One sentence each for soonest, cheapest and by the deadline."""
    wishes = advice.wishes
    pairs = (("Soonest", advice.soonest), ("Cheapest", advice.cheapest))
    found = [_sentence(what.lower(), what, outcome, advice, unit) for what, outcome in pairs]
    if math.isfinite(wishes.within_s):
        what = "Cheapest by the deadline" if advice.is_sure else "By the deadline, but not surely"
        found.append(_sentence("deadline", what, advice.by_deadline, advice, unit))
    return found


def _sentence(key: str, what: str, outcome: Outcome | None, advice: Advice, unit: str) -> Sentence:
    videos, wishes = advice.wishes.videos, advice.wishes
    if outcome is None:
        bounds = [f"{wishes.gpu_hours:g} {unit}-hours"] if math.isfinite(wishes.gpu_hours) else []
        bounds += [f"{wishes.within_s / SECONDS_PER_HOUR:g} h"] if math.isfinite(wishes.within_s) and key == "deadline" else []
        return sentence(f"{what}: no layout of the study makes ", count(f"advice/{key}/videos", videos),
                        f" videos within {' and '.join(bounds) or 'these bounds'}.")
    told = "" if outcome.facts.is_measured else ", predicted"
    if outcome.facts.copies > 1:
        told += ", each job on a node of its own"
    parts: list[Number | str] = [
        f"{what}: {outcome.name}{told}: ", count(f"advice/{key}/videos", videos), f" video{'' if videos == 1 else 's'} in ",
        *figure(f"advice/{key}/total_h", outcome.total_s.scaled(1.0 / SECONDS_PER_HOUR), 3), " h, ",
        *figure(f"advice/{key}/gpu_hours", outcome.gpu_hours, 3), f" {unit}-hours"]
    if math.isfinite(outcome.wh.median):
        parts += [", ", *figure(f"advice/{key}/wh", outcome.wh, 3), " Wh"]
    return sentence(*parts, f". Type: {sbatch_line(outcome)}")


def shown_outcomes(advice: Advice) -> Sequence[Outcome]:
    """The layouts of the table."""
    if len(advice.outcomes) <= MOST_LAYOUTS:
        return advice.outcomes
    named = [one for one in (advice.soonest, advice.cheapest, advice.by_deadline) if one is not None]
    kept = [one for one in advice.outcomes if one.is_on_front or any(one is other for other in named)]
    rest = [one for one in advice.outcomes if not any(one is other for other in kept)]
    chosen = [*kept, *rest[:max(MOST_LAYOUTS - len(kept), 0)]]
    return [one for one in advice.outcomes if any(one is other for other in chosen)]


def advice_table(advice: Advice, unit: str) -> Table:
    """A row for each layout, the soonest first."""
    rows: list[list[Cell]] = []
    for one in shown_outcomes(advice):
        key = f"advice/{one.name}"
        rows.append([
            one.name, count(f"{key}/gpus", one.gpus), count(f"{key}/starts", len(one.facts.starts)),
            "measured" if one.facts.is_measured else "predicted",
            figure(f"{key}/first_s", one.first_s, 3), figure(f"{key}/total_h", one.total_s.scaled(1.0 / SECONDS_PER_HOUR), 3),
            figure(f"{key}/gpu_hours", one.gpu_hours, 3), figure(f"{key}/wh", one.wh, 3), "yes" if one.is_on_front else ""])
    header = [("layout", ""), (unit + "s", "of all jobs"), ("starts", "count"), ("figures", ""), ("first video", "s"),
              ("all videos", "h"), (unit + "-hours", "as billed"), ("energy", "Wh"), ("on the front", "")]
    return Table(header, rows)


def advice_section(advice: Advice, unit: str) -> list[Block]:
    """Sentences, table and chart. Empty if no whole video was made."""
    if not advice.outcomes:
        return []
    has_launch = any(len(one.facts.values("launch_s")) for one in advice.outcomes)
    lead = plural(advice.wishes.videos, "video")
    return [
        Heading(f"{lead}: which layout?"), Listing(tuple(advice_sentences(advice, unit)), "advice"), advice_table(advice, unit),
        note("Videos like those of the study. Start, load and the idle tail are in all figures; the time in the queue is not"
             + (". " if has_launch else ", nor is the start of the processes, which no trace holds. ")
             + f"{unit}-hours: all {unit}s of a job from its start to its end. Brackets hold a new campaign with 95 %. On the front: no "
             "other layout is both sooner and cheaper. A predicted layout is advised only if it is better at the end of its interval."),
        *(note(f"{text}.") for text in advice.left_out),
        advice_chart(advice, unit)]


def advice_chart(advice: Advice, unit: str) -> Chart:
    """Time against GPU-hours; the Pareto front has names and is joined."""
    shown = shown_outcomes(advice)
    drawing, axes = new_figure(1, 1, 9.6, 4.2)
    axis = axes[0][0]
    drawn: dict[str, dict[str, list]] = {}
    for one in shown:
        hours, cost = one.total_s.scaled(1.0 / SECONDS_PER_HOUR), one.gpu_hours
        drawn[one.name] = {"total_h": [hours.median, hours.low, hours.high], "gpu_hours": [cost.median, cost.low, cost.high],
                           "is_on_front": [one.is_on_front], "is_measured": [one.facts.is_measured]}
        bars = [[[0.0], [0.0]] if math.isnan(found.low) else [[found.median - found.low], [found.high - found.median]]
                for found in (hours, cost)]
        colour = palette.BLUE if one.is_on_front else palette.GREY
        axis.errorbar([hours.median], [cost.median], xerr=bars[0], yerr=bars[1], fmt="o" if one.facts.is_measured else "D", color=colour,
                      mfc=colour if one.facts.is_measured else "white", markersize=5, linewidth=1, capsize=2)
        if one.is_on_front:  # the table names the others
            axis.annotate(chart_text(one.name, 46), (hours.median, cost.median), textcoords="offset points", xytext=(5, 4), fontsize=7)
    front = sorted((one for one in shown if one.is_on_front), key=lambda one: one.total_s.median)
    axis.step([one.total_s.median / SECONDS_PER_HOUR for one in front], [one.gpu_hours.median for one in front], where="post",
              color=palette.BLUE, linewidth=1, linestyle=":")
    axis.set(xlabel="time until all videos are there [h]", ylabel=f"{unit}-hours as billed", title="Time against cost")
    axis.set_xlim(left=0, right=axis.get_xlim()[1] * 1.25)
    axis.set_ylim(bottom=0)
    return Chart("advice", drawing, f"Time against {unit}-hours: dots measured, diamonds predicted; the front is dotted", drawn)
