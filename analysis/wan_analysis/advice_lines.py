"""Commands that start a campaign in a layout: sbatch lines of the scripts in slurm/."""

from __future__ import annotations

import math

from wan_analysis.advice import Outcome

#: The time limit is the end of the interval and this much more, rounded up to this many minutes.
_RESERVE, _ROUNDED_MIN = 1.15, 10


def sbatch_line(outcome: Outcome) -> str:
    """The line to type for an outcome; MANIFEST and CKPT stand for the user's own."""
    facts = outcome.facts
    per_node = max(facts.gpus // facts.hosts, 1)
    options = [f"--ntasks-per-node={per_node}"]
    if facts.device != "cpu":
        options.append(f"--gpus-per-node={per_node}")
    options.append(f"--time={_limit(outcome)}")
    if outcome.facts.copies > 1:
        script = "i2v_array.sh"
        options.insert(0, f"--array=0-{facts.copies - 1}")
        if facts.hosts > 1:
            options.insert(1, f"--nodes={facts.hosts}")
    elif facts.hosts > 1:
        script = "i2v_multinode.sh"
        options.insert(0, f"--nodes={facts.hosts}")
    else:
        script = f"i2v_{per_node}gpu.sh" if per_node in (2, 4, 8) else "i2v_2gpu.sh"
    program = [*facts.options, *(["--device", "cpu"] if facts.device == "cpu" else [])]
    return " ".join(["sbatch", *options, f"slurm/{script}", *program, "--ckpt-dir CKPT --output-dir OUT MANIFEST"])


def _limit(outcome: Outcome) -> str:
    """HH:MM:00."""
    seconds = outcome.total_s.high if math.isfinite(outcome.total_s.high) else 1.2 * outcome.total_s.median
    minutes = _ROUNDED_MIN * math.ceil(max(_RESERVE * seconds / 60.0, _ROUNDED_MIN) / _ROUNDED_MIN)
    return f"{minutes // 60:02}:{minutes % 60:02}:00"
