"""A training loop that may be stopped after any step and goes on to the same bits: used by every stage of the training."""

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from recorded import RecordedSteps

WARM_UP = 100  # steps over which the learning rate rises
AVERAGE_DECAY = 0.998  # of the weights' moving average, which is what a stage leaves
LOG_EVERY = 50


class OutOfTime(Exception):
    """The piece's time is over; its state is saved."""


class Log:
    """Lines of JSON, one per event, in a file and on the terminal."""

    def __init__(self, path: Path):
        self.path = path
        self.begin = time.monotonic()

    def write(self, **event) -> None:
        event["elapsed_s"] = round(time.monotonic() - self.begin, 1)
        line = json.dumps({key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in event.items()})
        print(line, flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class Clock:
    """How much time, and how many steps, a piece of the training has left."""

    def __init__(self, seconds: float, steps: int):
        self.end = time.monotonic() + seconds
        self.steps = steps

    def is_over(self) -> bool:
        return self.steps <= 0 or time.monotonic() > self.end


def save_atomically(value, path: Path) -> None:
    """A reader sees the old file or the new one, never a part."""
    unfinished = path.with_suffix(".part")
    torch.save(value, unfinished)
    os.replace(unfinished, path)


def step_generator(seed: int, stage: str, step: int, device="cpu") -> torch.Generator:
    """The random numbers of one step. They depend on the step alone, so no generator's state needs to be kept."""
    stage_number = sum(ord(letter) << (5 * place) for place, letter in enumerate(stage[:6]))
    return torch.Generator(device).manual_seed((seed * 1_000_003 + stage_number) * 1_000_003 + step)


class Trainer:
    """Trains `model` for `steps` steps by AdamW, and keeps a moving average of its weights."""

    def __init__(self, stage: str, model: nn.Module, steps: int, rate: float, folder: Path, log: Log):
        self.stage, self.model, self.steps, self.rate = stage, model, steps, rate
        self.folder, self.log = folder, log
        self.step = 0
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.device = self.parameters[0].device
        on_gpu = self.device.type == "cuda"
        # Numbers that change from step to step lie in tensors, so that a recorded step reads the new ones.
        self.rate_now, self.approach_now = torch.tensor(rate, device=self.device), torch.tensor(0.0, device=self.device)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=self.rate_now if on_gpu else rate, betas=(0.9, 0.98), weight_decay=0.01,
                                           fused=on_gpu, capturable=on_gpu)

    @property
    def state_file(self) -> Path:
        return self.folder / f"{self.stage}.state.pt"

    def resume(self) -> None:
        if not self.state_file.exists():
            return
        state = torch.load(self.state_file, map_location=self.parameters[0].device, weights_only=True)
        if state["steps"] != self.steps:
            raise SystemExit(f"{self.state_file} is a training of {state['steps']} steps, and this one has {self.steps}: "
                             "give the same number, or another folder")
        self.step = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for own, saved in zip(self.parameters + self.average, state["parameters"] + state["average"], strict=True):
                own.copy_(saved)
        self.log.write(stage=self.stage, event="resumed", step=self.step)

    def save(self) -> None:
        save_atomically({"steps": self.steps, "step": self.step, "parameters": [p.detach() for p in self.parameters],
                         "average": self.average, "optimizer": self.optimizer.state_dict()}, self.state_file)

    def rate_at(self, step: int) -> float:
        """Rises for WARM_UP steps, then falls along a cosine to 2 %."""
        fall = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.rate * min(1.0, (step + 1) / min(WARM_UP, max(1, self.steps // 10))) * fall

    def run(self, batch_of: Callable[[int], list[torch.Tensor]], loss_of: Callable[..., torch.Tensor], clock: Clock,
            recorded: bool = False) -> None:
        """Trains to the end with the loss of each step's batch. `recorded` is for a GPU and batches of few shapes (see recorded.py).

        Raises OutOfTime, with the state saved, when `clock` is over before the end.
        """
        self.resume()

        def work(*batch: torch.Tensor) -> torch.Tensor:
            return self._learn(loss_of(*batch))

        if recorded and self.device.type == "cuda":
            work = RecordedSteps(work, self._state)
        begin, first = time.monotonic(), self.step
        losses = []
        while self.step < self.steps:
            if clock.is_over():
                self.save()
                raise OutOfTime
            self._set_numbers()
            losses.append(work(*batch_of(self.step)).clone())
            self.step += 1
            clock.steps -= 1
            if self.step % LOG_EVERY == 0 or self.step == self.steps:
                mean = torch.stack(losses).mean().item()
                losses.clear()
                per_second = (self.step - first) / (time.monotonic() - begin)
                self.log.write(stage=self.stage, step=self.step, steps=self.steps, loss=mean, steps_per_s=per_second)
                if not math.isfinite(mean):
                    raise SystemExit(f"stage {self.stage}: the loss is {mean} at step {self.step}: lower the learning rate")

    def _set_numbers(self) -> None:
        self.rate_now.fill_(self.rate_at(self.step))
        self.approach_now.fill_(1 - min(AVERAGE_DECAY, (self.step + 1) / (self.step + 10)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_now if self.device.type == "cuda" else self.rate_at(self.step)

    def _state(self) -> list[torch.Tensor]:
        """All tensors that a step changes; the optimizer makes its own in the first step."""
        sums = [tensor for parameter in self.parameters for tensor in self.optimizer.state[parameter].values()]
        return [parameter.detach() for parameter in self.parameters] + self.average + sums

    def _learn(self, loss: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimizer.step()
        with torch.no_grad():
            way = torch._foreach_sub([p.detach() for p in self.parameters], self.average)
            torch._foreach_mul_(way, self.approach_now)
            torch._foreach_add_(self.average, way)
        return loss.detach()

    def finish(self) -> None:
        """Leaves the averaged weights, rounded to bf16 as the checkpoint holds them, in the model."""
        with torch.no_grad():
            for own, average in zip(self.parameters, self.average, strict=True):
                own.copy_(average)
        round_weights(self.model)


@torch.no_grad()
def round_weights(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.copy_(parameter.to(torch.bfloat16))
