"""Which start of a study comes next: cases in random, interleaved order, until each is known well enough or the budget ends.

Starts are made in rounds. A round holds each open case once, in an order that follows from the seed and the round's number alone, so that
a study that goes on after a kill has the order that it would have had. A case is open until it has enough starts and its interval is
narrow enough, until it has the most starts, or until it has failed too often.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wan_analysis.intervals import Interval, median_interval
from wan_analysis.study_record import StudyCase, StudyRecord
from wan_analysis.texts import plural

#: A case that failed so often without a success is given up; one that also succeeded may fail once more.
MOST_FAILURES = 2
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Schedule:
    """The decisions of a study. `values` has a value (a time or a rate) for each successful start, by case.

    `budget_s` bounds all starts; `session_s` those of this session, which began when `before_s` were spent.
    """

    record: StudyRecord
    values: Mapping[str, Sequence[float]]
    budget_s: float = math.inf
    session_s: float = math.inf
    before_s: float = 0.0

    def interval(self, case: StudyCase) -> Interval:
        """The value of a case."""
        return median_interval(self.values.get(case.name, ()))

    def failures(self, case: StudyCase) -> int:
        """Starts of a case that failed."""
        return sum(start.exit_code != 0 for start in self.record.of_case(case.name))

    def is_given_up(self, case: StudyCase) -> bool:
        """Whether a case failed too often."""
        succeeded = len(self.record.of_case(case.name)) > self.failures(case)
        return self.failures(case) >= MOST_FAILURES + succeeded

    def is_open(self, case: StudyCase) -> bool:
        """Whether a case needs another start."""
        made = self.successes(case)
        if self.is_given_up(case) or made >= self.record.most_starts:
            return False
        if made >= self.record.least_starts and not self.interval(case).n:  # no start left a step or an item: more will not, either
            return False
        return made < self.record.least_starts or not self.interval(case).half_width <= self.record.precision

    def successes(self, case: StudyCase) -> int:
        """Starts of a case that ended well."""
        return len(self.record.of_case(case.name)) - self.failures(case)

    @property
    def spent_s(self) -> float:
        """Seconds of all starts so far."""
        return sum(start.wall_s for start in self.record.starts if math.isfinite(start.wall_s))

    @property
    def end_s(self) -> float:
        """The seconds of all starts after which this session makes no other."""
        return min(self.budget_s, self.before_s + self.session_s)

    def expected_s(self, case: StudyCase) -> float:
        """Seconds of a start of a case. Before one ended well: an upper estimate from the other cases; 0 if none of them ended well."""
        own = self._good_s(case)
        if own:
            return median_interval(own).median
        failed = (start.wall_s for start in self.record.of_case(case.name) if math.isfinite(start.wall_s))
        return max(self._most_s(case), *failed, 0.0)

    def _good_s(self, case: StudyCase) -> list[float]:
        return [start.wall_s for start in self.record.of_case(case.name) if start.exit_code == 0 and math.isfinite(start.wall_s)]

    def _most_s(self, case: StudyCase) -> float:
        """The longest start of the cases with the nearest number of ranks. From there to fewer ranks it may grow by their ratio."""
        found = [(abs(math.log(other.ranks / case.ranks)), max(1.0, other.ranks / case.ranks) * max(good))
                 for other in self.record.cases if (good := self._good_s(other))]
        nearest = min((distance for distance, _ in found), default=0.0)
        return max((most_s for distance, most_s in found if distance == nearest), default=0.0)

    def fits(self, case: StudyCase) -> bool:
        """Whether another start of a case is likely to end in time."""
        return self.spent_s < self.end_s and self.spent_s + self.expected_s(case) <= self.end_s

    def _is_worth_a_try(self, case: StudyCase) -> bool:
        """A case that never ended well may take less than was guessed, so a session may begin with it."""
        return not self._good_s(case) and self.spent_s == self.before_s and self.spent_s + self.expected_s(case) <= self.budget_s

    def next_case(self) -> StudyCase | None:
        """The case of the next start. None: the study has ended, or nothing fits into this session."""
        opened = [case for case in self.record.cases if self.is_open(case)]
        cases = [case for case in opened if self.fits(case)] or [case for case in opened if self._is_worth_a_try(case)]
        if not cases:
            return None
        made = {case.name: len(self.record.of_case(case.name)) for case in cases}
        this_round = min(made.values())
        order = np.random.default_rng([self.record.seed, this_round]).permutation(len(self.record.cases))
        return next(case for case in (self.record.cases[place] for place in order) if made.get(case.name) == this_round)

    def left_out(self) -> list[str]:
        """One sentence for each case of which something is missing."""
        found = []
        for case in self.record.cases:
            made, interval = self.successes(case), self.interval(case)
            wanted = f"{100 * self.record.precision:g} %"
            if self.is_given_up(case):
                last = [start for start in self.record.of_case(case.name) if start.exit_code][-1]
                found.append(f"{case.name}: {plural(self.failures(case), 'start')} failed, the last with exit code {last.exit_code} "
                             f"(its output is in {last.folder}.log)")
            elif made < self.record.least_starts:
                found.append(f"{case.name}: {made} of at least {plural(self.record.least_starts, 'start')}; {self._why()}")
            elif not interval.n:
                found.append(f"{case.name}: none of {plural(made, 'start')} made a step or an item whose time is known")
            elif made == 1 and self.record.most_starts == 1:
                continue  # it was asked for one start
            elif not interval.half_width <= self.record.precision:
                why = f"it has the most starts ({made})" if made >= self.record.most_starts else self._why()
                found.append(f"{case.name}: the interval is ±{100 * interval.half_width:.3g} %, not ±{wanted}; {why}")
        return found

    def _why(self) -> str:
        if math.isfinite(self.end_s):
            return f"the budget of {self.end_s / SECONDS_PER_HOUR:.3g} h ended after {self.spent_s / SECONDS_PER_HOUR:.3g} h"
        return "the study was stopped"
