"""The columns of the tables that `wan_analysis.load` gives: name, dtype, unit and meaning. analysis/data_frames.md lists them.

Names, units and dtypes are stable: a later version may add columns and tables, and CHANGELOG.md names any other change.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from wan_analysis.trace_format import PARTS

#: dtypes of pandas. Text, Int64 and boolean have <NA> where a value is not known, float64 has NaN.
TEXT, INT, FLOAT, BOOL = "string", "Int64", "float64", "bool"


class Column(NamedTuple):
    """One column."""

    name: str
    dtype: str
    unit: str
    meaning: str


_RUN = Column("run", TEXT, "1", "id of the start, the same in all tables")
_GROUP = Column("group", INT, "1", "number of the group of ranks, from 0")
_ITEM = Column("item", INT, "1", "row of the group's items, from 0; <NA>: belongs to no item")
_ITEM_ID = Column("item_id", TEXT, "1", "name of the item")
_WORLD_RANK = Column("world_rank", INT, "1", "rank among all ranks of the start")
_START = Column("start_s", FLOAT, "s", "begin, on the clock of the start's rank 0")
_END = Column("end_s", FLOAT, "s", "end, on the same clock")
_SIZE = (Column("width_pixel", INT, "pixel", "width of the video"), Column("height_pixel", INT, "pixel", "height of the video"),
         Column("frames", INT, "1", "frames of the video"))
_HOST = Column("host", TEXT, "1", "host; in runs that of the first group's leader")
_GPU_MODEL = Column("gpu_model", TEXT, "1", "GPU model; empty on CPUs")
_LAYOUT = Column("layout", TEXT, "1", "how ranks share the work, such as cfg2 x ulysses2")
_PRECISION = Column("precision", TEXT, "1", "bf16, fp16 or fp32")

RUNS = (
    _RUN, Column("label", TEXT, "1", "short name: the ranks, with a letter where several runs have as many"),
    Column("program", TEXT, "1", "wan_batch or wan_bench"), Column("version", TEXT, "1", "version of the program"),
    Column("revision", TEXT, "1", "git revision of its sources"), Column("task", TEXT, "1", "task or model"),
    Column("device", TEXT, "1", "cpu or cuda"), _GPU_MODEL, _HOST, Column("job", TEXT, "1", "Slurm's job; empty without one"),
    Column("started", TEXT, "1", "begin of the start, UTC"), Column("exit_reason", TEXT, "1", "how the run ended; <NA>: it was killed"),
    _LAYOUT, _PRECISION,
    Column("ranks", INT, "1", "ranks of all groups, one for each GPU; on CPUs the processes"),
    Column("groups", INT, "1", "groups of ranks"), Column("groups_traced", INT, "1", "groups whose trace could be read"),
    Column("group_size", INT, "1", "ranks that make one video together"),
    Column("items_done", INT, "1", "finished items of the groups with a trace"),
    Column("items_s", FLOAT, "s", "from the first item's start to the last item's end; wan_bench: of the measured steps"),
    Column("wall_s", FLOAT, "s", "from the end of MPI_Init to the end of the run, of the slowest rank"),
    Column("items_per_hour", FLOAT, "1/h", "finished items over items_s, of the groups with a trace; NaN for wan_bench"),
    Column("rank_s_per_item", FLOAT, "rank-second", "items_s times ranks, over finished items: GPU-seconds on GPUs; NaN for wan_bench"),
    Column("efficiency", FLOAT, "1", "share of the ranks' wall time in which steps computed, 0 to 1: the product of the factors"),
)
ITEMS = (
    _RUN, _GROUP, _ITEM, _ITEM_ID, Column("seed", INT, "1", "seed of the noise"), *_SIZE, Column("steps", INT, "1", "steps of the item"),
    Column("first_step", INT, "1", "steps that were done before"), Column("steps_done", INT, "1", "steps made here"), _LAYOUT,
    Column("outcome", TEXT, "1", "done, drafted, failed, stopped, handed over (to a team, or to the second expert's turn), "
           "or cut off (the trace ends before the item)"),
    Column("done", BOOL, "1", "the item is finished"), _START, _END,
)
STEPS = (
    _RUN, _GROUP, _ITEM, _ITEM_ID, _WORLD_RANK, Column("group_rank", INT, "1", "rank in its group or team"),
    Column("step", INT, "1", "step of the item, from 0"), Column("timestep", FLOAT, "1", "noise level of the step, 1000 to 0"),
    Column("expert", TEXT, "1", "transformer that made the step: high_noise, low_noise or single"),
    Column("warm_up", BOOL, "1", "a step that measures leave out"),
    Column("latent_digest", INT, "1", "digest of the whole latent after the step: equal for equal bits"), _START,
    Column("wall_s", FLOAT, "s", "the step, by the host's clock"),
    *(Column(f"{part}_s", FLOAT, "s", f"time of the part {part}: by the GPU's clock on GPUs, by the host's on CPUs") for part in PARTS),
    Column("sent_bytes", INT, "byte", "bytes that the rank sent to others"),
    Column("vram_allocated_bytes", INT, "byte", "in use by LibTorch's allocator at the end of the step; 0 on CPUs"),
    Column("vram_reserved_bytes", INT, "byte", "held by LibTorch's allocator at the end of the step; 0 on CPUs"),
    Column("vram_peak_bytes", INT, "byte", "most in use by LibTorch's allocator; 0 on CPUs"),
    *_SIZE, _LAYOUT, Column("placement", TEXT, "1", "where the weights lie: whole, sharded over N, offloaded, in turns"), _PRECISION,
    Column("passes", INT, "1", "passes of the transformer in the step: 2 with guidance"),
    Column("guidance", TEXT, "1", "scales of the low-noise and the high-noise expert"), Column("solver", TEXT, "1", "solver"),
    Column("shift", FLOAT, "1", "shift of the schedule"), Column("attention_backend", TEXT, "1", "what computes self-attention"),
    Column("head_chunks", INT, "1", "exchanges into which the heads of a block are divided"),
    Column("ranks", TEXT, "1", "world ranks that make the step together, such as 0,1,2,3"),
    Column("team_width", INT, "1", "groups that make the step together"),
)
PHASES = (
    _RUN, _GROUP, _ITEM, _ITEM_ID, Column("phase", TEXT, "1", "what the rank did; docs/trace.md has a list"), _WORLD_RANK, _START,
    Column("wall_s", FLOAT, "s", "the phase, by the host's clock"), Column("sent_bytes", INT, "byte", "bytes that the rank sent to others"),
    Column("background", BOOL, "1", "made by a thread beside the rank's work; not to be added up"),
    Column("merged_bytes", INT, "byte", "bytes of weights that were written anew with other LoRAs"),
    Column("assumed", BOOL, "1", "follows from other rows; the program did not write it"),
)
SAMPLES = (
    _RUN, _WORLD_RANK, Column("time_s", FLOAT, "s", "moment, on the clock of the start's rank 0"),
    Column("vram_used_bytes", INT, "byte", "memory of the GPU in use by all processes"), Column("power_w", FLOAT, "W", "power of the GPU"),
    Column("temperature_c", FLOAT, "degC", "temperature of the GPU"), Column("sm_clock_mhz", FLOAT, "MHz", "clock of the GPU's processors"),
    Column("throttle_reasons", INT, "1", "bits of NVML's nvmlClocksThrottleReasons; 0: none"),
)
RANKS = (
    _RUN, _GROUP, _WORLD_RANK, Column("group_rank", INT, "1", "rank in its group"), _HOST, _GPU_MODEL,
    Column("gpu_uuid", TEXT, "1", "the GPU's UUID; empty on CPUs"), Column("pci_bus", TEXT, "1", "the GPU's place; empty on CPUs"),
    Column("power_limit_w", FLOAT, "W", "power limit that the driver enforces"),
    Column("numa_node", INT, "1", "of the GPU; on CPUs, of the core where the rank ran at the start"),
    Column("start_s", FLOAT, "s", "end of MPI_Init, on the clock of the start's rank 0"), _END,
)
FACTORS = (
    _RUN, Column("factor", TEXT, "1", "idle, start-up and load, other than steps, load balance, host, serialisation, transfer"),
    Column("value", FLOAT, "1", "0 to 1; 1: nothing is lost; the product of a run's factors is its efficiency"),
    Column("lost_rank_s", FLOAT, "rank-second", "ranks' time that the factor loses: GPU-seconds on GPUs"),
    Column("lost_share", FLOAT, "1", "the same as a share of all ranks' wall time"),
)
TABLES: dict[str, tuple[Column, ...]] = {
    "runs": RUNS, "items": ITEMS, "steps": STEPS, "phases": PHASES, "samples": SAMPLES, "ranks": RANKS, "factors": FACTORS}


def columns() -> pd.DataFrame:
    """Describes every column of every table: `table`, `column`, `dtype`, `unit`, `meaning`. Unit 1: a name, a text or a number."""
    rows = [(table, *column) for table, described in TABLES.items() for column in described]
    return pd.DataFrame(rows, columns=["table", "column", "dtype", "unit", "meaning"])
