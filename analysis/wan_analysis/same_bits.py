"""Whether two runs made the same latents to the bit, by the digests of their steps (docs/trace.md, `latent_digest`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from wan_analysis.run import Run
from wan_analysis.texts import plural, printable
from wan_analysis.trace_format import UNKNOWN

#: The values of an item that its latents follow from, as far as a trace tells, with their names in a message.
_VALUES = {"seed": "seed", "width": "width", "height": "height", "frames": "frames", "steps": "steps", "task": "model", "solver": "solver",
           "shift": "shift", "guidance": "guidance", "precision": "precision"}
#: Root attributes that must be equal for the promise of equal bits, with their names in a message.
_PLACES = {"device": "device", "gpu_model": "GPU model", "revision": "revision of the program", "build": "build", "cuda": "version of CUDA",
           "nccl": "version of NCCL", "libtorch": "version of LibTorch", "driver": "driver", "vae_precision": "precision of the VAE"}

EQUAL, DIFFERENT, OTHER_ITEMS, UNKNOWN_BITS = "equal", "different", "other items", "not known"


@dataclass(frozen=True)
class SameBits:
    """The answer. `item` and `step` (counted from 0) are those where the runs first differ; empty and -1 if they do not."""

    answer: str
    text: str
    items: int = 0  #: that both runs made with the same values, with digests
    steps: int = 0  #: of these, that both made
    item: str = ""
    step: int = -1
    places: tuple[str, ...] = ()  #: why bits need not be equal: "GPU model (A and B)"

    def as_json(self) -> dict[str, Any]:
        """For the JSON file of `compare`."""
        texts = {"text": printable(self.text), "item": printable(self.item), "places": [printable(text) for text in self.places]}
        return asdict(self) | texts


def same_bits(base: Sequence[Run], new: Sequence[Run]) -> SameBits:
    """Compares the latents of two sides, item by item in the order of the base, step by step."""
    before, after = _steps_of(base), _steps_of(new)
    if before.empty or after.empty:
        return SameBits(UNKNOWN_BITS, "a trace of an earlier version has no digests of latents")
    places = _other_places(base, new)
    note = f"; they ran with another {' and another '.join(places)}, so bits need not be equal" if places else ""
    shared, others = _shared_items(before, after)
    if not shared:
        return SameBits(OTHER_ITEMS, f"the runs made other items{': ' + others if others else ''}", places=places)
    count, first, equal_before, differing = 0, None, 0, set()
    for item in shared:
        ours, theirs = (_digests(side[side["id"] == item]) for side in (before, after))
        equal = 0
        for step in sorted(ours.keys() & theirs.keys()):
            count += 1
            if ours[step] == theirs[step] and len(ours[step]) == 1:
                equal += 1
                continue
            differing.add(item)
            if first is None:
                first, equal_before = (item, step), equal
    left_out = f"; not compared: {others}" if others else ""
    if count == 0:
        return SameBits(OTHER_ITEMS, f"the runs made no step of an item in common{left_out}", places=places)
    numbers = {"items": len(shared), "steps": count, "places": places}
    if first is None:
        told = f"the latents of {_steps(count)} of {plural(len(shared), 'item')} are equal"
        return SameBits(EQUAL, told + left_out + _aside(places), **numbers)
    item, step = first
    told = (f"item '{item}' differs from step {step} on (steps count from 0; {plural(equal_before, 'earlier step')} equal); "
            f"{len(differing)} of {plural(len(shared), 'item')} differ{'s' if len(differing) == 1 else ''}")
    return SameBits(DIFFERENT, told + left_out + note, item=item, step=step, **numbers)


def _steps(count: int) -> str:
    return "the one step" if count == 1 else f"all {count} steps"


def _aside(places: tuple[str, ...]) -> str:
    return f", although they ran with another {' and another '.join(places)}" if places else ""


def _steps_of(runs: Sequence[Run]) -> pd.DataFrame:
    """One row for each step whose digest is known, with the item's name and values."""
    frames = []
    for run in runs:
        steps = run.rank_steps
        steps = steps[steps["latent_digest"] != UNKNOWN["int"]].drop_duplicates(["group", "item", "step", "latent_digest"])
        items = run.items.set_index(["group", "item"])[["id", "seed", "steps"]].rename(columns={"steps": "item_steps"})
        rows = steps.join(items, on=["group", "item"]).drop(columns="item")
        rows["steps"] = rows.pop("item_steps")
        frames.append(rows.assign(task=run.attribute("task"))[["id", "step", "latent_digest", *_VALUES]])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _digests(rows: pd.DataFrame) -> dict[int, set[int]]:
    """The digests of an item's steps: more than one if it was made several times with other latents."""
    return {int(step): set(map(int, digests)) for step, digests in rows.groupby("step")["latent_digest"]}


def _shared_items(before: pd.DataFrame, after: pd.DataFrame) -> tuple[list[str], str]:
    """The items that both sides made with the same values, and in words which others they made."""
    there = set(after["id"])
    shared, others = [], []
    for item, rows in before.groupby("id", sort=False):
        if item not in there:
            others.append(f"'{item}' is in one run only")
            continue
        pair = (rows, after[after["id"] == item])
        changed = [f"{name} ({' and '.join(texts)})" for column, name in _VALUES.items()
                   if (texts := [", ".join(sorted({str(value) for value in side[column]})) for side in pair])[0] != texts[1]]
        if changed:
            others.append(f"'{item}' has another {', another '.join(changed)}")
        else:
            shared.append(str(item))
    own = set(before["id"])
    others += [f"'{item}' is in one run only" for item in dict.fromkeys(after["id"]) if item not in own]
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return shared, "; ".join(others[:3]) + more


def _other_places(base: Sequence[Run], new: Sequence[Run]) -> tuple[str, ...]:
    """The places' values that differ: "GPU model (NVIDIA H100 and NVIDIA H200)"."""
    found = []
    for attribute, name in _PLACES.items():
        texts = [", ".join(sorted({str(run.attribute(attribute)) for run in side})) for side in (base, new)]
        if texts[0] != texts[1]:
            found.append(f"{name} ({texts[0] or 'none'} and {texts[1] or 'none'})")
    return tuple(found)
