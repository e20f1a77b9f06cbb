"""The answers of a comparison of two sets of starts, held to simulated starts whose truth is known.

500 comparisons of each kind with WAN_NIGHTLY=1, a twentieth by default.
"""

import math
import os

import numpy as np
import pytest
from wan_analysis.student import t_quantile
from wan_analysis.verdicts import AMOUNT, BETTER, EQUAL, RATE, RISK, TIME, UNKNOWN, WORSE, Sample, judge

NIGHTLY = bool(os.environ.get("WAN_NIGHTLY"))
COMPARISONS = 500 if NIGHTLY else 25
#: Metrics that are compared together: like a run's, five of them are those that a user pays for.
METRICS, MAIN = 20, 5


def normal(random, count):
    return random.standard_normal(count)


def skewed(random, count):
    return random.exponential(1.0, count) - 1.0


def two_modes(random, count):
    return np.where(random.random(count) < 0.5, -0.95, 0.95) + 0.3 * random.standard_normal(count)


def starts(random, count, noises, kind=normal, slower=0.0):
    """[metrics, starts]: seconds; `slower` is that of metric 0, the step."""
    factors = np.exp(np.array([noise * kind(random, count) for noise in noises]))
    factors[0] *= 1.0 + slower
    return 5.0 * factors


def compared(base, new, **options):
    return judge([Sample(f"metric {place}", "s", tuple(one), tuple(two), is_main=place < MAIN)
                  for place, (one, two) in enumerate(zip(base, new, strict=True))], **options)


def one(base, new, **options):
    return judge([Sample("step", "s", tuple(base), tuple(new), **options)])[0]


def spread(median, fraction, count=5):
    return median * (1.0 + fraction * np.linspace(-1.0, 1.0, count))


@pytest.mark.parametrize(("probability", "freedom", "table"), [
    (0.975, 8, 2.306), (0.975, 1, 12.706), (0.995, 4, 4.604), (0.9995, 10, 4.587), (0.95, 30, 1.697), (0.975, 1000, 1.962),
    (0.025, 8, -2.306)])
def test_quantiles_are_those_of_printed_tables(probability, freedom, table):
    assert t_quantile(probability, freedom) == pytest.approx(table, abs=5e-4)


@pytest.mark.parametrize(("probability", "freedom"), [(0.0, 5), (1.0, 5), (0.9, 0.5), (math.nan, 5), (0.9, math.nan)])
def test_quantiles_that_do_not_exist_are_refused(probability, freedom):
    with pytest.raises(ValueError, match="there is no quantile"):
        t_quantile(probability, freedom)


@pytest.mark.parametrize(("kind", "count"), [(normal, 5), (skewed, 5), (two_modes, 20)])
def test_equal_sets_raise_few_alarms(kind, count):
    """20 metrics together, noise of each 0.5 to 3 %: at most 7 % of the comparisons have any alarm.

    Five starts of a machine with two modes may by chance all be in one of them, and look like starts with little noise. Such a machine
    needs more starts: 11 % of the comparisons of 5 and 5 have an alarm, 8 % of 10 and 10, 6 % of 20 and 20.
    """
    random = np.random.default_rng(24)
    alarms = 0
    for _ in range(COMPARISONS):
        noises = random.uniform(0.005, 0.03, METRICS)
        verdicts = compared(starts(random, count, noises, kind), starts(random, count, noises, kind))
        assert len(verdicts) == METRICS
        alarms += any(verdict.answer in (WORSE, BETTER) for verdict in verdicts)
    assert alarms / COMPARISONS <= 0.07, alarms


@pytest.mark.parametrize("noise", [0.005, 0.01, 0.02, 0.03])
def test_2_percent_slower_is_found_or_the_missing_runs_find_it(noise):
    random = np.random.default_rng(int(1000 * noise))
    found, later = 0, []
    for _ in range(COMPARISONS):
        noises = [noise, *random.uniform(0.005, 0.03, METRICS - 1)]
        base, new = starts(random, 5, noises), starts(random, 5, noises, slower=0.02)
        verdict = compared(base, new)[0]
        assert verdict.answer != BETTER
        found += verdict.answer == WORSE
        if verdict.answer == UNKNOWN:
            more = verdict.more_runs
            assert verdict.text.startswith(f"cannot tell: {more} more run{'' if more == 1 else 's'} of each")
            base = np.hstack([base, starts(random, more, noises)])
            new = np.hstack([new, starts(random, more, noises, slower=0.02)])
            later.append(compared(base, new)[0].answer == WORSE)
    if noise == 0.005:
        assert found / COMPARISONS >= 0.9, found
    if len(later) >= 10:
        assert np.mean(later) >= 0.8, (len(later), np.mean(later))
    assert found + len(later) == COMPARISONS


@pytest.mark.parametrize("counts", [(5, 5), (3, 2), (6, 12), (20, 3)])
def test_an_interval_holds_the_truth(counts):
    """Each metric by itself, also with other numbers of starts and other noise on the two sides, where Welch's t is an approximation."""
    random = np.random.default_rng(3)
    held, comparisons = 0, 40 * COMPARISONS
    noises = (0.01, 0.01 if counts in ((5, 5), (3, 2)) else 0.02)
    for _ in range(comparisons):
        base, new = (np.exp(noise * normal(random, count)) for noise, count in zip(noises, counts, strict=True))
        verdict = one(base, 1.013 * new)
        held += verdict.low <= 0.013 <= verdict.high
    assert held / comparisons >= 0.93, held / comparisons


def test_the_three_answers():
    slower = one(spread(5.0, 0.001), spread(5.065, 0.001))
    assert (slower.answer, slower.text) == (WORSE, "1.3 % slower (1.2 to 1.4)")
    assert (slower.base, slower.new, slower.base_starts) == (5.0, pytest.approx(5.065), 5)
    faster = one(spread(5.0, 0.001), spread(4.9, 0.001))
    assert (faster.answer, faster.text) == (BETTER, "2.0 % faster (1.9 to 2.1)")
    equal = one(spread(5.0, 0.001), spread(5.01, 0.001))
    assert (equal.answer, equal.text) == (EQUAL, "equal within 1 %")
    unknown = one(spread(5.0, 0.02), spread(5.05, 0.02))
    assert unknown.answer == UNKNOWN
    so_far = f"now {100 * unknown.low:+.1f} to {100 * unknown.high:+.1f} %"
    assert unknown.text == f"cannot tell: {unknown.more_runs} more runs of each ({so_far})"
    assert unknown.more_runs > 10
    assert [verdict.is_regression for verdict in (slower, faster, equal, unknown)] == [True, False, False, False]


@pytest.mark.parametrize(("kind", "factor", "answer", "word"), [
    (TIME, 1.1, WORSE, "slower"), (TIME, 0.9, BETTER, "faster"), (AMOUNT, 1.1, WORSE, "more"), (AMOUNT, 0.9, BETTER, "less"),
    (RATE, 1.1, BETTER, "more"), (RATE, 0.9, WORSE, "fewer")])
def test_what_is_worse_depends_on_the_kind(kind, factor, answer, word):
    verdict = one(spread(5.0, 0.001), spread(5.0 * factor, 0.001), kind=kind)
    assert verdict.answer == answer
    assert f"10.0 % {word} (" in verdict.text


def test_what_matters_can_be_chosen():
    base, new = spread(5.0, 0.001), spread(5.1, 0.001)
    answers = {within: judge([Sample("step", "s", tuple(base), tuple(new))], within)[0].answer for within in (0.01, 0.03)}
    assert answers == {0.01: WORSE, 0.03: EQUAL}
    with pytest.raises(ValueError, match="must be above 0 %, not 0 %"):
        judge([], 0.0)


def test_a_change_below_the_floor_matters_to_nobody():
    floor = {"floor": 0.005}
    assert judge([Sample("part wait", "s", tuple(spread(0.001, 0.1)), tuple(spread(0.004, 0.1)), **floor)]) == []
    grown = one(spread(0.02, 0.001), spread(0.022, 0.001), **floor)
    assert (grown.answer, grown.text) == (EQUAL, "equal within 10.2 %")
    assert one(spread(0.02, 0.001), spread(0.02, 0.001), **floor).text == "equal within 1 %"
    assert one(spread(0.02, 0.001), spread(0.04, 0.001), **floor).answer == WORSE


def test_a_part_that_the_base_does_not_have():
    verdict = one([0.0] * 5, spread(0.2, 0.01), floor=0.005)
    assert verdict.answer == WORSE
    assert verdict.change == pytest.approx(40.0)  # in floors
    assert judge([Sample("part all to all", "s", (0.0,) * 5, (0.0,) * 5)]) == []


def test_values_without_any_spread():
    assert one([30.0] * 5, [30.0] * 5, kind=AMOUNT).answer == EQUAL
    more = one([30.0] * 5, [31.0] * 5, kind=AMOUNT)
    assert (more.answer, more.text) == (WORSE, "3.3 % more (3.3 to 3.3)")


def test_starts_that_differ_widely_have_short_answers():
    verdict = one([1.0, 3.0], [0.1, 5.0])
    assert verdict.text == f"cannot tell: over {verdict.more_runs} more runs of each"
    assert one([1.0, 1.2], [1.0, 1.3]).text.startswith("cannot tell: ")


def test_starts_that_do_not_know_a_metric_do_not_count():
    verdict = one([5.0, math.nan, 5.001, 5.002], [5.0, math.inf, 5.001, 5.002])
    assert (verdict.base_starts, verdict.new_starts, verdict.answer) == (3, 3, EQUAL)
    alone = one([5.0], [5.0, 5.1, 5.2])
    assert (alone.answer, alone.more_runs) == (UNKNOWN, 1)
    assert alone.text == "cannot tell: 1 more run of each"
    assert judge([Sample("energy", "Wh", (math.nan,) * 5, (math.nan,) * 5)]) == []


def test_levels_are_shared_between_the_metrics_that_vary():
    random = np.random.default_rng(1)
    noises = [0.01] * METRICS
    verdicts = compared(starts(random, 5, noises), starts(random, 5, noises))
    assert [1 - verdicts[place].level for place in (0, MAIN)] == pytest.approx([RISK / 2 / MAIN, RISK / 2 / (METRICS - MAIN)])
    assert 1 - one([5.0, 5.1], [5.0, 5.1]).level == pytest.approx(RISK)
    with_memory = judge([Sample("step", "s", (5.0, 5.1), (5.0, 5.1), is_main=True), Sample("memory", "GiB", (3.0,) * 2, (3.0,) * 2)])
    assert 1 - with_memory[0].level == pytest.approx(RISK)
