#!/usr/bin/env python3
"""Checks the run configurations of jobs/configs/: runs the plan that each file's head names, and compares its figures with the head.

    WAN_BATCH=build/bin/wan_batch tests/configs/check_configs.py            # check: exit code 1 if a file disagrees
    WAN_BATCH=build/bin/wan_batch tests/configs/check_configs.py --update   # write the plan's figures into the heads

A head has one line "# Plan: build/bin/wan_batch --plan ...". The figures follow it.
"""

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CONFIGS = PROJECT / "jobs" / "configs"
EXPECTED = {f"{size}_{gpus}gpu.cfg" for size in ("480p", "720p") for gpus in (1, 2, 4, 8)} | {"draft.cfg", "best.cfg"}
FIGURES = ("GPUs", "Memory per GPU", "With less memory", "Time per video")


class ConfigError(Exception):
    """A configuration that is not as this check needs it. The text names the file."""


def plan_command(path: Path) -> list[str]:
    """The command of the head's line "# Plan:", as words. Raises ConfigError unless it is a plan for this very file."""
    name = path.relative_to(PROJECT).as_posix()
    lines = re.findall(r"^# Plan: (.*)$", path.read_text(), re.MULTILINE)
    if len(lines) != 1:
        raise ConfigError(f"{name}: the head has {len(lines)} lines '# Plan: COMMAND'; it needs one")
    words = shlex.split(lines[0])
    if words[:4] != ["build/bin/wan_batch", "--plan", "--config", name]:
        raise ConfigError(f"{name}: the plan begins with '{' '.join(words[:4])}'; write build/bin/wan_batch --plan --config {name}")
    return words


def run_plan(path: Path, words: list[str]) -> str:
    """The plan that wan_batch prints. Raises ConfigError with its message if it refuses the file."""
    done = subprocess.run([os.environ["WAN_BATCH"], *words[1:]], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise ConfigError(f"{path.relative_to(PROJECT)}: wan_batch --plan ends with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def found(pattern: str, text: str) -> tuple[str, ...]:
    """The groups of the first match. Raises ConfigError if the plan has no such line."""
    match = re.search(pattern, text, re.MULTILINE)
    if not match:
        raise ConfigError(f"the plan has no line like '{pattern}'; adapt tests/configs/check_configs.py to the plan")
    return match.groups()


def figures(plan: str) -> dict[str, str]:
    """The plan's answer as the head's lines: GPUs, memory, leaner placements of the same layout, time."""
    ranks, _, group = found(r"^ranks +(\d+) in (\d+) groups? of (\d+)", plan)
    (layout,) = found(r"^layout +([^;]+);", plan)
    (memory,) = found(r"^  at most together +(.+)$", plan)
    found(r"^  fits into (.+)$", plan)
    (gpu,) = found(r"^expected time of such an item, with one (\S+) per rank", plan)
    steps, step_s = found(r"^  denoise: (\d+) steps of (\S+) s", plan)
    (item_s,) = found(r"^  together +(\S+) s", plan)
    leaner = []
    for row in re.findall(rf"^  {group} +{re.escape(layout)}  +(\S.*)$", plan, re.MULTILINE):
        weights, per_rank = re.split(r"  +", row)[:2]
        if weights != "whole":
            leaner.append(f"{per_rank} ({weights})")
    return {
        "GPUs": ranks,
        "Memory per GPU": memory,
        "With less memory": "wan_batch places the weights otherwise: " + ", ".join(leaner),
        "Time per video": f"{item_s} s expected on {gpu}s, with {steps} steps of {step_s} s each; without reading the checkpoint",
    }


def written(path: Path) -> dict[str, str]:
    """The figures in the head."""
    return dict(re.findall(rf"^# ({'|'.join(FIGURES)}): +(.+)$", path.read_text(), re.MULTILINE))


def update(path: Path, plan: dict[str, str]) -> None:
    """Replaces the figures in the head by the plan's, behind its line "# Plan:"."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith(tuple(f"# {name}:" for name in FIGURES))]
    at = next(i for i, line in enumerate(lines) if line.startswith("# Plan: ")) + 1
    lines[at:at] = [f"# {name + ':':<17} {value}" for name, value in plan.items()]
    path.write_text("\n".join(lines) + "\n")


def check(path: Path) -> list[str]:
    """The problems of a configuration, each with its remedy."""
    name = path.relative_to(PROJECT)
    try:
        words = plan_command(path)
        plan = figures(run_plan(path, words))
    except ConfigError as error:
        return [str(error)]
    if "--update" in sys.argv:
        update(path, plan)
        return []
    head = written(path)
    return [f"{name}: '{key}' is '{head.get(key)}' in the head and '{plan[key]}' in the plan; run tests/configs/check_configs.py --update"
            for key in FIGURES if head.get(key) != plan[key]]


def main() -> int:
    """Checks all files, two at a time."""
    paths = sorted(CONFIGS.glob("*"))
    wrong = [f"jobs/configs: {name} is {'missing' if name in EXPECTED else 'not known to this check; add it to EXPECTED'}"
             for name in sorted(EXPECTED ^ {path.name for path in paths})]
    with ThreadPoolExecutor(max_workers=2) as pool:
        for result in pool.map(check, [path for path in paths if path.name in EXPECTED]):
            wrong += result
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(paths)} configurations, {len(wrong)} findings")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
