#!/usr/bin/env python3
"""Checks .github and .pre-commit-config.yaml as far as that can be done without GitHub.

Each file can be parsed. Each job has a time limit, the workflow may only read, actions of others are pinned to a major version, and the
project's scripts, actions and presets that a step names are there.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT = re.compile(r"(?:^|[\s(])((?:\.ci|jobs|tests)/[\w./-]+)")


def missing_scripts(command: str) -> Iterator[str]:
    """The project's scripts that a command names and that cannot be started."""
    for name in SCRIPT.findall(command):
        if not os.access(PROJECT / name, os.X_OK):
            yield f"'{name}' is not an executable file of the project"


def check_step(step: dict) -> Iterator[str]:
    """The problems of a step of a job or action."""
    yield from missing_scripts(step.get("run", ""))
    action = step.get("uses", "")
    if action.startswith("./"):
        if not (PROJECT / action / "action.yml").is_file():
            yield f"there is no action '{action}'"
    elif action and not re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action):
        yield f"'{action}' is not pinned to a major version, as in actions/checkout@v6"


def check_workflow(workflow: dict) -> Iterator[str]:
    """The problems of a workflow."""
    if workflow.get("permissions") != {"contents": "read"}:
        yield "the workflow's permissions are not 'contents: read'"
    for name, job in workflow["jobs"].items():
        if not 0 < job.get("timeout-minutes", 0) <= 120:
            yield f"job '{name}' has no timeout-minutes of at most 120"
        for step in job["steps"]:
            yield from (f"job '{name}': {finding}" for finding in check_step(step))


def check(path: Path) -> list[str]:
    """The problems of a file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        return [str(error)]
    if path.parent.name == "workflows":
        return list(check_workflow(content))
    if path.name == "action.yml":
        return [finding for step in content["runs"]["steps"] for finding in check_step(step)]
    return [finding for repo in content["repos"] for hook in repo["hooks"] for finding in missing_scripts(hook["entry"])]


def main() -> int:
    """Checks all files."""
    paths = [PROJECT / ".pre-commit-config.yaml", *PROJECT.glob(".github/workflows/*"), *PROJECT.glob(".github/actions/*/*")]
    wrong = [f"{path.relative_to(PROJECT)}: {finding}" for path in paths for finding in check(path)]
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{len(paths)} files, {len(wrong)} findings")
    return 1 if wrong or len(paths) < 3 else 0


if __name__ == "__main__":
    sys.exit(main())
