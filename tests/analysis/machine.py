"""A machine that makes the starts of a scaling study, described by its cards, kernels and links, and not by the model's formulas.

A rank computes its rows and heads, at a rate that may fall with fewer rows. Its card has a speed of its own in each start, and the
whole start has one. Ranks meet at the exchanges, so that all wait for the slowest. A link has a latency and a bandwidth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from wan_analysis.cost_parts import Start
from wan_analysis.layouts import Layout
from wan_analysis.operations import A14B

PASSES, BLOCKS = 2, 40
#: Seconds of both passes on one card, about an H200 at 480p, and the share of a pass's block 0 that does not depend on the text.
SECONDS = {"attention": 2.84, "linear": 2.18, "elementwise": 0.171}
SHARED_OF_BLOCK = 0.7
#: An exchange moves four tensors of all tokens in each block; a gather brings all weights.
EXCHANGED_BYTES, WEIGHT_BYTES = 4 * BLOCKS * 32760 * 5120 * 2, 28e9
BYTES_PER_S, LATENCY_S, HIDDEN = 360e9, 20e-6, 0.7
CARDS, JITTER = 0.003, 0.001  #: standard deviations of the cards of a start, and of steps


def after_each_halving(rows: float, loss: float) -> float:
    return (1.0 - loss) ** np.log2(1.0 / rows)


def mostly_at_first(rows: float, loss: float) -> float:
    return 1.0 - 2.0 * loss * (1.0 - rows)


def a_constant_per_kernel(rows: float, loss: float) -> float:
    constant = loss / (1.0 - 2.0 * loss)  # so that half of the rows have the rate 1 - loss
    return (1.0 + constant) * rows / (rows + constant)


#: The rate on a share of the rows, over the rate on all of them; with half of the rows it is 1 - loss.
RATES = (after_each_halving, mostly_at_first, a_constant_per_kernel)


@dataclass
class Machine:
    """Cards of one kind. `losses`: of the rate of attention and linear on half of the rows, as fractions."""

    random: np.random.Generator
    noise: float  #: of a whole start, as a fraction
    losses: dict[str, float] = field(default_factory=dict)
    rate: object = after_each_halving
    steps: int = 5

    def start(self, layout: Layout) -> Start:
        """One start of `steps` steps."""
        cards = np.exp(self.noise * self.random.standard_normal() + CARDS * self.random.standard_normal(layout.gpus))
        steps = [self._step(layout, cards) for _ in range(self.steps)]
        totals = [sum(parts.values()) for parts in steps]
        median, mean = float(np.median(totals)), float(np.mean(totals))
        return Start(layout, median, {part: float(np.mean([parts[part] for parts in steps])) * median / mean for part in steps[0]})

    def starts(self, layout: Layout, count: int = 5) -> list[Start]:
        """Several starts."""
        return [self.start(layout) for _ in range(count)]

    def _step(self, layout: Layout, cards: np.ndarray) -> dict[str, float]:
        rows = 1.0 / layout.ulysses
        work = {part: seconds * rows / layout.cfg / self.rate(rows, self.losses.get(part, 0.0)) for part, seconds in SECONDS.items()}
        work["attention"] *= layout.uneven(A14B.heads)
        if layout.cfg == 1:  # the second pass takes the beginning of block 0 from the first
            work = {part: seconds * (1.0 - SHARED_OF_BLOCK / PASSES / BLOCKS) for part, seconds in work.items()}
        slow = cards * np.exp(JITTER * self.random.standard_normal(layout.gpus))
        computing = sum(work.values()) * slow
        late = float(computing.max() - computing.mean())
        parts = {part: seconds * float(slow.mean()) for part, seconds in work.items()}
        transfer = 0.0
        if layout.ulysses > 1:
            calls = 4 * BLOCKS * PASSES / layout.cfg
            sent = EXCHANGED_BYTES * PASSES / layout.cfg * (layout.ulysses - 1) / layout.ulysses**2 * layout.uneven(A14B.heads)
            transfer = (1.0 - HIDDEN) * (sent / BYTES_PER_S + calls * LATENCY_S)
        parts["all_to_all"] = transfer + late if layout.ulysses > 1 else 0.0
        parts["weight_gather"] = 0.1 * WEIGHT_BYTES / BYTES_PER_S * (layout.gpus - 1) / layout.gpus if layout.sharded else 0.0
        parts["host_copy"] = 0.0
        parts["wait"] = (0.004 + (late if layout.ulysses == 1 else 0.0)) if layout.cfg == 2 else 0.0
        parts["other"] = 0.006
        return parts


def drawn(random: np.random.Generator, noise: float, *, falls: bool) -> Machine:
    """A machine whose rates fall by up to 4 % on half of the rows, or not."""
    losses = {part: float(random.uniform(0.0, 0.04)) for part in ("attention", "linear")} if falls else {}
    return Machine(random, noise, losses, RATES[int(random.integers(len(RATES)))])
