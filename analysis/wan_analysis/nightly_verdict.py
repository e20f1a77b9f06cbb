"""The verdict on a night: exit code, text, JSON and JUnit, which all name the same failures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET

from wan_analysis.nightly_changes import Event, Findings, MetricChange
from wan_analysis.nightly_history import Night
from wan_analysis.nightly_result import MAIN, PART, unit_of
from wan_analysis.texts import listed, printable

DONE, REFUSED, CHANGED = 0, 1, 3


@dataclass(frozen=True)
class Failure:
    """One thing that somebody has to look at."""

    name: str
    reason: str


@dataclass(frozen=True)
class Verdict:
    """All that is said of a night."""

    key: str
    night: Night | None  # None: the result was refused
    failures: tuple[Failure, ...]
    findings: Findings | None = None
    notes: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    revisions: Mapping[int, Sequence[str]] = field(default_factory=dict)  # by the number of an event: the commits between

    @property
    def exit_code(self) -> int:
        """0 nothing to look at, 1 refused, 3 something became worse."""
        return REFUSED if self.night is None else CHANGED if self.failures else DONE


def percent_text(change: MetricChange) -> str:
    """"2.0 % slower (1.6 to 2.4)"."""
    word = ("more" if change.is_worse else "less") if unit_of(change.metric) == "byte" else "slower" if change.is_worse else "faster"
    low, high = sorted((abs(change.low_percent), abs(change.high_percent)))
    crosses = change.low_percent * change.high_percent < 0
    return f"{abs(change.percent):.1f} % {word} ({-low if crosses else low:.1f} to {high:.1f})"


def name_of(metric: str) -> str:
    """A metric in words: "linear" for a part."""
    return metric.removeprefix(PART).replace("_", " ") if metric.startswith(PART) else metric


def failures_of(findings: Findings) -> list[Failure]:
    """The open changes for the worse."""
    return [Failure(f"{change.metric} since night {event.night.number}", f"{percent_text(change)} since {date_text(event)}"
                    + (f"; {event.causes.where}" if event.causes.where else "")) for event, change in findings.failures]


def date_text(event: Event) -> str:
    """"night 40 (2026-11-28), between nights 39 and 41"."""
    text = f"night {event.night.number} ({event.night.date})"
    if event.first.number != event.last.number:
        text += f", between nights {event.first.number} and {event.last.number}"
    return text


def state_of(event: Event) -> str:
    """A word for an event: open, accepted, reverted, or better."""
    if event.failures:
        return "open"
    if event.why_accepted is not None:
        return "accepted"
    return "reverted" if any(change.is_reverted for change in event.changes) else "better"


def event_lines(event: Event, commits: Sequence[str] = ()) -> list[str]:
    """An event in words."""
    lines = [f"{state_of(event).upper()}: change at {date_text(event)}"]
    for change in event.changes:
        unit = unit_of(change.metric) or ""
        state = " (accepted)" if change.is_accepted else " (reverted later)" if change.is_reverted else ""
        lines.append(f"  {change.metric}: {percent_text(change)}, {change.before:.4g} -> {change.after:.4g} {unit}{state}")
    parts = [f"{part.part.replace('_', ' ')} {part.seconds:+.3g} s ({part.low:+.3g} to {part.high:+.3g})" for part in event.causes.parts]
    if parts:
        lines.append(f"  a step's time {'grew' if event.changes[0].is_worse else 'fell'} in: {listed(parts, 9)}")
    if event.causes.facts:
        lines.append(f"  changed with it: {event.causes.named()}")
    if event.causes.where:
        lines.append(f"  {event.causes.where}")
    if event.causes.revisions:
        lines.append("  revisions: {} .. {}".format(*event.causes.revisions))
        lines += [f"    {printable(commit, 120)}" for commit in commits]
    if event.why_accepted is not None:
        lines.append(f"  accepted: {printable(event.why_accepted)}")
    return lines


def verdict_text(verdict: Verdict) -> str:
    """The verdict as it is printed."""
    lines = [verdict.key] if verdict.key else []
    findings = verdict.findings
    if verdict.night is not None and findings is not None:
        lines.append(f"night {verdict.night.number}, {verdict.night.time}")
        for metric, value in verdict.metrics.items():
            level = _level(findings, metric, verdict.night)
            usual = "" if level is None else f"  level {level:.4g}, {100 * (value / level - 1):+.1f} %" if level > 0 else ""
            lines.append(f"{metric:<24} {value:12.4g} {unit_of(metric) or '':<4}{usual}")
        for number, event in enumerate(findings.events):
            lines += event_lines(event, verdict.revisions.get(number, ()))
        if findings.cards:
            lines.append("cards: " + "; ".join(f"{printable(card.card) or 'not recorded'}: {card.nights} nights, {card.percent:+.1f} % "
                                               f"({card.low_percent:+.1f} to {card.high_percent:+.1f})" for card in findings.cards[:8]))
    lines += [f"note: {note}" for note in verdict.notes]
    lines += [f"FAILED: {failure.name}: {failure.reason}" for failure in verdict.failures]
    return "\n".join(lines) + "\n"


def _level(findings: Findings, metric: str, night: Night) -> float | None:
    """The value that the present segment expects on the night's card."""
    if metric not in findings.series:
        return None
    fit = findings.series[metric].fit
    card = float(fit.effects[findings.card_names.index(night.card)]) if len(fit.effects) > 1 else 0.0
    return float(findings.scales[metric].backward(float(fit.levels[-1]) + card))


def event_json(event: Event, commits: Sequence[str] = ()) -> dict[str, Any]:
    """An event with all its figures."""
    return {
        "night": event.night.number, "time": event.night.time, "first_night": event.first.number, "last_night": event.last.number,
        "state": state_of(event), "accepted": event.why_accepted,
        "metrics": {change.metric: {"percent": change.percent, "low_percent": change.low_percent, "high_percent": change.high_percent,
                                    "before": change.before, "after": change.after, "is_worse": change.is_worse,
                                    "is_accepted": change.is_accepted, "is_reverted": change.is_reverted,
                                    "fails": change in event.failures} for change in event.changes},
        "parts": [{"part": part.part, "seconds": part.seconds, "low": part.low, "high": part.high} for part in event.causes.parts],
        "changed": {fact.name: [fact.before, fact.after] for fact in event.causes.facts},
        "cause": event.causes.where,
        "revisions": list(event.causes.revisions) if event.causes.revisions else None,
        "commits": list(commits),
    }


def verdict_json(verdict: Verdict) -> str:
    """The verdict as JSON."""
    findings = verdict.findings
    content = {
        "key": verdict.key, "exit_code": verdict.exit_code,
        "night": verdict.night.number if verdict.night else None, "time": verdict.night.time if verdict.night else None,
        "failures": [{"name": failure.name, "reason": failure.reason} for failure in verdict.failures],
        "changes": [event_json(event, verdict.revisions.get(number, ()))
                    for number, event in enumerate(findings.events)] if findings else [],
        "outliers": [{"time": time, "metric": metric} for time, metric in sorted(findings.off)] if findings else [],
        "cards": [vars(card) for card in findings.cards] if findings else [],
        "metrics": dict(verdict.metrics), "notes": list(verdict.notes),
    }
    return json.dumps(content, indent=1) + "\n"


def verdict_junit(verdict: Verdict) -> str:
    """The verdict as a JUnit file: a case for each failure, and one for each metric without any."""
    failed = {failure.name.split(" ")[0] for failure in verdict.failures}
    passed = [metric for metric in verdict.metrics if metric not in failed]
    suite = ET.Element("testsuite", name="nightly", tests=str(len(verdict.failures) + len(passed)), failures=str(len(verdict.failures)),
                       errors="0")
    for failure in verdict.failures:
        case = ET.SubElement(suite, "testcase", classname=_xml(verdict.key) or "nightly", name=_xml(failure.name))
        ET.SubElement(case, "failure", message=_xml(failure.reason)).text = _xml(failure.reason)
    for metric in passed:
        ET.SubElement(suite, "testcase", classname=_xml(verdict.key) or "nightly", name=_xml(metric))
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    return printable(text, 2000)


def main_change(event: Event) -> MetricChange:
    """The change that an event is known by: the step's, else the surest one."""
    return next((change for change in event.changes if change.metric == MAIN), max(event.changes, key=lambda change: change.certainty))
