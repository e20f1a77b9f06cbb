"""A model of a step's time, fitted to repeated starts: times of layouts that were not measured, with intervals, or the missing run.

`Predictor(starts).predict(layout)` gives a `Prediction` (median step of a new start, and the interval that holds it with 95 %), or a
`Refusal` that names the part which no run determines and the one run that would settle it. A layout that was measured is answered
from its own starts, any other one by the laws of cost_parts.py. The interval holds the noise from start to start, the error of the fit,
and the doubt about the laws; it is one of the step's logarithm, so that it never reaches 0.
`starts_of(rows)` makes the starts of the rows of a step table (`Study.step_tables[n].rows`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from wan_analysis.cost_parts import EVERY_PART, Estimate, Measurements, Start, estimate, like
from wan_analysis.layouts import NODE_GPUS, Division, Layout, divisions, layout_of
from wan_analysis.operations import heads_of
from wan_analysis.step_table import StepRow
from wan_analysis.student import t_quantile
from wan_analysis.texts import listed
from wan_analysis.trace_file import Problem

#: If the model misses its own input by more than this fraction, its predictions are not reliable.
TRUSTED_ERROR = 0.03
#: Two ulysses ranks that lose more of their rate than this fraction have another cause than fewer heads and rows.
MOST_LOSS = 0.15
#: The probability with which an interval holds a new start.
COVERAGE = 0.95
_NORMAL = 1.96
#: A wider interval of the logarithm says nothing more, and its ends would be no numbers.
_MOST_SPREAD = 100.0
#: A prediction is asked to be known to this fraction; nobody makes more starts than this for it.
WANTED_HALF_WIDTH, MOST_STARTS = 0.05, 40

#: Parts that are unknown without a run that has them: name, and what no run had.
_PARTS = {
    "all_to_all": ("all to all", "an exchange between the ranks of a pass"),
    "wait": ("the exchange of the two passes", "the passes of guidance on two ranks"),
    "weight_gather": ("the gather of weights", "sharded weights"),
    "host_copy": ("the copies from the host", "weights in host memory"),
}


def starts_of(rows: Iterable[StepRow], problems: list[Problem] | None = None) -> list[Start]:
    """One start for each row of a step table. A row whose layout is not that of one group becomes a problem.

    The attention kernel must be the same in all: rows with another one than most are left out, too. If a layout ran with several
    numbers of head chunks, the fastest number counts.
    """
    rows, said = list(rows), problems if problems is not None else []
    slower = _slower_chunks(rows)
    said += [Problem(f"run {row.run.name}", f"{row.layout.head_chunks} head chunks are slower than another number: its steps are left out "
                     "of the model") for row in slower]
    rows = [row for row in rows if row not in slower]
    kernels = [row.layout.attention for row in rows]
    usual = max(dict.fromkeys(kernels), key=kernels.count, default=None)
    found = []
    for row in rows:
        if row.layout.attention != usual:
            said.append(Problem(f"run {row.run.name}", f"attention {row.layout.attention}, most runs {usual}: its steps are left out"))
            continue
        try:
            layout = layout_of(row)
        except ValueError as error:
            said.append(Problem("model", str(error)))
            continue
        scale = row.median_s / row.step_s  # the parts are those of the mean step
        found.append(Start(layout, row.median_s, {part: seconds * scale for part, seconds in row.parts_s.items()}, row.run.name,
                           heads_of(row.work.task)))
    return found


def _slower_chunks(rows: Sequence[StepRow]) -> list[StepRow]:
    by_layout: dict[str, dict[int | None, list[StepRow]]] = {}
    for row in rows:
        by_layout.setdefault(str(row.layout), {}).setdefault(row.layout.head_chunks, []).append(row)
    found = []
    for chunks in by_layout.values():
        best = min(chunks, key=lambda one: float(np.median([row.median_s for row in chunks[one]])))
        found += [row for one, of in chunks.items() if one != best for row in of]
    return found


@dataclass(frozen=True)
class Prediction:
    """The median step of a new start. `low_s` and `high_s` hold it with 95 %; NaN: no run was repeated, so nothing is known of noise."""

    layout: Layout
    step_s: float
    low_s: float
    high_s: float
    parts_s: dict[str, float]  #: seconds by part; they add up to `step_s`
    starts: int  #: of this layout, from which it was taken; 0: it was not measured

    @property
    def spread(self) -> float:
        """Half of the interval of the step's natural logarithm."""
        return math.log(self.high_s / self.step_s)

    @property
    def half_width(self) -> float:
        """The farther end's distance from the step, as a fraction of it."""
        return self.high_s / self.step_s - 1.0

    @property
    def is_measured(self) -> bool:
        """Whether the layout was measured."""
        return self.starts > 0


@dataclass(frozen=True)
class Refusal:
    """Why a layout has no prediction: `unknown` names the parts, `missing` is the one run that would settle them."""

    layout: Layout
    unknown: tuple[str, ...]
    reasons: tuple[str, ...]  #: for each of `unknown`
    missing: Layout

    @property
    def command(self) -> str:
        """The missing run."""
        missing, launcher = self.missing, f"mpirun -np {self.missing.gpus} " if self.missing.gpus > 1 else ""
        return f"{launcher}wan_bench {missing.options}"

    @property
    def text(self) -> str:
        """"2 GPUs as ulysses 2: all to all is not known: no run had an exchange ...; run wan_bench on ..."."""
        whole = "; ".join(f"{name} is not known, because {reason}" for name, reason in zip(self.unknown, self.reasons, strict=True))
        return f"{self.layout.short}: {whole}. Run wan_bench on {self.missing.short}: {self.command}"


@dataclass(frozen=True)
class LeftOut:
    """A measured layout, and what the others say of it."""

    measured: Prediction
    predicted: Prediction | Refusal

    @property
    def error(self) -> float:
        """Fraction by which the prediction is too long. NaN if it is refused."""
        return math.nan if isinstance(self.predicted, Refusal) else self.predicted.step_s / self.measured.step_s - 1.0

    @property
    def is_held(self) -> bool:
        """Whether the interval holds the measured step. False if there is none."""
        return not isinstance(self.predicted, Refusal) and self.predicted.low_s <= self.measured.step_s <= self.predicted.high_s


class Predictor:
    """Predicts the step of layouts from starts of the same work. Throws ValueError without a start.

    `heads`: of the model, which the ulysses ranks divide; None: those of the starts' model.
    """

    def __init__(self, starts: Sequence[Start], *, heads: int | None = None, guided: bool = True, node_gpus: int = NODE_GPUS) -> None:
        if not starts:
            raise ValueError("a cost model needs steps whose layout is recorded")
        self.heads, self.guided, self.node_gpus = heads or starts[0].heads, guided, node_gpus
        self.starts = list(starts)
        self._measured = Measurements(starts, self.heads)

    @property
    def layouts(self) -> list[Layout]:
        """The measured layouts, those with the fewest GPUs first."""
        return self._measured.layouts

    def divisions(self, gpus: int) -> list[Division]:
        """The divisions of so many GPUs that wan_batch takes, the largest groups first. Weights lie as in the largest measured layout."""
        largest = self.layouts[-1]
        return divisions(gpus, self.heads, guided=self.guided, sharded=largest.sharded, node_gpus=self.node_gpus)

    def choice(self, gpus: int) -> Division:
        """The largest group of so many GPUs that wan_batch takes. One that spans nodes only if such a group was measured."""
        spans = any(layout.spans for layout in self.layouts)
        return next(way for way in self.divisions(gpus) if spans or not way.layout.spans)

    def predict(self, layout: Layout) -> Prediction | Refusal:
        """The median step of a new start in one layout, with its interval, or the run that is missing."""
        measured = self._measured.starts.get(layout)
        if measured is not None:
            return self._of_own(layout, measured)
        unknown = unknown_parts(layout, self.layouts)
        if unknown:
            return Refusal(layout, *zip(*unknown, strict=True), self._missing(layout))
        found = estimate(self._measured, layout)
        if found.step_s <= 0.0:
            return Refusal(layout, ("the step",), ("by the measured layouts, which contradict one another, it would take no time",), layout)
        return _around(layout, found.step_s, self._spread(found), found.parts_s, 0)

    def leave_one_out(self) -> list[LeftOut]:
        """Each measured layout beside what the other layouts say of it."""
        found = []
        for layout, of_layout in self._measured.starts.items():
            others = [start for start in self.starts if start.layout != layout]
            if others:
                rest = Predictor(others, heads=self.heads, guided=self.guided, node_gpus=self.node_gpus)
                found.append(LeftOut(self._of_own(layout, of_layout), rest.predict(layout)))
        return found

    def largest_from_fewer(self) -> list[LeftOut]:
        """Each layout of the largest measured group beside what the layouts on fewer GPUs say of it. Empty: all are equally large."""
        most = max(layout.gpus for layout in self.layouts)
        fewer = [start for start in self.starts if start.layout.gpus < most]
        if not fewer:
            return []
        rest = Predictor(fewer, heads=self.heads, guided=self.guided, node_gpus=self.node_gpus)
        return [LeftOut(self._of_own(layout, of_layout), rest.predict(layout)) for layout, of_layout in self._measured.starts.items()
                if layout.gpus == most]

    def doubts(self) -> list[str]:
        """Why predictions should not be trusted; empty: nothing speaks against them."""
        found = []
        if len({layout.gpus for layout in self.layouts}) < 2:
            found.append("all runs had the same number of GPUs")
        if not self._measured.freedom:
            found.append("no layout was run twice, so there are no intervals; start each one 5 times")
        for layout, starts in self._measured.starts.items():
            fitted = estimate(self._measured, layout)
            error = fitted.step_s / float(np.mean([start.step_s for start in starts])) - 1.0
            if abs(error) > TRUSTED_ERROR:
                found.append(f"the model misses the measured step of {layout.short} by {100 * error:+.1f} %: do not trust its predictions")
            if abs(fitted.loss) > MOST_LOSS and layout.ulysses > 1:
                found.append(f"2 ulysses ranks would lose {100 * fitted.loss:.0f} % of their rate, which fewer heads and rows do not "
                             "explain: do not trust predictions with other numbers of them")
        missed = [left for left in self.leave_one_out() if isinstance(left.predicted, Prediction) and not left.is_held
                  and not math.isnan(left.predicted.low_s)]
        found += [f"without the runs of {left.measured.layout.short}, the others miss its step by {100 * left.error:+.1f} %, which is "
                  "outside their interval" for left in missed]
        return list(dict.fromkeys(found))

    def _of_own(self, layout: Layout, starts: Sequence[Start]) -> Prediction:
        step_s = float(np.mean([start.step_s for start in starts]))
        parts_s = {part: float(np.mean([start.parts_s.get(part, 0.0) for start in starts])) for part in EVERY_PART}
        spread = self._quantile() * self._step_noise() * math.sqrt(1.0 + 1.0 / len(starts))
        return _around(layout, step_s, spread, parts_s, len(starts))

    def _quantile(self, times: float = 1.0) -> float:
        """The quantile of Student's t with `times` as many starts."""
        freedom = self._measured.freedom and times * len(self.starts) - len(self.layouts)
        return t_quantile((1.0 + COVERAGE) / 2.0, freedom) if freedom else math.nan

    def _step_noise(self) -> float:
        steps = {layout: [start.step_s for start in starts] for layout, starts in self._measured.starts.items()}
        return self._measured.noise(steps, {layout: float(np.mean(of)) for layout, of in steps.items()})

    def _spread(self, found: Estimate, times: float = 1.0) -> float:
        """Half of the interval of the step's logarithm, with `times` as many starts of each layout and the same noise.

        The error of the fit follows from each start's weighted sum of parts; a new start adds its own noise.
        """
        values, scales = {}, {}
        for known, weights in found.weights.items():
            starts = self._measured.starts[known]
            means = [weight * float(np.mean([start.parts_s.get(part, 0.0) for start in starts])) for part, weight in weights.items()]
            scales[known] = max(abs(sum(means)), math.hypot(*means), 1e-9 * found.step_s)
            values[known] = [sum(weight * start.parts_s.get(part, 0.0) for part, weight in weights.items()) for start in starts]
        fit_noise = self._measured.noise(values, scales)
        variance = sum((fit_noise * scales[known]) ** 2 / len(values[known]) for known in values) / times
        variance += (self._step_noise() * found.step_s) ** 2
        return math.hypot(self._quantile(times) * math.sqrt(variance), _NORMAL * found.law_s) / found.step_s

    def starts_needed(self, layout: Layout, half_width: float = WANTED_HALF_WIDTH) -> int | None:
        """Starts of each measured layout with which the interval of a predicted one is as narrow as this, a fraction of the step.

        None: no number up to MOST_STARTS is enough, because new starts differ by more, or the laws are in doubt. Measure the layout.
        """
        found = estimate(self._measured, layout)
        made = len(self.starts) / len(self.layouts)
        for starts in range(math.ceil(made), MOST_STARTS + 1):
            if self._spread(found, starts / made) <= math.log1p(half_width):
                return starts
        return None

    def _missing(self, asked: Layout) -> Layout:
        """The run on the fewest GPUs after which `asked` can be predicted."""
        if asked.spans:
            return asked
        for gpus in range(1, asked.gpus + 1):
            for way in divisions(gpus, self.heads, guided=self.guided)[:2]:
                if way.groups > 1:
                    continue
                for sharded in sorted({False, asked.sharded and gpus > 1}):
                    for offloaded in sorted({False, asked.offloaded}):
                        run = Layout(way.layout.cfg, way.layout.ulysses, sharded, offloaded)
                        if not unknown_parts(asked, [*self.layouts, run]):
                            return run
        return asked


def _around(layout: Layout, step_s: float, spread: float, parts_s: dict[str, float], starts: int) -> Prediction:
    """A step with an interval whose ends are a factor away. A relative error becomes an equal one of the logarithm."""
    factor = math.exp(min(spread, _MOST_SPREAD))
    return Prediction(layout, step_s, step_s / factor, step_s * factor, parts_s, starts)


def unknown_parts(asked: Layout, known: Sequence[Layout]) -> list[tuple[str, str]]:
    """(name, why) of each part of `asked` that runs of the layouts `known` do not determine."""
    found = []
    if asked.spans and not any(layout.spans for layout in known):
        return [("the network between nodes", "no run had a group that spans nodes")]
    needed = {"all_to_all": asked.ulysses > 1, "wait": asked.cfg == 2, "weight_gather": asked.sharded and asked.gpus > 1,
              "host_copy": asked.offloaded}
    for part, is_needed in needed.items():
        if is_needed and not any(like(part, layout, asked) for layout in known):
            name, what = _PARTS[part]
            found.append((name, f"no run had {what}" + (" on several nodes" if asked.spans else "")))
    sizes = sorted({layout.ulysses for layout in known})
    if asked.ulysses not in sizes and len(sizes) < 2:
        had = f"all runs had ulysses {listed([str(size) for size in sizes])}" if sizes else "there is no run"
        found.append(("the rate of attention and linear with fewer heads and rows", had))
    return found
