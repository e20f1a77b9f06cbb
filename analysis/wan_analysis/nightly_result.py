"""The JSON line of a benchmark: what must be in it, what cannot be true, and its metrics.

A result that fails here is never a night of the history, because later nights would be compared with it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from wan_analysis.operations import step_flop
from wan_analysis.texts import listed, printable
from wan_analysis.trace_format import PARTS, precision_name


class NightlyError(Exception):
    """The benchmark did not run, or its result cannot be true. The message is complete."""


MAIN = "s_per_step"
PART = "parts_s/"
REFERENCE = "reference_s"
#: Seconds of a whole run of wan_batch. It is left out where no such run was asked for.
MANIFEST = "manifest_s"
#: Text fields that say which work was measured.
_WORK_TEXTS = ("gpu_model", "model", "size", "precision", "layout")
#: Fields that are neither metrics nor needed: their content is only stored.
_OTHER_FIELDS = ("head_chunks", "attention", "step_s", "parts_s", "trace_cost", "ranks", "arguments", "gpus", "frame_num")
#: Each step must have these parts, whatever the layout is.
_ALWAYS = ("attention", "linear", "elementwise")
#: Units by the end of a metric's name.
_UNITS = (("_s", "s"), ("_bytes", "byte"), ("_bytes_per_gpu", "byte"), ("_bytes_per_step", "byte"))
#: Sum of the parts over the step: the rest is gaps between kernels, which a slow host may widen.
_LEAST_PARTS, _MOST_PARTS = 0.7, 1.1
#: No night is so many times faster or slower than the ones before, or takes so many times the memory.
MOST_RATIO = 20.0
#: More floating-point operations a second than any GPU makes of bf16.
_MOST_FLOPS = 5e15
#: Options of wan_bench that are in the key by another field, or change nothing that is measured.
_KNOWN_OPTIONS = ("model", "size", "frame-num", "steps", "warmup", "precision", "attention", "trace", "trace-cost", "log-level", "config")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise NightlyError(f"the result has {listed([repr(printable(name, 60)) for name in twice])} more than once")
    return dict(pairs)


def _no_constant(text: str) -> float:
    raise NightlyError(f"the result holds {text}, which is no measurement")


def parse_result(line: str) -> dict[str, Any]:
    """The object of a line of JSON. Throws NightlyError."""
    try:
        result = json.loads(line, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise NightlyError(f"the last line of the benchmark's output is no JSON: {printable(line, 80)!r} ({error.msg})") from error
    except (RecursionError, ValueError) as error:
        raise NightlyError(f"the last line of the benchmark's output cannot be read as JSON ({type(error).__name__})") from error
    if not isinstance(result, dict):
        raise NightlyError(f"the last line of the benchmark's output is no JSON object: {printable(line, 80)!r}")
    return result


def _amount(name: str, value: object, *, zero: bool = False) -> float:
    """A measured value. Throws NightlyError unless it is a finite number above 0, or 0 where that may be."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        kind = "nothing (null)" if value is None else f"{type(value).__name__} {printable(json.dumps(value), 60)}"
        raise NightlyError(f"'{name}' must be a number and is {kind}")
    try:
        amount = float(value)
    except OverflowError:
        amount = math.inf
    if not math.isfinite(amount):
        raise NightlyError(f"'{name}' is not finite")
    if amount < 0.0 or (amount == 0.0 and not zero):
        raise NightlyError(f"'{name}' is {amount:g}: it must be {'at least' if zero else 'more than'} 0")
    return amount


def unit_of(name: str) -> str | None:
    """The unit that the end of a name says, or None."""
    if name.startswith(PART) or name == MAIN:
        return "s"
    return next((unit for ending, unit in _UNITS if name.endswith(ending)), None)


def metrics_of(result: Mapping[str, Any]) -> dict[str, float]:
    """Metric -> value of a checked result, the step first: parts, other stages, memory. A value of 0 is not measured here."""
    metrics = {MAIN: float(result[MAIN])}
    metrics.update({f"{PART}{part}": float(seconds) for part, seconds in (result.get("parts_s") or {}).items() if seconds is not None})
    for name, value in result.items():
        if name != MAIN and unit_of(name) and isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            metrics[name] = float(value)
    return metrics


def check_result(result: Mapping[str, Any]) -> None:
    """Throws NightlyError with the reason if the result lacks something, or if it cannot be true."""
    missing = [name for name in ("gpus", "frame_num", *_WORK_TEXTS, MAIN, "parts_s") if name not in result]
    if missing:
        raise NightlyError(f"the benchmark's last line lacks {listed([repr(name) for name in missing], 9)}")
    for name in _WORK_TEXTS:
        if not isinstance(result[name], str) or not result[name]:
            raise NightlyError(f"'{name}' must be a text that is not empty")
    for name in ("gpus", "frame_num"):
        if isinstance(result[name], bool) or not isinstance(result[name], int) or result[name] < 1:
            raise NightlyError(f"'{name}' must be a whole number from 1 on and is {printable(json.dumps(result[name]), 60)}")
    step_s = _amount(MAIN, result[MAIN])
    mean_s = _check_steps(result, step_s)
    _check_parts(result["parts_s"], step_s, mean_s)
    for name, value in result.items():
        if name not in _OTHER_FIELDS and name not in _WORK_TEXTS and name != MAIN:
            _check_field(name, value)
    _check_speed(result, step_s)


def _check_field(name: str, value: object) -> None:
    if isinstance(value, dict) and "unit" in value:
        raise NightlyError(f"'{printable(name, 60)}' has the unit {printable(json.dumps(value['unit']), 40)}; a metric is a number "
                           "whose name ends with _s or _bytes")
    if unit_of(name) is not None:
        if value is not None:  # null: this model has no such stage
            _amount(name, value, zero=name.endswith(("_bytes", "_bytes_per_gpu", "_bytes_per_step")))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        raise NightlyError(f"the unit of '{printable(name, 60)}' is unknown: the name of a metric ends with _s or _bytes")


def _check_steps(result: Mapping[str, Any], step_s: float) -> float:
    """The mean of the steps, which are held to their median."""
    steps = result.get("step_s")
    if steps is None:
        return step_s
    if not isinstance(steps, list) or not steps:
        raise NightlyError("'step_s' must be a list of at least one number")
    times = sorted(_amount("step_s", value) for value in steps)
    middle = times[len(times) // 2]
    if not 0.5 < step_s / middle < 2.0:
        raise NightlyError(f"'{MAIN}' is {step_s:g}, which is not the median of 'step_s' ({middle:g})")
    return sum(times) / len(times)


def _check_parts(parts: object, step_s: float, mean_s: float) -> None:
    if not isinstance(parts, dict) or not parts:
        raise NightlyError("'parts_s' holds no parts: run wan_bench with --part-times on")
    missing = [part for part in _ALWAYS if part not in parts]
    if missing:
        raise NightlyError(f"'parts_s' lacks {listed(missing)}")
    unknown = [printable(part, 40) for part in parts if part not in PARTS]
    if unknown:
        raise NightlyError(f"'parts_s' holds {listed(unknown)}, which is no part of a step")
    whole = sum(_amount(f"parts_s/{part}", seconds, zero=part not in _ALWAYS) for part, seconds in parts.items())
    # Parts are means over the steps. One slow step moves them, and not the median.
    if not any(_LEAST_PARTS * time <= whole <= _MOST_PARTS * time for time in (step_s, mean_s)):
        raise NightlyError(f"the parts add up to {whole:.4g} s, {100 * whole / step_s:.3g} % of the step's {step_s:.4g} s")


def _check_speed(result: Mapping[str, Any], step_s: float) -> None:
    """A model of 14B parameters cannot be faster than its operations allow."""
    size = re.fullmatch(r"(\d{1,5})\*(\d{1,5})", result["size"])
    if not size or result["gpu_model"].lower() == "cpu" or "A14B" not in result["model"]:
        return
    operations = step_flop(int(size[1]), int(size[2]), result["frame_num"], passes=2)
    if operations / step_s / result["gpus"] > _MOST_FLOPS:
        raise NightlyError(f"a step in {step_s:.3g} s is impossible: it would take {operations / step_s / result['gpus'] / 1e12:,.0f} "
                           "TFLOP/s of each GPU")


def check_against(result: Mapping[str, Any], before: Mapping[str, float]) -> None:
    """Throws NightlyError if the result lacks a metric of `before` (metric -> usual value), or differs from it beyond all reason."""
    metrics = metrics_of(result)
    missing = [name for name in before if name not in metrics]
    if missing:
        raise NightlyError(f"the result lacks {listed([repr(name) for name in missing], 9)}, which the nights before have")
    for name, usual in before.items():
        if name.startswith(PART) or not usual > 0:
            continue
        ratio = metrics[name] / usual
        if not 1 / MOST_RATIO < ratio < MOST_RATIO:
            way = f"{1 / ratio:,.0f} times less" if ratio < 1 else f"{ratio:,.0f} times more"
            raise NightlyError(f"'{name}' is {metrics[name]:.4g}, {way} than before ({usual:.4g}): a wrong unit, "
                               "other work, or wrong nights before?")


def benchmark_key(result: Mapping[str, Any]) -> str:
    """A key that two nights share if they can be compared: GPU model and count, model, size, layout and options."""
    words = [f"{result.get('gpus', '')} x {result.get('gpu_model', '')}", f"{result.get('model', '')} {result.get('size', '')} "
             f"{result.get('frame_num', '')} frames", precision_name(result.get("precision", "")), str(result.get("layout", ""))]
    words += [f"attention {result['attention']}"] if result.get("attention") else []
    if isinstance(result.get("head_chunks"), list) and result["head_chunks"]:
        words.append("head chunks " + "+".join(str(heads) for heads in result["head_chunks"]))
    options = _other_options(result.get("arguments"))
    return printable(", ".join(words + options))


def _other_options(arguments: object) -> list[str]:
    """Options of the command line that no other field holds, in alphabetical order."""
    if not isinstance(arguments, list):
        return []
    found: list[str] = []
    for word in map(str, arguments):
        if word.startswith("--"):
            found.append(word.replace("=", " ", 1))
        elif found and " " not in found[-1]:
            found[-1] += f" {word}"
    return sorted(word for word in found if word.split(" ")[0][2:] not in _KNOWN_OPTIONS)

