"""Works through the rows of a manifest: what each row needs, its answer, and the cells that it gets."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import answers, system_prompts
from .generator import Sampling, draw_seed
from .journal import Done, Journal, sha256_of
from .manifest import Row
from .problems import RowProblem, TimeUp, one_line
from .system_prompts import SystemPrompts

if TYPE_CHECKING:
    from .generator import Generator

DRAWS = 3
#: The column extend_status begins with one of these.
EXTENDED, KEPT = "extended", "kept"


@dataclass(frozen=True)
class Task:
    """The user's wishes, the same for all rows."""

    model_name: str
    model_sha256: str
    sampling: Sampling
    most_tokens: int
    row_seconds: float
    language: str
    system: SystemPrompts
    seed: int


@dataclass(frozen=True)
class Item:
    """One row and what to do with it."""

    row: Row
    kind: str = ""  #: TEXT, IMAGE or IMAGE_ALONE; "" if there is nothing to do
    content: str = ""  #: prompt and image: what the row's draws depend on
    key: str = ""  #: stands for all that decides the row's text
    is_extended_before: bool = False  #: its cells stay as they are
    problem: str = ""  #: why its prompt stays, before the model is asked

    @property
    def needs_model(self) -> bool:
        """Whether the model has to answer."""
        return bool(self.kind)


class ImageSums:
    """SHA-256 of images by path. Many rows may share an image."""

    def __init__(self) -> None:
        """Knows none."""
        self._sums: dict[Path, str] = {}

    def of(self, path: Path) -> str:
        """Throws RowProblem if the image cannot be read."""
        if path not in self._sums:
            try:
                if path.exists() and not path.is_file():  # reading a device might never end
                    raise RowProblem(f"the image {path} is no regular file")
                self._sums[path] = sha256_of(path)
            except OSError as error:
                raise RowProblem(f"the image {path} cannot be read: {error.strerror}") from error
        return self._sums[path]


def item_of(row: Row, task: Task, sums: ImageSums) -> Item:
    """The work that a row needs."""
    if row.cell("extend_status").startswith(EXTENDED):
        return Item(row, is_extended_before=True)
    if row.error is not None and not row.lacks_only_prompt:
        return Item(row, problem=f"the row has an error: {row.error}")
    if row.lacks_only_prompt and row.image is None:
        return Item(row, problem="the prompt is empty")
    kind = system_prompts.TEXT
    if row.image is not None:
        kind = system_prompts.IMAGE_ALONE if row.lacks_only_prompt else system_prompts.IMAGE
    try:
        content = json.dumps([row.prompt, sums.of(row.image) if row.image is not None else None])
    except RowProblem as problem:
        return Item(row, problem=str(problem))
    parts = [1, content, kind, task.model_sha256, task.sampling.words(), task.most_tokens, task.language, task.system.of(kind), task.seed]
    return Item(row, kind, content, hashlib.sha256(json.dumps(parts).encode()).hexdigest())


def extend(item: Item, task: Task, generator: Generator, count_tokens: Callable[[str], int]) -> Done:
    """Asks the model up to three times. A row that fails keeps its prompt and says why."""
    began = time.monotonic()
    refused: list[str] = []

    def done(prompt: str, status: str, draw: int, *, extended: bool, final: bool = True) -> Done:
        settings = (f"target_lang={task.language} system_prompt={task.system.mark(item.kind)} {task.sampling.at_draw(draw).words()} "
                    f"draw={draw} {generator.settings()}")
        return Done(item.key, prompt, one_line(status), settings, extended, final, item.row.line, round(time.monotonic() - began, 3),
                    tuple(refused))

    reason = ""
    for draw in range(1, DRAWS + 1):
        try:
            answer = generator.answer(task.system.of(item.kind), item.row.prompt, item.row.image, draw=draw,
                                      seed=draw_seed(task.seed, item.content, draw), deadline_s=began + task.row_seconds)
        except TimeUp:
            before = f"; before, {reason}" if reason else ""
            return done(item.row.prompt, f"{KEPT}: not done in {task.row_seconds:g} s{before}", draw, extended=False, final=False)
        except RowProblem as problem:
            return done(item.row.prompt, f"{KEPT}: {problem}", draw, extended=False, final=problem.final)
        found = answers.problem_of(answer, task.language, count_tokens)
        if found is None:
            return done(answer, EXTENDED, draw, extended=True)
        reason = found
        refused.append(answer)
    return done(item.row.prompt, f"{KEPT}: {reason}, in each of {DRAWS} draws", DRAWS, extended=False)


def cells_of(item: Item, task: Task, found: Done | None) -> dict[str, str]:
    """The cells that the row gets. `found`: its result, if it needed the model."""
    if item.is_extended_before:
        return {}
    if found is None:
        return {"extend_status": one_line(f"{KEPT}: {item.problem}")}
    cells = {"original_prompt": item.row.cell("prompt"), "extend_model": task.model_name, "extend_model_sha256": task.model_sha256,
             "extend_settings": found.settings, "extend_seed": str(task.seed), "extend_status": found.status}
    return cells | ({"prompt": found.prompt} if found.extended else {})


def open_items(items: list[Item], done: dict[str, Done]) -> list[Item]:
    """The items that the model still has to answer, each text once."""
    found, keys = [], set()
    for item in items:
        is_done = item.key in done and done[item.key].final
        if item.needs_model and not is_done and item.key not in keys:
            keys.add(item.key)
            found.append(item)
    return found


def work_through(items: list[Item], task: Task, generator: Generator, count_tokens: Callable[[str], int], journal: Journal,
                 say: Callable[[str], None]) -> None:
    """Answers the items and keeps each result at once."""
    for number, item in enumerate(items, 1):
        result = extend(item, task, generator, count_tokens)
        journal.add(result)
        say(f"{number}/{len(items)} line {item.row.line}: {result.status}, {result.seconds:.1f} s")
