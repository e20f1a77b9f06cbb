"""Tensors of a small Wan 2.1 VAE (names and shapes as in the official file, widths w, 2w, 4w, 4w), random weights."""

import math

import torch

LATENT_CHANNELS = 16


class VaeBuilder:
    """Walks the network in the order of its layers and draws each one's tensors."""

    def __init__(self, weights):
        self.w = weights

    def conv(self, name: str, channels_out: int, channels_in: int, *kernel: int, gain: float = 1.0) -> None:
        fan_in = channels_in * math.prod(kernel)
        self.w.normal(f"{name}.weight", channels_out, channels_in, *kernel, std=gain / math.sqrt(fan_in))
        self.w.normal(f"{name}.bias", channels_out, std=0.05)

    def norm(self, name: str, channels: int, axes: int = 3) -> None:
        self.w.normal(f"{name}.gamma", channels, *([1] * axes), std=0.1, mean=1)

    def residual(self, name: str, channels_in: int, channels_out: int) -> None:
        self.norm(f"{name}.residual.0", channels_in)
        self.conv(f"{name}.residual.2", channels_out, channels_in, 3, 3, 3)
        self.norm(f"{name}.residual.3", channels_out)
        self.conv(f"{name}.residual.6", channels_out, channels_out, 3, 3, 3)
        if channels_in != channels_out:
            self.conv(f"{name}.shortcut", channels_out, channels_in, 1, 1, 1)

    def middle(self, name: str, channels: int) -> None:
        self.residual(f"{name}.middle.0", channels, channels)
        self.norm(f"{name}.middle.1.norm", channels, axes=2)
        self.conv(f"{name}.middle.1.to_qkv", 3 * channels, channels, 1, 1)
        self.conv(f"{name}.middle.1.proj", channels, channels, 1, 1)
        self.residual(f"{name}.middle.2", channels, channels)

    def head(self, name: str, channels_in: int, channels_out: int, gain: float) -> None:
        self.norm(f"{name}.head.0", channels_in)
        self.conv(f"{name}.head.2", channels_out, channels_in, 3, 3, 3, gain=gain)

    def encoder(self, width: int) -> None:
        self.conv("encoder.conv1", width, 3, 3, 3, 3)
        layer, channels = 0, width
        for level, multiplier in enumerate((1, 2, 4, 4)):
            for _ in range(2):
                self.residual(f"encoder.downsamples.{layer}", channels, width * multiplier)
                channels = width * multiplier
                layer += 1
            if level < 3:
                name = f"encoder.downsamples.{layer}"
                self.conv(f"{name}.resample.1", channels, channels, 3, 3)
                if level > 0:  # the first level keeps every frame
                    self.conv(f"{name}.time_conv", channels, channels, 3, 1, 1)
                layer += 1
        self.middle("encoder", channels)
        self.head("encoder", channels, 2 * LATENT_CHANNELS, gain=1.0)

    def decoder(self, width: int) -> None:
        channels = 4 * width
        self.conv("decoder.conv1", channels, LATENT_CHANNELS, 3, 3, 3)
        self.middle("decoder", channels)
        layer = 0
        for level, multiplier in enumerate((4, 4, 2, 1)):
            for _ in range(3):
                self.residual(f"decoder.upsamples.{layer}", channels, width * multiplier)
                channels = width * multiplier
                layer += 1
            if level < 3:
                name = f"decoder.upsamples.{layer}"
                self.conv(f"{name}.resample.1", channels // 2, channels, 3, 3)
                if level < 2:  # the last level keeps every frame
                    self.conv(f"{name}.time_conv", 2 * channels, channels, 3, 1, 1)
                channels //= 2
                layer += 1
        # The output is clamped to [-1, 1]: half of that as standard deviation keeps most pixels inside.
        self.head("decoder", channels, 3, gain=0.8)


def vae_state(weights, width: int) -> dict[str, torch.Tensor]:
    builder = VaeBuilder(weights)
    builder.encoder(width)
    builder.conv("conv1", 2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, 1, 1, 1)
    builder.conv("conv2", LATENT_CHANNELS, LATENT_CHANNELS, 1, 1, 1)
    builder.decoder(width)
    return weights.tensors
