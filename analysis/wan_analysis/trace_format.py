"""The content of a trace. docs/trace.md lists what each format number holds; the program's src/trace/trace_writer.h writes it."""

from __future__ import annotations

#: The newest format that this package reads. Format 0 has no number; upgrade.py gives it the shape of format 2.
FORMAT = 2

#: Parts of a denoising step, in the order of the trace's columns (enum class Part in include/wan/engine.h).
PARTS = ("attention", "linear", "elementwise", "all_to_all", "weight_gather", "host_copy", "wait")

#: Parts in which a rank communicates with other ranks or waits for them.
COMMUNICATION_PARTS = ("all_to_all", "weight_gather", "wait")

#: The rest of a step, beside its parts: gaps between parts, and the slowest rank's time beyond the mean.
REMAINDER = "other"

#: Phases of an item in the order in which they happen.
ITEM_PHASES = ("text", "image", "encode", "lora", "denoise", "decode", "write")

#: Phases of a run; their rows have item -1.
RUN_PHASES = ("start_up", "load", "join", "idle", "finish")

#: The phase after which an item's video exists. Format 0 has no other sign of it.
LAST_PHASE = "decode"

#: A value that is not known, by kind. It is never 0.
UNKNOWN: dict[str, str | int | float] = {"text": "unknown", "int": -1, "float": float("nan")}

#: The tables of format 2: for each column its kind and its unit ("1": a number, a name or a text).
TABLES: dict[str, dict[str, tuple[str, str]]] = {
    "items": {"id": ("text", "1"), "seed": ("int", "1"), "width": ("int", "pixel"), "height": ("int", "pixel"),
              "frames": ("int", "1"), "steps": ("int", "1"), "layout": ("text", "1")},
    "steps": {"item": ("int", "1"), "stretch": ("int", "1"), "world_rank": ("int", "1"), "group_rank": ("int", "1"),
              "step": ("int", "1"), "timestep": ("float", "1"), "expert": ("text", "1"), "warm_up": ("int", "1"),
              "latent_digest": ("int", "1"), "start_s": ("float", "s"), "wall_s": ("float", "s"),
              **{f"wall_{part}_s": ("float", "s") for part in PARTS}, **{f"gpu_{part}_s": ("float", "s") for part in PARTS},
              "sent_bytes": ("int", "byte"), "vram_allocated_bytes": ("int", "byte"), "vram_reserved_bytes": ("int", "byte"),
              "vram_peak_bytes": ("int", "byte")},
    "phases": {"item": ("int", "1"), "phase": ("text", "1"), "world_rank": ("int", "1"), "start_s": ("float", "s"),
               "wall_s": ("float", "s"), "sent_bytes": ("int", "byte"), "background": ("int", "1"),
               "merged_bytes": ("int", "byte")},
    "samples": {"time_s": ("float", "s"), "rank": ("int", "1"), "vram_used_bytes": ("int", "byte"), "power_w": ("float", "W"),
                "temperature_c": ("float", "degC"), "sm_clock_mhz": ("float", "MHz"), "throttle_reasons": ("int", "1")},
    "stretches": {"item": ("int", "1"), "first_step": ("int", "1"), "team_width": ("int", "1"), "ranks": ("text", "1"),
                  "layout": ("text", "1"), "placement": ("text", "1"), "precision": ("text", "1"), "passes": ("int", "1"),
                  "guidance": ("text", "1"), "solver": ("text", "1"), "shift": ("float", "1"), "attention": ("text", "1"),
                  "head_chunks": ("int", "1"), "start_s": ("float", "s")},
    "item_ends": {"item": ("int", "1"), "time_s": ("float", "s"), "outcome": ("text", "1"), "steps_done": ("int", "1")},
    "ranks": {"world_rank": ("int", "1"), "group_rank": ("int", "1"), "host": ("text", "1"), "gpu_model": ("text", "1"),
              "gpu_uuid": ("text", "1"), "pci_bus": ("text", "1"), "power_limit_w": ("float", "W"), "numa_node": ("int", "1")},
    "clocks": {"world_rank": ("int", "1"), "time_s": ("float", "s"), "offset_s": ("float", "s"), "uncertainty_s": ("float", "s")},
    "drops": {"time_s": ("float", "s"), "table": ("text", "1"), "rows": ("int", "1")},
    "account": {"world_rank": ("int", "1"), "name": ("text", "1"), "calls": ("int", "1"), "wall_s": ("float", "s")},
    "notes": {"kind": ("text", "1"), "text": ("text", "1"), "share": ("float", "1"), "gain": ("float", "1")},
}

#: The columns that a table must have in every format. Another column that is missing holds unknown values.
REQUIRED_COLUMNS: dict[str, tuple[str, ...]] = {
    "items": ("id", "width", "height", "frames", "steps"),
    "steps": ("item", "world_rank", "step", "expert", "start_s", "wall_s", "sent_bytes", *(f"wall_{part}_s" for part in PARTS)),
    "phases": ("item", "phase", "start_s", "wall_s"),
    "samples": ("time_s", "rank", "vram_used_bytes"),
    "stretches": ("item", "first_step", "ranks", "layout"),
    "item_ends": ("item", "time_s", "outcome"),
    "ranks": ("world_rank", "host"),
    "clocks": ("world_rank", "time_s", "offset_s"),
    "drops": ("time_s", "table", "rows"),
    "account": ("world_rank", "name", "wall_s"),
    "notes": ("text", "gain"),
}

#: The tables that a trace of each format must have.
REQUIRED_TABLES: dict[int, tuple[str, ...]] = {
    0: ("items", "steps", "phases"),
    1: ("items", "steps", "phases", "stretches", "item_ends", "ranks", "clocks"),
    2: ("items", "steps", "phases", "stretches", "item_ends", "ranks", "clocks", "account", "notes"),
}

#: The columns of /stretches that describe its steps; each of these is a column of Run.rank_steps. There "attention" is the name of a
#: part, so the name of the kernel is in the column "attention_backend".
STRETCH_COLUMNS = ("layout", "placement", "precision", "passes", "guidance", "solver", "shift", "attention", "head_chunks",
                   "ranks", "team_width")
ATTENTION_BACKEND = "attention_backend"

#: The word for bf16 in results and traces of program versions up to 0.2.0, and the word today.
EARLIER_PRECISION, PRECISION = "exact", "bf16"


def precision_name(name: str) -> str:
    """A precision as it is written today: "bf16" for "exact", any other text unchanged."""
    return PRECISION if name == EARLIER_PRECISION else name


#: The root attributes that a run must have, and the root attributes that must be whole numbers.
REQUIRED_ATTRIBUTES = ("version", "run", "ranks", "group", "groups")
WHOLE_NUMBERS = ("ranks", "group", "groups", "world_ranks", "job_start", "dropped_rows", "format")
