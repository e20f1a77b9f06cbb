"""The content of a trace, as the program's src/trace/trace_writer.h defines it."""

from __future__ import annotations

#: Parts of a denoising step, in the order of the trace's columns (enum class Part in include/wan/engine.h).
PARTS = ("attention", "linear", "elementwise", "all_to_all", "weight_gather", "host_copy", "wait")

#: Parts in which a rank communicates with other ranks or waits for them.
COMMUNICATION_PARTS = ("all_to_all", "weight_gather", "wait")

#: The rest of a step, beside its parts: gaps between parts, and the slowest rank's time beyond the mean.
REMAINDER = "other"

#: Phases of an item in the order in which they happen.
ITEM_PHASES = ("text", "image", "encode", "denoise", "decode", "write")

#: The phase after which an item's video exists.
LAST_PHASE = "decode"

#: The columns that a table must have. Traces of other versions of the program may have more.
REQUIRED_COLUMNS: dict[str, tuple[str, ...]] = {
    "items": ("id", "width", "height", "frames", "steps"),
    "steps": ("item", "world_rank", "step", "expert", "start_s", "wall_s", "sent_bytes", *(f"wall_{part}_s" for part in PARTS)),
    "phases": ("item", "phase", "start_s", "wall_s"),
    "samples": ("time_s", "rank", "vram_used_bytes"),
}

#: Tables that a trace may lack.
OPTIONAL_TABLES = ("samples",)

#: The word for bf16 in results and traces of program versions up to 0.2.0, and the word today.
EARLIER_PRECISION, PRECISION = "exact", "bf16"


def precision_name(name: str) -> str:
    """A precision as it is written today: "bf16" for "exact", any other text unchanged."""
    return PRECISION if name == EARLIER_PRECISION else name


#: The root attributes that a run must have.
REQUIRED_ATTRIBUTES = ("version", "run", "ranks", "group", "groups")
