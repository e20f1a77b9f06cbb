"""Settings that a start's command line names. Traces of format 0 hold no others.

The trace has the arguments joined by blanks. After --prompt or --negative-prompt any word may be part of a text, so the
words behind them are not read. An option that is absent may have been set by a configuration file or chosen by the
program: its value is not known.
"""

from __future__ import annotations

#: The options of wan_batch and wan_bench that matter here, and those whose names begin like one of them.
_NAMES = (
    "attention", "base-seed", "boundary", "cfg-size", "checkpoint-interval", "ckpt-dir", "codec", "collective-timeout", "config",
    "convert-model-dtype", "crf", "device", "dit-fsdp", "dry-run", "fps", "frame-num", "gpu-memory", "gpus", "group-size",
    "head-chunks", "image", "join-groups", "log-level", "manifest", "model", "negative-prompt", "no-resume", "noise-device",
    "objective", "offload-model", "output-dir", "part-times", "plan", "precision", "progress", "prompt", "retry-failed", "run-record",
    "sample-guide-scale", "sample-shift", "sample-solver", "sample-steps", "save-file", "save-latents", "shard", "size", "steps",
    "t5-cpu", "t5-fsdp", "task", "time-limit", "trace", "ulysses-size", "warmup",
)
_FREE_TEXTS = ("prompt", "negative-prompt")
_SWITCHES = {"on": "on", "true": "on", "1": "on", "yes": "on", "off": "off", "false": "off", "0": "off", "no": "off"}


def given_options(command: str) -> dict[str, str]:
    """Option name -> value, as the command line gives it. "" where no value follows."""
    words = command.split()
    given: dict[str, str] = {}
    for place, word in enumerate(words):
        if not word.startswith("--"):
            continue
        written, equals, value = word[2:].partition("=")
        name = _full_name(written)
        if name in _FREE_TEXTS:
            break
        if name is None:
            continue
        if not equals:
            following = words[place + 1] if place + 1 < len(words) else ""
            value = "" if following.startswith("--") else following
        given[name] = value
    return given


def switch(given: dict[str, str], name: str) -> str | None:
    """"on" or "off" if the command line says so. None for "auto" and for an option that is absent."""
    if name not in given:
        return None
    value = given[name].lower()
    # The value of a switch may be left out. The word behind it is then another argument, such as the manifest.
    return _SWITCHES.get(value, None if value == "auto" else "on")


def _full_name(written: str) -> str | None:
    name = written.replace("_", "-")
    if name in _NAMES:
        return name
    found = [known for known in _NAMES if known.startswith(name)] if name else []
    return found[0] if len(found) == 1 else None
