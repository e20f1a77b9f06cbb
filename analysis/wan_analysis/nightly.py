"""The nightly benchmark: runs it, adds the night to the history, runs a bad night again, and says what changed."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan_analysis.change_points import LEAST_HISTORY
from wan_analysis.nightly_bounds import bounds_key, grown_parts, judge, read_references, references_file, write_references
from wan_analysis.nightly_changes import Findings, analyse, deviations, is_cleared, sudden
from wan_analysis.nightly_history import ACCEPTED, HISTORY, OWN_FIELDS, History, Night, append_line, now, read_history, usual
from wan_analysis.nightly_page import trend_page
from wan_analysis.nightly_result import MANIFEST, NightlyError, benchmark_key, check_against, check_result, metrics_of, parse_result
from wan_analysis.nightly_verdict import Failure, Verdict, date_text, failures_of, percent_text, verdict_json, verdict_junit
from wan_analysis.texts import listed, printable

VERDICT, JUNIT, TREND = "verdict.json", "junit.xml", "trend.html"
#: Commits between two revisions that are listed.
_MOST_COMMITS = 20


def run_benchmark(command: Sequence[str]) -> dict[str, Any]:
    """Runs the command and reads the JSON object in its last line of output. Throws NightlyError."""
    try:
        done = subprocess.run(list(command), stdout=subprocess.PIPE, text=True, check=False, errors="replace")
    except OSError as error:
        raise NightlyError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise NightlyError(f"the benchmark ended with exit code {done.returncode} (its messages are above)")
    lines = done.stdout.strip().splitlines()
    if not lines:
        raise NightlyError("the benchmark printed nothing")
    return parse_result(lines[-1])


def time_manifest(command: Sequence[str]) -> float:
    """Seconds of a whole run of wan_batch on a fixed manifest, start and load included. Throws NightlyError unless it ends with 0."""
    start = time.monotonic()
    try:
        done = subprocess.run(list(command), stdout=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise NightlyError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise NightlyError(f"the manifest's run ended with exit code {done.returncode} (its messages are above)")
    return time.monotonic() - start


@dataclass(frozen=True)
class Nightly:
    """One call of the nightly benchmark."""

    project: Path
    folder: Path  # of the history
    command: Sequence[str]
    manifest: Sequence[str] | None = None
    references: Path | None = None
    update: bool = False
    new_key: bool = False

    def run(self) -> Verdict:
        """Measures, stores, and judges. A result that cannot be true is refused, and the refusal is stored. Throws OSError."""
        try:
            return self._judged()
        except NightlyError as error:
            history = read_history(self.folder)
            key = history.nights[-1].key if history.nights else ""
            append_line(self.folder / HISTORY, {"time": now(), "key": key, "refused": str(error)})
            verdict = Verdict(key, None, (Failure("benchmark", str(error)),))
            write_pages(self.folder, verdict, self.project)
            return verdict

    def _measure(self, history: History) -> tuple[str, dict[str, Any]]:
        """Key and result of one measurement. Throws NightlyError if it cannot be true, or is of another benchmark."""
        result = {name: value for name, value in run_benchmark(self.command).items() if name not in OWN_FIELDS}
        if self.manifest:
            result[MANIFEST] = time_manifest(self.manifest)
        check_result(result)
        key = benchmark_key(result)
        if history.nights and key not in history.benchmarks() and not self.new_key:
            raise NightlyError(f"the result is of another benchmark, '{key}'; the history has "
                               f"{listed([repr(one) for one in history.benchmarks()], 3)}. If it is to begin "
                               "a history of its own here, call it once with --new-key")
        path = self.references or references_file(self.project, result)
        nights = history.of(key)
        stored = {} if nights or self.update else read_references(path, bounds_key(result))
        check_against(result, usual(nights) or {metric: value for metric, (value, _, _, _) in stored.items() if metric != MANIFEST})
        return key, result

    def _judged(self) -> Verdict:
        history = read_history(self.folder)
        key, result = self._measure(history)
        began = now()
        append_line(self.folder / HISTORY, {**result, "time": began})
        before = _findings(history, key)
        notes, failures = [], []
        first = Night(len(history.of(key)) + 1, began, key, metrics_of(result), result)
        if off := deviations(before, first):
            names = listed([f"{one.metric} {one.percent:+.1f} %" for one in off])
            again_key, again = self._measure(history)
            if again_key != key:
                raise NightlyError(f"the repeat of the night is of another benchmark, '{again_key}'")
            repeat = Night(first.number + 1, now(), key, metrics_of(again), again)
            again_off = deviations(before, repeat)
            mark: dict[str, Any] = {"repeat_of": began}
            if is_cleared(off, again_off):
                mark["clears"] = {"time": began, "metrics": [one.metric for one in off]}
                notes.append(f"night {first.number} is an outlier ({names}): a repeat at once was good")
            else:
                notes.append(f"night {first.number} was off ({names}), and a repeat at once was off too")
                failures = [Failure(f"{one.metric} of nights {first.number} and {repeat.number}",
                                    f"{one.percent:.1f} % more than before, in a night and its repeat") for one in sudden(off, again_off)]
            append_line(self.folder / HISTORY, {**again, **mark, "time": repeat.time})
            result = again
        verdict = self._verdict(key, result, notes, failures)
        write_pages(self.folder, verdict, self.project)
        return verdict

    def _verdict(self, key: str, result: dict[str, Any], notes: list[str], failures: list[Failure]) -> Verdict:
        history = read_history(self.folder)
        findings = _findings(history, key)
        open_changes = failures_of(findings)
        known = {failure.name.split(" ")[0] for failure in open_changes}
        failures = [failure for failure in failures if failure.name.split(" ")[0] not in known]
        path = self.references or references_file(self.project, result)
        if self.update:
            write_references(path, bounds_key(result), result)
            notes.append(f"{path}: bounds of '{bounds_key(result)}' written")
        if len(findings.nights) < LEAST_HISTORY:
            bounds = judge(metrics_of(result), read_references(path, bounds_key(result)))
            notes.append(f"{len(findings.nights)} of the {LEAST_HISTORY} nights that change points need; until then "
                         + (f"the bounds of {path} hold" if bounds else "nothing is judged: --update makes bounds of a result"))
            failures += [Failure(entry.metric, entry.reason) for entry in bounds if entry.is_regression]
            if parts := grown_parts(bounds):
                notes.append(f"a step's time grew in: {', '.join(parts)}")
        notes += [f"left out: {line}" for line in history.left_out[-5:]]
        return Verdict(key, findings.nights[-1], tuple(open_changes + failures), findings, tuple(notes), metrics_of(result),
                       commits_of(findings, self.project))


def _findings(history: History, key: str) -> Findings:
    return analyse(history.of(key), history.cleared, [one for one in history.accepted if one["key"] == key])


def commits_of(findings: Findings, project: Path) -> dict[int, list[str]]:
    """The commits between the revisions of each event, if the checkout has them."""
    commits = {}
    for place, event in enumerate(findings.events):
        ends = event.causes.revisions
        names = [re.search(r"(?:^|-g)([0-9a-f]{7,40})(?=$|-)", end) for end in ends] if ends else []
        if len(names) != 2 or not all(names):
            continue
        command = ["git", "-C", str(project), "log", "--oneline", f"-{_MOST_COMMITS}", f"{names[0][1]}..{names[1][1]}", "--"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace", timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0 and done.stdout.strip():
            commits[place] = done.stdout.strip().splitlines()
    return commits


def write_pages(folder: Path, verdict: Verdict, project: Path) -> None:
    """Writes verdict, JUnit file and trend page. Throws OSError."""
    history = read_history(folder)
    pages = []
    for key in history.benchmarks():
        if verdict.night is not None and key == verdict.key:
            pages.append(verdict)
            continue
        findings = _findings(history, key)
        pages.append(Verdict(key, findings.nights[-1], tuple(failures_of(findings)), findings))
    for name, text in ((VERDICT, verdict_json(verdict)), (JUNIT, verdict_junit(verdict)),
                       (TREND, trend_page(pages, history.failed, history.left_out))):
        temporary = folder / f".{name}.tmp"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(folder / name)


def accept(folder: Path, night: str, why: str, project: Path, key: str | None = None) -> list[str]:
    """Records that the change at a night (a number or a date) is accepted, and says which. Throws NightlyError, OSError."""
    if not why.strip():
        raise NightlyError("an accepted change needs a reason: --accept NIGHT \"why\"")
    history = read_history(folder)
    found, others = [], []
    for one in history.benchmarks():
        if key is not None and key not in one:
            continue
        for event in _findings(history, one).events:
            if night in (str(event.night.number), event.night.date):
                found.append((one, event))
            elif event.failures:
                others.append(date_text(event))
    known = f"open changes are at {listed(others)}" if others else "there are no other open changes"
    if not found:
        raise NightlyError(f"no change was found at night '{printable(night, 40)}'; {known}")
    if len(found) > 1:
        raise NightlyError(f"{len(found)} changes were found at night '{printable(night, 40)}'; name the number of the night, and the "
                           f"benchmark with --key: {listed([f'{one!r} night {event.night.number}' for one, event in found], 6)}")
    one, event = found[0]
    changes = event.failures
    if not changes:
        raise NightlyError(f"the change at {date_text(event)} is not open: it was accepted or reverted, or nothing became worse")
    append_line(folder / ACCEPTED, {
        "time": now(), "key": one, "night": event.night.time, "first": event.first.time, "last": event.last.time, "why": why,
        "metrics": {change.metric: {"before": change.before, "percent": change.percent, "low_percent": change.low_percent,
                                    "high_percent": change.high_percent} for change in changes}})
    history = read_history(folder)
    findings = _findings(history, one)
    verdict = Verdict(one, findings.nights[-1], tuple(failures_of(findings)), findings, (), findings.nights[-1].metrics,
                      commits_of(findings, project))
    write_pages(folder, verdict, project)
    return [f"accepted: {change.metric}, {percent_text(change)}, since {date_text(event)}" for change in changes]
