"""Stage 1: the autoencoder learns to keep clips of the world in few numbers. Then it is frozen."""

import torch
from torch import nn

from grammar import MOTION_NAMES
from plan import Plan, VaePlan
from trainer import Clock, Log, Trainer, round_weights, save_atomically, step_generator
from vae import Vae, latent_shape
from world import FRAMES, draw, draw_motions, draw_scenes

SMALLEST_DEVIATION = 0.25  # of a latent channel, as a share of the largest one, when channels are brought to deviation 1


def by_channels(vae: nn.Module) -> None:
    """Keeps the weights of convolutions in the order in which a GPU reads them fastest."""
    for parameter in vae.parameters():
        if parameter.ndim in (4, 5):
            layout = torch.channels_last if parameter.ndim == 4 else torch.channels_last_3d
            parameter.data = parameter.data.contiguous(memory_format=layout)


def half_precision(plan: VaePlan, device) -> torch.autocast:
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=plan.half and device.type == "cuda")


def clips_for(plan: VaePlan, seed: int, step: int, device) -> torch.Tensor:
    """The clips of one step: objects anywhere in a small frame, in any phase of a motion. A share of them fades: half an object is harder.

    In every fourth step frames have twice the side, and there are a quarter as many clips: attention looks at a whole frame.
    """
    generator = step_generator(seed, "clips", step)
    count, side = (max(1, plan.clips // 4), 2 * plan.side) if step % 4 == 3 else (plan.clips, plan.side)
    scenes = draw_scenes(count, generator, side, spread=0.5 * plan.side).to(device)
    motion, speed = draw_motions(count, generator)
    motion[torch.rand(count, generator=generator) < plan.fading] = MOTION_NAMES.index("fade")
    motion, speed = motion.to(device), speed.to(device)
    begin = int(torch.randint(0, FRAMES - plan.frames + 1, (), generator=generator))
    return draw(scenes, motion, speed, begin + plan.frames, side)[:, :, begin:]


def train(plan: Plan, device, folder, log: Log, clock: Clock) -> Vae:
    sizes = plan.vae
    torch.manual_seed(plan.seed)
    vae = Vae(sizes.width)
    vae.prepare_training()
    vae.to(device)
    if sizes.by_channels:
        by_channels(vae)
    finished = folder / "vae.pt"
    if finished.exists():
        vae.load_state_dict(torch.load(finished, map_location=device, weights_only=True))
        return vae.requires_grad_(False)
    # Latents of deviation 1 from the start: smaller ones would drown in the noise that is added to them.
    normalise(vae, [clips_for(sizes, plan.seed, -4 * part, device) for part in range(1, 5)])
    trainer = Trainer("vae", vae, sizes.steps, sizes.rate, folder, log)

    def batch_of(step: int) -> list[torch.Tensor]:
        pixels = clips_for(sizes, plan.seed, step, device)
        noise = torch.randn(latent_shape(pixels.shape), generator=step_generator(plan.seed, "noise", step, device), device=device)
        return [pixels, noise]

    def loss_of(pixels: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        with half_precision(sizes, device):
            latents = vae.encode(pixels)
            decoded = vae.decode(latents + sizes.latent_noise * noise).float()
        error = decoded - pixels
        return error.square().mean() + 0.05 * error.abs().mean() + sizes.latent_size * latents.square().mean()

    trainer.run(batch_of, loss_of, clock, recorded=True)
    trainer.finish()
    vae.requires_grad_(False)
    normalise(vae, [whole_clips(plan, part, plan.encoded_at_once, device) for part in range(4)])
    round_weights(vae)
    log.write(stage="vae", event="done", psnr_db=psnr(vae, plan, device))
    save_atomically(vae.state_dict(), finished)
    return vae


def whole_clips(plan: Plan, seed: int, count: int, device) -> torch.Tensor:
    generator = step_generator(plan.seed, "whole", seed)
    scenes = draw_scenes(count, generator, plan.side).to(device)
    motion, speed = (part.to(device) for part in draw_motions(count, generator))
    return draw(scenes, motion, speed, plan.frames, plan.side)


@torch.no_grad()
def normalise(vae: Vae, clips: list[torch.Tensor]) -> None:
    """Brings the latents of the given clips to mean 0 and about deviation 1, as the experts expect them."""
    latents = torch.cat([vae.encode(part) for part in clips])
    latents = latents.transpose(0, 1).flatten(1)
    deviation = latents.std(dim=1)
    vae.rescale_latents(latents.mean(dim=1), deviation.clamp(min=SMALLEST_DEVIATION * deviation.max().item()))


@torch.no_grad()
def psnr(vae: Vae, plan: Plan, device) -> float:
    """Mean over unseen clips, in dB, of pixels that went through the autoencoder."""
    pixels = whole_clips(plan, 1000, plan.encoded_at_once, device)
    decoded = torch.cat([vae.decode(vae.encode(part)).clamp(-1, 1) for part in pixels.split(16)])
    error = ((decoded - pixels) / 2).square().mean(dim=(1, 2, 3, 4))
    return (-10 * error.log10()).mean().item()
