"""Sizes and lengths of the training: the demo's, and a very small one that a CPU finishes in seconds."""

import dataclasses
from dataclasses import dataclass

from dit import DitSize


@dataclass(frozen=True)
class VaePlan:
    width: int = 12
    steps: int = 2000
    rate: float = 6e-4
    clips: int = 32  # per step
    side: int = 48  # pixels of the part of the world that it is trained on
    frames: int = 13
    fading: float = 0.3  # share of the clips that show a fading object
    latent_noise: float = 0.1  # added to the latents, so that the decoder forgives the transformer's errors
    latent_size: float = 2e-4  # weight of the latents' mean square
    half: bool = True  # on a GPU: convolutions in bf16, else in TF32
    by_channels: bool = True  # a pixel's channels lie side by side in memory


@dataclass(frozen=True)
class TextPlan:
    width: int = 64
    heads: int = 8
    inner: int = 128
    layers: int = 2
    steps: int = 400
    rate: float = 2e-3
    captions: int = 512  # per step


@dataclass(frozen=True)
class ExpertPlan:
    dim: int = 128
    heads: int = 8
    layers: int = 6
    ffn: int = 384
    steps: int = 9500
    rate: float = 1e-3
    clips: int = 128  # per step
    negative: float = 0.1  # share of the clips whose prompt is replaced by the negative prompt
    shift: float = 5.0  # of the noise schedule, as the program samples i2v
    boundary: float = 0.9  # share of the timesteps from which the high-noise expert works

    def size(self, text_width: int) -> DitSize:
        return DitSize(self.dim, self.heads, self.layers, self.ffn, text_width)


@dataclass(frozen=True)
class Plan:
    seed: int = 17
    side: int = 96
    frames: int = 33
    scenes: int = 4096  # first frames among the experts' clips
    clips_per_scene: int = 6
    encoded_at_once: int = 64
    vae: VaePlan = VaePlan()
    text: TextPlan = TextPlan()
    expert: ExpertPlan = ExpertPlan()


def changed(plan: Plan, settings: list[str]) -> Plan:
    """The plan with settings such as "expert.steps=4000". Raises ValueError for one that does not exist."""
    for setting in settings:
        name, _, value = setting.partition("=")
        *section, field = name.split(".")
        owner = getattr(plan, section[0], None) if len(section) == 1 else plan
        if not dataclasses.is_dataclass(owner) or not hasattr(owner, field) or dataclasses.is_dataclass(getattr(owner, field)):
            raise ValueError(f"'{setting}': the plan has no '{name}'; write NAME=VALUE with a name of plan.py, such as expert.steps=4000")
        kind = type(getattr(owner, field))
        try:
            number = {"true": True, "false": False}[value] if kind is bool else kind(value)
        except (KeyError, ValueError):
            raise ValueError(f"'{setting}': '{value}' is no {kind.__name__}") from None
        owner = dataclasses.replace(owner, **{field: number})
        plan = dataclasses.replace(plan, **{section[0]: owner}) if section else owner
    return plan


DEMO = Plan()
SMOKE = Plan(
    side=32, frames=5, scenes=4, clips_per_scene=2, encoded_at_once=2,
    vae=VaePlan(width=8, steps=6, clips=1, side=16, frames=5),
    text=TextPlan(width=32, inner=32, layers=1, steps=6, captions=16),
    expert=ExpertPlan(dim=48, layers=2, ffn=48, steps=6, clips=4),
)
