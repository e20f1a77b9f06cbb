"""Simulated nights of wan_bench whose truth is known, for the tests of the nightly benchmark."""

import json
from datetime import datetime, timedelta, timezone

import numpy as np

PARTS = {"attention": 0.73, "linear": 0.57, "elementwise": 0.058, "all_to_all": 0.029, "weight_gather": 0.0001, "host_copy": 0.0,
         "wait": 0.0043}
RESULT = {"gpus": 4, "gpu_model": "NVIDIA H200", "model": "i2v-A14B", "size": "832*480", "frame_num": 81, "precision": "bf16",
          "layout": "cfg2 x ulysses2", "head_chunks": [20], "attention": "flashinfer", "s_per_step": 1.4, "step_s": [1.39, 1.4, 1.41],
          "parts_s": PARTS, "text_s": 0.02, "clip_s": None, "vae_encode_s": 0.17, "vae_decode_s": 0.77, "fill_s": 3.0,
          "peak_vram_bytes": 64_000_000_000, "peak_allocated_bytes": 60_000_000_000, "weights_bytes_per_gpu": 57_000_000_000,
          "wire_bytes_per_step": 1_000_000_000, "reference_s": 0.0105, "manifest_s": 30.0}
#: All metrics, the step first.
METRICS = ["s_per_step", *(f"parts_s/{part}" for part, seconds in PARTS.items() if seconds),
           *(name for name in RESULT if name.endswith(("_s", "_bytes", "_bytes_per_gpu", "_bytes_per_step"))
             and isinstance(RESULT[name], (int, float)))]
VALUES = np.array([RESULT["parts_s"][name.removeprefix("parts_s/")] if name.startswith("parts_s/") else RESULT[name] for name in METRICS])
BEGIN = datetime(2026, 9, 1, 2, tzinfo=timezone.utc)


def histories(random, count, noise, nights=60):
    """[histories, metrics, nights]: values in their units, all metrics with a noise of their own."""
    return VALUES[:, None] * np.exp(noise * random.standard_normal((count, len(METRICS), nights)))


def record(values, night, **facts):
    """A line of a history: `values` by METRICS."""
    metrics = dict(zip(METRICS, map(float, values), strict=True))
    parts = {part: metrics.get(f"parts_s/{part}", 0.0) for part in PARTS}
    step_s = metrics["s_per_step"]
    whole = {name: value for name, value in metrics.items() if not name.startswith("parts_s/")}
    return {"time": (BEGIN + timedelta(days=night)).isoformat(), **RESULT, **whole, "step_s": [0.998 * step_s, step_s, 1.003 * step_s],
            "parts_s": parts, **facts}


def ranks(card, host="n1"):
    """The fact that says which card it was."""
    return {"ranks": [{"world_rank": 0, "host": host, "gpu_uuid": card}]}


def write_history(folder, records):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "history.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
