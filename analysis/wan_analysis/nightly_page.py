"""The trend page of a nightly benchmark: every metric night by night, each with its own scale."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib.dates as mdates
import numpy as np
from matplotlib.axes import Axes

from wan_analysis import palette
from wan_analysis.blocks import Block, Chart, Heading, Listing, Table, note, number, sentence
from wan_analysis.chart_style import new_figure
from wan_analysis.html_page import blocks_html, page
from wan_analysis.nightly_changes import Findings
from wan_analysis.nightly_result import MAIN, unit_of
from wan_analysis.nightly_verdict import Verdict, date_text, main_change, name_of, percent_text, state_of
from wan_analysis.student import t_quantile
from wan_analysis.texts import chart_text, printable

_BYTES = 2**30
_MARKERS = "osD^vP*X"
_STATE_COLOURS = {"open": palette.VERMILION, "accepted": palette.PURPLE, "reverted": palette.GREY, "better": palette.GREEN}


def trend_page(verdicts: Sequence[Verdict], refused: Sequence[tuple[str, str, str]], left_out: Sequence[str]) -> str:
    """The page of all benchmarks of a folder."""
    blocks: list[Block] = []
    for verdict in verdicts:
        blocks.append(Heading(verdict.key))
        blocks += _benchmark(verdict)
    if refused:
        blocks += [Heading("Results that were refused"),
                   Table((("time", "UTC"), ("benchmark", ""), ("reason", "")),
                         [[time[:16].replace("T", " "), key or "not known", reason] for time, key, reason in refused[-20:]])]
    if left_out:
        blocks += [Heading("Lines of the history that were left out"),
                   Listing(tuple(sentence(line) for line in left_out[-20:]), "problems")]
    return page("Nightly benchmark", blocks_html(blocks))


def _benchmark(verdict: Verdict) -> list[Block]:
    findings = verdict.findings
    if findings is None or not findings.nights:
        return []
    first, last = findings.nights[0], findings.nights[-1]
    words = "nothing is open" if not verdict.failures else "; ".join(f"{failure.name}: {failure.reason}" for failure in verdict.failures)
    blocks: list[Block] = [sentence(f"{len(findings.nights)} nights from {first.date} to {last.date}: {words}.")]
    blocks += [note(text) for text in verdict.notes]
    if findings.events:
        blocks.append(_events_table(verdict))
    if findings.cards:
        blocks.append(_cards_table(findings))
    blocks.append(note("Points are nights; a grey bar spans the fastest and the slowest step of a night. A line is the level of a segment, "
                       "and the band around it is its 95 % interval. A dashed line is a change of that metric; the shaded nights are the "
                       "interval of its date. A cross is an outlier, which counts for nothing. Each card has a marker of its own. "
                       "A metric that is 0 on all nights is not drawn."))
    drawn = [metric for metric in findings.metrics if any(night.metrics.get(metric) for night in findings.nights)]
    blocks += [_chart(findings, metric) for metric in drawn]
    return blocks


def _events_table(verdict: Verdict) -> Table:
    findings = verdict.findings
    rows = []
    for place, event in enumerate(findings.events):
        change = main_change(event)
        others = [f"{name_of(other.metric)} {percent_text(other)}" for other in event.changes if other is not change]
        parts = ", ".join(f"{part.part.replace('_', ' ')} {part.seconds:+.3g} s" for part in event.causes.parts)
        causes = "; ".join(filter(None, [event.causes.named(), event.causes.where, parts and f"parts: {parts}",
                                         event.causes.revisions and "revisions {} .. {}".format(*event.causes.revisions)]))
        key = f"change/{place}"
        rows.append([date_text(event), name_of(change.metric), (number(f"{key}/percent", change.percent, 2), " % (",
                                                                number(f"{key}/low", change.low_percent, 2), " to ",
                                                                number(f"{key}/high", change.high_percent, 2), ")"),
                     "; ".join(others) or "none", causes or "not known",
                     state_of(event) + (f": {event.why_accepted}" if event.why_accepted is not None else "")])
    header = (("change at", ""), ("metric", ""), ("size", "95 %"), ("other metrics", ""), ("what is known of the cause", ""), ("state", ""))
    return Table(header, rows)


def _cards_table(findings: Findings) -> Table:
    rows = [[printable(card.card, 120) or "not recorded", number(f"card/{place}/nights", card.nights, 3),
             (number(f"card/{place}/percent", card.percent, 2), " % (", number(f"card/{place}/low", card.low_percent, 2), " to ",
              number(f"card/{place}/high", card.high_percent, 2), ")")] for place, card in enumerate(findings.cards[:20])]
    return Table((("card", ""), ("nights", ""), ("step against the first card", "95 %")), rows)


def _shown(metric: str) -> tuple[float, str]:
    """Divisor and unit of an axis."""
    return (_BYTES, "GiB") if unit_of(metric) == "byte" else (1.0, "s")


def _chart(findings: Findings, metric: str) -> Chart:
    figure, axes = new_figure(1, 1, 9.6, 2.6 if metric == MAIN else 1.9)
    axis = axes[0, 0]
    divisor, unit = _shown(metric)
    times = np.array([mdates.date2num(night.moment) for night in findings.nights])
    values = np.array([night.metrics.get(metric, np.nan) for night in findings.nights]) / divisor
    off = np.array([(night.time, metric) in findings.off for night in findings.nights])
    _draw_levels(axis, findings, metric, times, divisor)
    if metric == MAIN:
        _draw_steps(axis, findings, times)
    for card, name in enumerate(findings.card_names):
        own = (findings.card_numbers == card) & ~off
        label = chart_text(f"{name or 'card not recorded'}", 24) if len(findings.card_names) > 1 and card < len(_MARKERS) else None
        axis.plot(times[own], values[own], _MARKERS[card % len(_MARKERS)], color=palette.SERIES[card % len(palette.SERIES)], markersize=4,
                  label=label)
    axis.plot(times[off], values[off], "x", color=palette.VERMILION, label="outlier" if off.any() else None)
    _draw_changes(axis, findings, metric, times)
    axis.xaxis_date()
    axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(axis.xaxis.get_major_locator()))
    axis.set_title(chart_text(name_of(metric)), loc="left")
    axis.set_ylabel(unit)
    _set_limits(axis, values)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Chart(f"trend/{metric}", figure, f"{metric} night by night, with levels and change points")


def _set_limits(axis: Axes, values: np.ndarray) -> None:
    """The metric's own scale; a constant one stands in the middle."""
    low, high = axis.get_ylim()
    middle = float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0
    half = 0.01 * abs(middle) or 1e-3
    axis.set_ylim(min(low, middle - half), max(high, middle + half))
    axis.ticklabel_format(axis="y", useOffset=False)


def _draw_levels(axis: Axes, findings: Findings, metric: str, times: np.ndarray, divisor: float) -> None:
    """The level of each segment with its interval, on the card that measured most nights."""
    one, scale = findings.series[metric], findings.scales[metric]
    fit = one.fit
    noise, freedom = fit.noise()
    common = float(fit.effects[int(np.argmax(np.bincount(findings.card_numbers)))]) if len(fit.effects) > 1 else 0.0
    bounds = [0, *fit.starts, len(times)]
    for place, (left, right) in enumerate(pairwise(bounds)):
        half = noise * float(np.sqrt(fit.covariance[place, place])) * t_quantile(0.975, freedom)
        if len(fit.effects) > 1:  # the cards' common part cannot be told from the level
            half = noise * t_quantile(0.975, freedom) / float(np.sqrt(max(1, right - left)))
        low, middle, high = (float(scale.backward(fit.levels[place] + common + shift)) / divisor for shift in (-half, 0.0, half))
        span = [times[left], times[right - 1] if right < len(times) else times[-1]]
        axis.fill_between(span, low, high, color=palette.SKY_BLUE, alpha=0.35, linewidth=0)
        axis.plot(span, [middle, middle], color=palette.BLUE, linewidth=1.2)


def _draw_steps(axis: Axes, findings: Findings, times: np.ndarray) -> None:
    """From the fastest to the slowest step of each night."""
    for time, night in zip(times, findings.nights, strict=True):
        steps: Any = night.record.get("step_s")
        if isinstance(steps, list) and len(steps) > 1:
            axis.plot([time, time], [min(steps), max(steps)], color=palette.GREY, linewidth=0.8)


def _draw_changes(axis: Axes, findings: Findings, metric: str, times: np.ndarray) -> None:
    """A line before the first night of each change of this metric, with its size, and the interval of its date."""
    for found in findings.series[metric].found:
        event, change = next((event, change) for event in findings.events for change in event.changes
                             if (change.metric, change.index) == (metric, found.night))
        colour = _STATE_COLOURS[state_of(event)]
        if found.last > found.first:
            axis.axvspan(times[found.first] - 0.5, times[min(found.last, len(times) - 1)] - 0.5, color=colour, alpha=0.12, linewidth=0)
        axis.axvline(times[found.night] - 0.5, color=colour, linestyle="--", linewidth=1.1)
        axis.annotate(f"{change.percent:+.1f} %", (times[found.night] - 0.5, 1.0), xycoords=("data", "axes fraction"),
                      xytext=(-8, 3), textcoords="offset points", fontsize=8, color=colour)
