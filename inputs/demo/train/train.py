#!/usr/bin/env python3
"""Trains the demo's checkpoint from nothing: autoencoder, text encoder, then the two experts. README.md beside this file explains it.

    .venv/bin/python inputs/demo/train/train.py FOLDER [--minutes 8] [--smoke]

FOLDER gets the state, the log and, in the end, the checkpoint. A run that is stopped, by --minutes or otherwise, goes on when it is
started again, to the same bits on the same machine. Exit codes: 0 the checkpoint is done, 85 the time is over and the same command
goes on.
"""

import argparse
import os
import sys
from pathlib import Path

import torch

import autoencoder
import experts
import language
import latents
from layout import write_checkpoint
from plan import DEMO, SMOKE, Plan, changed
from sample import score
from trainer import Clock, Log, OutOfTime
from words import Words, make_tokenizer

OUT_OF_TIME = 85


def parse_options(arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trains the demo's checkpoint.")
    parser.add_argument("folder", type=Path, help="for the state, the log and the checkpoint")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after about so long (default: %(default)s)")
    parser.add_argument("--steps-per-piece", type=int, default=1_000_000_000, metavar="N", help="stop after N steps (default: none)")
    parser.add_argument("--smoke", action="store_true", help="a tiny training that shows that all stages work")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change the plan, such as expert.steps=4000")
    parser.add_argument("--clips-judged", type=int, default=288, metavar="N", help="unseen clips for the score in the log; 0: none")
    parser.add_argument("--compile", action="store_true", help="compile the experts' blocks: faster after half a minute")
    options = parser.parse_args(arguments)
    try:
        options.plan = changed(SMOKE if options.smoke else DEMO, options.set)
    except ValueError as error:
        parser.error(str(error))
    return options


def repeatable(device: torch.device) -> None:
    """The same bits in every run on one kind of machine."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS does not repeat its bits
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads what it has not written
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if device.type == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))


def train(plan: Plan, folder: Path, device: torch.device, clock: Clock, clips_judged: int, compiled: bool = False) -> None:
    """All stages. Raises OutOfTime when `clock` is over."""
    state, checkpoint = folder / "state", folder / "checkpoint"
    state.mkdir(parents=True, exist_ok=True)
    log = Log(folder / "log.jsonl")
    tokenizer = checkpoint / "google" / "umt5-xxl"
    make_tokenizer(tokenizer)
    words = Words(tokenizer)
    vae = autoencoder.train(plan, device, state, log, clock)
    encoder = language.train(plan, words, device, state, log, clock)
    material = latents.make(plan, vae, encoder, words, device)
    log.write(stage="latents", event="done", clips=len(material.clips), mean_square=material.clips.float().square().mean().item())
    both = {name: experts.train(plan, name, material, device, state, log, clock, compiled) for name in ("high", "low")}
    size = write_checkpoint(checkpoint, vae, encoder, both["high"], both["low"])
    log.write(event="written", bytes=size)
    if clips_judged:
        log.write(event="score", **score(plan, vae, encoder, words, both, clips_judged, device))
        log.write(event="score without prompt", **score(plan, vae, encoder, words, both, clips_judged, device, prompted=False))


def main(arguments=None) -> int:
    options = parse_options(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    repeatable(device)
    clock = Clock(60 * options.minutes, options.steps_per_piece)
    try:
        train(options.plan, options.folder, device, clock, options.clips_judged, options.compile)
    except OutOfTime:
        print(f"The time is over; the same command goes on from {options.folder}/state.")
        return OUT_OF_TIME
    print(f"{options.folder}/checkpoint is done.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
