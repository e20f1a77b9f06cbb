"""Holds the videos of two runs of wan_batch against each other, item by item: latents, frames, and videos after H.264.

Items are found by their records, OUT/ID.json, and belong together if they have one id. The frames before H.264 and the latents are there
if the runs had `--save-latents`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from wan_analysis.quality_frames import Likeness, likeness, read_video
from wan_analysis.quality_world import Judged, judge_frames


class QualityError(Exception):
    """A run that cannot be read, or two that have nothing in common."""


@dataclass(frozen=True)
class Item:
    """One finished video of a run."""

    name: str
    prompt: str
    video: Path
    latents: Path | None  # a safetensors file with `latent`, `frames`, and `step.N` if every step was kept


@dataclass(frozen=True)
class LatentError:
    """How far a latent of run B is from that of run A."""

    relative: float  # length of the difference over the length of A's latent
    largest: float  # largest absolute difference


@dataclass
class Comparison:
    """One item in both runs. A part that is missing is None, and `notes` say why."""

    name: str
    prompt: str
    frames: Likeness | None = None  # before H.264
    video: Likeness | None = None  # after it
    latent: LatentError | None = None
    steps: list[LatentError] = field(default_factory=list)
    judged: dict[str, Judged] = field(default_factory=dict)  # by run, "a" and "b"; empty if the prompt is not one of the demo's world
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict:
        """The comparison as values of JSON."""
        return asdict(self)

    def worst_psnr_db(self) -> float | None:
        """PSNR of the worst frame, of frames before H.264 if they are there; None if both are equal or nothing was compared."""
        best = self.frames or self.video
        return None if best is None else best.worst_psnr_db

    def is_compared(self) -> bool:
        """Whether any pictures of the two were held against each other."""
        return self.frames is not None or self.video is not None


def read_run(folder: Path) -> dict[str, Item]:
    """The finished items of an output folder, by their ids."""
    if not folder.is_dir():
        raise QualityError(f"{folder}: there is no such folder; name an output folder of wan_batch")
    items = {}
    for path in sorted(folder.glob("*.json")):
        record = _record(path) if path.is_file() else None  # a pipe would wait for ever
        if record is None or record.get("status") != "done":
            continue
        try:
            item = _item(folder, record)
        except (AttributeError, KeyError, TypeError) as error:
            raise QualityError(f"{path}: is no record of wan_batch ({error!r}); move it away") from error
        items[item.name] = item
    if not items:
        raise QualityError(f"{folder}: there is no record of a finished item (ID.json); has wan_batch made a video there?")
    return items


def _item(folder: Path, record: dict) -> Item:
    """Throws KeyError, TypeError or AttributeError if the record is not one of wan_batch, whose files lie beside it."""
    outputs = record["outputs"]
    latents = outputs.get("latents")
    name, prompt = record["id"], record["parameters"]["prompt"]
    files = [outputs["video"]["file"], *([latents["file"]] if latents else [])]
    for text in (name, prompt, *files):
        if not isinstance(text, str):
            raise TypeError(text)
    for file in files:
        if file == ".." or Path(file).name != file:
            raise KeyError(file)
    return Item(name, prompt, folder / files[0], folder / files[1] if latents else None)


def _record(path: Path) -> dict | None:
    """An item's record; None if the file is another one, such as run.json."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise QualityError(f"{path}: cannot be read as a record: {error}") from error
    is_item = isinstance(record, dict) and {"id", "status", "parameters"} <= record.keys()
    return record if is_item else None


def compare_items(a: Item, b: Item) -> Comparison:
    """Everything that both items have."""
    result = Comparison(a.name, a.prompt)
    clips = {name: _video(item, result) for name, item in (("a", a), ("b", b))}
    result.video = _likeness(clips["a"], clips["b"], "videos", result)
    frames = _compare_latents(a, b, result)
    for run, video in clips.items():
        seen = frames.get(run, video)
        judged = None if seen is None else judge_frames(seen, a.prompt)
        if judged is not None:
            result.judged[run] = judged
    return result


def _video(item: Item, result: Comparison) -> np.ndarray | None:
    try:
        return read_video(item.video)
    except (OSError, ValueError) as error:
        result.notes.append(f"{item.video}: {error}")
        return None


def _likeness(a: np.ndarray | None, b: np.ndarray | None, what: str, result: Comparison) -> Likeness | None:
    if a is None or b is None:
        return None
    if a.shape != b.shape:
        shapes = " and ".join(f"{shape[0]} frames of {shape[2]}*{shape[1]}" for shape in (a.shape, b.shape))
        result.notes.append(f"the {what} differ in size: {shapes}")
        return None
    return likeness(a, b)


def _compare_latents(a: Item, b: Item, result: Comparison) -> dict[str, np.ndarray]:
    """Fills in what the latents' files tell; returns the frames before H.264 by run."""
    if a.latents is None or b.latents is None:
        without = " and ".join(run for run, item in (("A", a), ("B", b)) if item.latents is None)
        result.notes.append(f"run {without} has no latents: start wan_batch with --save-latents")
        return {}
    for path in (a.latents, b.latents):
        if not path.is_file():
            result.notes.append(f"{path}: there is no such file")
            return {}
    try:
        with safe_open(a.latents, "np") as one, safe_open(b.latents, "np") as other:
            frames = {"a": one.get_tensor("frames"), "b": other.get_tensor("frames")}
            result.frames = _likeness(frames["a"], frames["b"], "frames", result)
            result.latent = _latent_error(one.get_tensor("latent"), other.get_tensor("latent"), result)
            steps = sorted(set(one.keys()) & set(other.keys()) - {"frames", "latent"}, key=lambda name: int(name.removeprefix("step.")))
            for name in steps:
                error = _latent_error(one.get_tensor(name), other.get_tensor(name), result)
                if error is not None:
                    result.steps.append(error)
            return frames
    except (OSError, ValueError, SafetensorError) as error:
        result.notes.append(f"{a.latents} or {b.latents}: {error}")
        return {}


def _latent_error(a: np.ndarray, b: np.ndarray, result: Comparison) -> LatentError | None:
    if a.shape != b.shape:
        result.notes.append(f"the latents differ in shape: {list(a.shape)} and {list(b.shape)}")
        return None
    difference = b.astype(np.float64) - a
    length = np.linalg.norm(a.astype(np.float64))
    return LatentError(float(np.linalg.norm(difference) / length) if length else 0.0, float(np.abs(difference).max()))


@dataclass
class Quality:
    """Two runs, or the same run twice if there is only one to judge."""

    a: Path
    b: Path
    items: list[Comparison]
    only_in_a: list[str]
    only_in_b: list[str]

    def score(self, run: str) -> dict | None:
        """Shares of the judged clips of run "a" or "b" with the right motion and colour; None if no prompt is of the demo's world."""
        judged = [item.judged[run] for item in self.items if run in item.judged]
        if not judged:
            return None
        by_motion: dict[str, list[bool]] = {}
        for clip in judged:
            by_motion.setdefault(clip.asked, []).append(clip.follows)
        return {
            "clips": len(judged),
            "motion": sum(clip.follows for clip in judged) / len(judged),
            "colour": sum(clip.colour_kept for clip in judged) / len(judged),
            "by_motion": {name: {"right": sum(found), "asked": len(found)} for name, found in sorted(by_motion.items())},
        }

    def worst_psnr_db(self) -> float | None:
        """The smallest PSNR of any frame; None if no frame differs."""
        found = [value for item in self.items if (value := item.worst_psnr_db()) is not None]
        return min(found) if found else None

    def as_json(self) -> dict:
        """All of it as values of JSON; null stands for the PSNR of equal frames, which is infinite."""
        return {
            "format": 1, "a": str(self.a), "b": str(self.b), "worst_psnr_db": self.worst_psnr_db(),
            "score": {run: self.score(run) for run in ("a", "b")}, "only_in_a": self.only_in_a, "only_in_b": self.only_in_b,
            "items": [item.as_json() for item in self.items],
        }


def compare_folders(a: Path, b: Path) -> Quality:
    """Compares every item that both output folders have."""
    one, other = read_run(a), read_run(b)
    common = [name for name in one if name in other]
    if not common:
        raise QualityError(f"{a} and {b} have no item in common: ids come from image, prompt and line of the manifest, "
                           "so make both runs from one manifest")
    items = [compare_items(one[name], other[name]) for name in common]
    return Quality(a, b, items, sorted(one.keys() - other.keys()), sorted(other.keys() - one.keys()))
