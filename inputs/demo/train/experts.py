"""Stage 3: each expert learns to predict velocities on its own side of the boundary (flow matching)."""

from pathlib import Path

import torch

from dit import Dit
from latents import Material
from plan import ExpertPlan, Plan
from trainer import Clock, Log, Trainer, save_atomically, step_generator

TIMESTEPS = 1000


def place_of(sigma: float, shift: float) -> float:
    """Where in an even schedule, from 0 to 1, the shifted one reaches `sigma`."""
    return sigma / (shift - (shift - 1) * sigma)


def draw_sigmas(plan: ExpertPlan, expert: str, count: int, generator: torch.Generator, device) -> torch.Tensor:
    """Noise levels as the program's sampler meets them, on the expert's side of the boundary."""
    border = place_of(plan.boundary, plan.shift)
    low, high = (border, 1.0) if expert == "high" else (0.0, border)
    place = low + (high - low) * torch.rand(count, generator=generator, device=device)
    return plan.shift * place / (1 + (plan.shift - 1) * place)


def with_condition(latent: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """The input of a transformer: noisy latent, mask of the first latent frame, encoded image."""
    mask = torch.zeros(latent.shape[0], 4, *latent.shape[2:], device=latent.device)
    mask[:, :, 0] = 1
    return torch.cat([latent, mask, image], dim=1)


def train(plan: Plan, expert: str, material: Material, device, folder, log: Log, clock: Clock, compiled: bool = False) -> Dit:
    """Trains the expert "high" or "low"."""
    sizes = plan.expert
    finished = folder / f"{expert}.pt"
    if finished.exists():
        return load(plan, finished, device)
    torch.manual_seed(plan.seed)
    model = Dit(sizes.size(plan.text.width))
    model.prepare_training()
    model.to(device)
    if compiled:
        for block in model.blocks:
            block.compile()
    trainer = Trainer(expert, model, sizes.steps, sizes.rate, folder, log)

    def batch_of(step: int) -> list[torch.Tensor]:
        generator = step_generator(plan.seed, expert, step, device)
        chosen = torch.randint(len(material.clips), (sizes.clips,), generator=generator, device=device)
        data, image = material.clips[chosen].float(), material.images[material.scene[chosen]].float()
        negative = torch.rand(sizes.clips, generator=generator, device=device) < sizes.negative
        text = torch.where(negative[:, None, None], material.negative, material.texts[chosen])
        lengths = torch.where(negative, material.negative_length, material.lengths[chosen])
        sigma = draw_sigmas(sizes, expert, sizes.clips, generator, device)
        noise = torch.randn(data.shape, generator=generator, device=device)
        return [data, image, noise, sigma, text, lengths]

    def loss_of(data, image, noise, sigma, text, lengths) -> torch.Tensor:
        share = sigma.view(-1, 1, 1, 1, 1)
        latent = with_condition((1 - share) * data + share * noise, image)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            velocity = model(latent, (sigma * TIMESTEPS).floor(), text, lengths)
        return (velocity - (noise - data)).square().mean()

    trainer.run(batch_of, loss_of, clock, recorded=True)
    trainer.finish()
    save_atomically(model.state_dict(), finished)
    log.write(stage=expert, event="done")
    return load(plan, finished, device)


def load(plan: Plan, file: Path, device) -> Dit:
    """A finished expert."""
    model = Dit(plan.expert.size(plan.text.width)).to(device)
    model.load_state_dict(torch.load(file, map_location=device, weights_only=True))
    return model.requires_grad_(False)
