"""What a trace holds, as src/trace/trace_writer.h of the program defines it."""

from __future__ import annotations

#: Parts of a denoising step, in the order of the trace's columns (enum class Part in include/wan/engine.h).
PARTS = ("attention", "linear", "elementwise", "all_to_all", "weight_gather", "host_copy", "wait")

#: Parts in which a rank talks to other ranks or waits for them.
COMMUNICATION_PARTS = ("all_to_all", "weight_gather", "wait")

#: What of a step no part accounts for: gaps between parts, and the slowest rank's lead over the mean.
REMAINDER = "other"

#: Phases of an item in the order in which they happen.
ITEM_PHASES = ("text", "image", "encode", "denoise", "decode", "write")

#: The phase whose end means that an item's video is there.
LAST_PHASE = "decode"

#: Columns without which a table says nothing, by table. Traces of other versions of the program may have more.
REQUIRED_COLUMNS: dict[str, tuple[str, ...]] = {
    "items": ("id", "width", "height", "frames", "steps"),
    "steps": ("item", "world_rank", "step", "expert", "start_s", "wall_s", "sent_bytes", *(f"wall_{part}_s" for part in PARTS)),
    "phases": ("item", "phase", "start_s", "wall_s"),
    "samples": ("time_s", "rank", "vram_used_bytes"),
}

#: Tables that a trace may lack.
OPTIONAL_TABLES = ("samples",)

#: Root attributes without which a run cannot be placed.
REQUIRED_ATTRIBUTES = ("version", "run", "ranks", "group", "groups")
