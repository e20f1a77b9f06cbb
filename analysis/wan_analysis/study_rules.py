"""The twelve rules of Hoefler and Belli, "Scientific benchmarking of parallel computing systems" (SC15): kept or not kept, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from wan_analysis.blocks import Block, Heading, Table, note
from wan_analysis.efficiency import ScalingTable
from wan_analysis.intervals import LEAST_STARTS
from wan_analysis.repetitions import Case, is_repeated
from wan_analysis.step_table import StepTable
from wan_analysis.study_record import StudyRecord
from wan_analysis.texts import listed, plural

KEPT, NOT_KEPT = "kept", "not kept"

RULES = (
    "say whether the base is one process or the best serial one, and its absolute time",
    "give the reason for leaving out parts of a benchmark or of a system",
    "take the arithmetic mean of costs only, the harmonic mean of rates",
    "do not average ratios; take the costs or rates that they are made of",
    "say whether values are deterministic; give intervals of those that are not",
    "do not assume a normal distribution without a test",
    "compare values that vary in a statistically sound way",
    "ask whether a mean or a median is what matters, or a percentile",
    "document all factors that vary, and the whole set-up",
    "say how parallel time was measured, synchronised and put together",
    "show upper bounds of the performance",
    "plot what is needed to judge; join points by lines only if what lies between is meaningful",
)


@dataclass(frozen=True)
class Rule:
    """One rule on one study."""

    number: int
    rule: str
    is_kept: bool
    why: str


def judge_rules(cases: Sequence[Case], strong: ScalingTable, tables: Sequence[StepTable], record: StudyRecord | None) -> list[Rule]:
    """All twelve rules, in their order. `record`: what jobs/study.sh wrote, if it made the study."""
    drawn = "every start is a point of the chart of distributions; " if is_repeated(cases) else ""
    middle = "times are medians over the starts" if is_repeated(cases) else "times are means over the steps of a start"
    whys = (_base(cases, strong, tables), _left_out(cases, record), (True, f"{middle}; rates are items over the sum of their time"),
            (True, "speed-up and efficiency are ratios of two times; no ratio is averaged"), _intervals(cases),
            (True, "intervals come from the order of the values; no distribution is assumed"), _comparison(cases), _tails(cases),
            _factors(cases, record), _order(cases, record),
            (True, "the charts have the line of ideal scaling; the factors name what each cause costs at most"),
            (True, f"{drawn}lines join points of one series of layouts only"))
    return [Rule(place, text, is_kept, why) for place, (text, (is_kept, why)) in enumerate(zip(RULES, whys, strict=True), 1)]


def rules_section(rules: Sequence[Rule]) -> list[Block]:
    """The rules as a table."""
    rows = [[f"{rule.number}. {rule.rule}", KEPT if rule.is_kept else NOT_KEPT.upper(), rule.why] for rule in rules]
    return [Heading("Twelve rules of benchmarking"), Table([("rule", ""), ("here", ""), ("why", "")], rows),
            note("After Hoefler and Belli, “Scientific benchmarking of parallel computing systems”, SC15.")]


def _base(cases: Sequence[Case], strong: ScalingTable, tables: Sequence[StepTable]) -> tuple[bool, str]:
    bases = [row.figures.gpus for row in strong.rows[:1]] + [table.base.gpus for table in tables[:1]]
    counts = sorted({case.gpus for case in cases})
    unit = cases[0].first.run.unit if cases else "GPU"
    if not bases or len(counts) < 2:
        here = plural(counts[0], unit) if counts else "no rank"
        return False, f"there is no base: all starts are on {here}; add starts on one {unit}"
    if min(bases) > 1:
        return False, f"the base has {plural(min(bases), unit)}; no start on one {unit} shows the cost of the parallel program itself"
    return True, f"the base is the same program on one {unit}; its absolute time stands above each table"


def _left_out(cases: Sequence[Case], record: StudyRecord | None) -> tuple[bool, str]:
    untraced = [case.name for case in cases if not all(one.is_complete for one in case.starts)]
    if untraced:
        return False, f"groups without a trace, for no reason that is known: {listed(untraced, 2)}"
    if record is None:
        return True, "every start that was given is on the page or named under “To know before reading on”"
    left = record.left_out
    return True, f"left out: {'; '.join(left)}" if left else "nothing was left out"


def _intervals(cases: Sequence[Case]) -> tuple[bool, str]:
    few = [f"{case.name}: {plural(len(case.starts), 'start')}" for case in cases if len(case.starts) < LEAST_STARTS]
    if few:
        return False, f"an interval needs {LEAST_STARTS} starts of each case ({listed(few, 3)})"
    return True, "times vary; each has the 95 % interval of its median over the starts"


def _comparison(cases: Sequence[Case]) -> tuple[bool, str]:
    alone = [case.name for case in cases if len(case.starts) < 2]
    if alone:
        return False, f"nothing can be compared with a case of one start ({listed(alone, 3)})"
    return True, "intervals of ratios contain the spread of both sides; compare judges two sets of starts with a corrected level"


def _tails(cases: Sequence[Case]) -> tuple[bool, str]:
    if any(not case.first.is_benchmark for case in cases):
        return True, "a batch pays for the sum of its items, which items per hour count; fastest, slowest and outliers are listed"
    return True, "an item is a sum of steps of nearly equal length; fastest, slowest and outliers are listed"


def _hosts(case: Case) -> list[frozenset[str]]:
    return [frozenset(str(host) for host in run.rank_info["host"]) - {"", "unknown"} for run in case.runs]


def _factors(cases: Sequence[Case], record: StudyRecord | None) -> tuple[bool, str]:
    hosts = [names for case in cases for names in _hosts(case) if names]
    devices = sorted({run.device for case in cases for run in case.runs})
    if len(devices) > 1:
        return False, f"the GPU model varies between starts: {listed(devices, 3)}"
    mixed = [case.name for case in cases if len(set(_hosts(case))) > 1]
    if mixed or (hosts and not frozenset.intersection(*hosts)):
        every = sorted(frozenset.union(*hosts))
        return False, f"hosts are mixed: starts ran on {listed(every, 4)}, and a host's speed cannot be told from a layout's"
    varied = [name for name in ("version", "revision", "driver") if len(_known(cases, name)) > 1]
    if varied:
        return False, f"beside the layout, the {listed(varied)} of the starts varies"
    said = "GPUs, layout and order of the starts vary" if record else "GPUs and layout vary"
    return True, f"{said}; versions, hosts, cards and command lines are in the table of runs and in the traces"


def _known(cases: Sequence[Case], name: str) -> set[str]:
    return {run.attribute(name) for case in cases for run in case.runs} - {"", "unknown"}


def _order(cases: Sequence[Case], record: StudyRecord | None) -> tuple[bool, str]:
    how = "each rank's own clock, compared with rank 0's at start and end; a step lasts from its first rank's start to its last one's end"
    if record is not None:
        return True, f"{how}; the starts ran in random, interleaved order (seed {record.seed})"
    order = sorted((one.run.attribute("started"), place) for place, case in enumerate(cases) for one in case.starts)
    changes = sum(one[1] != other[1] for one, other in pairwise(order))
    if len(cases) > 1 and any(len(case.starts) > 1 for case in cases) and changes < len(cases):
        return False, "the cases ran one after the other, so a drift of the machine looks like scaling; jobs/study.sh interleaves them"
    return True, how
