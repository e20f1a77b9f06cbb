"""The autoencoder of Wan 2.1 at a small width, over whole clips (model.md 4.2). Names and shapes are those of the official file.

Pixels are [clips, 3, frames, height, width] from -1 to 1; latents [clips, 16, 1 + (frames - 1) / 4, height / 8, width / 8].
"""

import torch
from torch import nn

LATENT_CHANNELS = 16
# The latents' mean and deviation that the program takes away and puts back (model.md 4.1).
MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503,
        -0.2921)
DEVIATION = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251,
             1.9160)


class CausalConv(nn.Conv3d):
    """A convolution that sees no later frame: zeros stand before the clip, none after it."""

    def __init__(self, channels_in: int, channels_out: int, kernel: tuple[int, int, int]):
        frames, rows, columns = kernel
        # torch pads both ends of the clip; what the frames after it would give is cut off.
        super().__init__(channels_in, channels_out, kernel, padding=(frames - 1, rows // 2, columns // 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[:, :, :x.shape[2]]


class Norm(nn.Module):
    """Divides by the root mean square over the channels; `axes` follow the channels in the weight's shape."""

    def __init__(self, channels: int, axes: int = 3):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *([1] * axes)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32).clamp(min=1e-12)
        return x / length.to(x.dtype) * (self.gamma * x.shape[1] ** 0.5).to(x.dtype)


class Residual(nn.Module):
    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.residual = nn.Sequential(
            Norm(channels_in), nn.SiLU(), CausalConv(channels_in, channels_out, (3, 3, 3)), Norm(channels_out), nn.SiLU(), nn.Dropout(0.0),
            CausalConv(channels_out, channels_out, (3, 3, 3)))
        self.shortcut = CausalConv(channels_in, channels_out, (1, 1, 1)) if channels_in != channels_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.residual(x)


def frame_by_frame(x: torch.Tensor, layer) -> torch.Tensor:
    """Applies a layer of pictures to each frame."""
    clips, _, frames = x.shape[:3]
    y = layer(x.transpose(1, 2).flatten(0, 1))
    return y.unflatten(0, (clips, frames)).transpose(1, 2)


class Attention(nn.Module):
    """One head over all positions of a frame."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = Norm(channels, axes=2)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + frame_by_frame(x, self._attend)

    def _attend(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape[2:]
        q, k, v = self.to_qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)  # [pictures, positions, channels]
        weights = torch.softmax(q @ k.transpose(1, 2) * q.shape[2] ** -0.5, dim=2)
        return self.proj((weights @ v).transpose(1, 2).unflatten(2, (rows, columns)))


class Down(nn.Module):
    """Halves rows and columns, and then frames if `temporal`: the first frame passes as it is."""

    def __init__(self, channels: int, temporal: bool):
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, stride=2))
        self.time_conv = nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1)) if temporal else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = frame_by_frame(x, self.resample)
        if self.time_conv is None or x.shape[2] == 1:
            return x
        return torch.cat([x[:, :, :1], self.time_conv(x)], dim=2)


def double(x: torch.Tensor) -> torch.Tensor:
    """Each pixel of [pictures, channels, rows, columns] becomes 2 x 2. Written so that its gradient has one order of summation."""
    pictures, channels, rows, columns = x.shape
    y = x.permute(0, 2, 3, 1)[:, :, None, :, None].expand(-1, -1, 2, -1, 2, -1)
    return y.reshape(pictures, 2 * rows, 2 * columns, channels).permute(0, 3, 1, 2)


class Up(nn.Module):
    """Doubles frames if `temporal` (all but the first, which does not enter the convolution), then rows and columns; halves channels."""

    def __init__(self, channels: int, temporal: bool):
        super().__init__()
        self.time_conv = CausalConv(channels, 2 * channels, (3, 1, 1)) if temporal else None
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(channels, channels // 2, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.time_conv is not None and x.shape[2] > 1:
            first, later = x[:, :, :1], x[:, :, 1:]
            two = self.time_conv(later).unflatten(1, (2, -1))  # [clips, 2, channels, frames, rows, columns]
            x = torch.cat([first, two.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)], dim=2)
        return frame_by_frame(x, lambda pictures: self.resample(double(pictures)))


class Head(nn.Sequential):
    def __init__(self, channels_in: int, channels_out: int):
        super().__init__(Norm(channels_in), nn.SiLU(), CausalConv(channels_in, channels_out, (3, 3, 3)))


class Encoder(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1 = CausalConv(3, width, (3, 3, 3))
        self.downsamples = nn.Sequential()
        channels = width
        for level, multiplier in enumerate((1, 2, 4, 4)):
            for _ in range(2):
                self.downsamples.append(Residual(channels, width * multiplier))
                channels = width * multiplier
            if level < 3:
                self.downsamples.append(Down(channels, temporal=level > 0))
        self.middle = nn.Sequential(Residual(channels, channels), Attention(channels), Residual(channels, channels))
        self.head = Head(channels, 2 * LATENT_CHANNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.middle(self.downsamples(self.conv1(x))))


class Decoder(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        channels = 4 * width
        self.conv1 = CausalConv(LATENT_CHANNELS, channels, (3, 3, 3))
        self.middle = nn.Sequential(Residual(channels, channels), Attention(channels), Residual(channels, channels))
        self.upsamples = nn.Sequential()
        for level, multiplier in enumerate((4, 4, 2, 1)):
            for _ in range(3):
                self.upsamples.append(Residual(channels, width * multiplier))
                channels = width * multiplier
            if level < 3:
                self.upsamples.append(Up(channels, temporal=level < 2))
                channels //= 2
        self.head = Head(channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.upsamples(self.middle(self.conv1(x))))


COLOURS, CARRIED, CONSTANT = 3, 7, 2.0  # colours; they, their negatives and the constant; its value


@torch.no_grad()
def _silence(layer: nn.Module) -> None:
    layer.weight.zero_()
    layer.bias.zero_()


@torch.no_grad()
def _carry(layer: nn.Module, taps: list[tuple[int, ...]], first_row: int = 0) -> None:
    """Makes a convolution take the mean over `taps` of each carried channel; the rows begin at `first_row`."""
    for channel in range(CARRIED):
        row = first_row + channel
        layer.weight[row] = 0
        layer.bias[row] = 0
        for tap in taps:
            layer.weight[(row, channel, *tap)] = 1 / len(taps)


@torch.no_grad()
def _split(layer: nn.Conv3d) -> None:
    """Makes a first convolution give the carried channels."""
    layer.weight[:CARRIED] = 0
    layer.bias[:CARRIED] = 0
    for colour in range(COLOURS):
        layer.weight[colour, colour, 2, 1, 1] = 1
        layer.weight[COLOURS + colour, colour, 2, 1, 1] = -1
    layer.bias[CARRIED - 1] = CONSTANT


@torch.no_grad()
def _join(layer: nn.Conv3d) -> None:
    """Makes a head's convolution undo `_split` and the head's norm."""
    layer.weight[:COLOURS] = 0
    layer.bias[:COLOURS] = 0
    gain = CONSTANT / layer.in_channels ** 0.5
    for colour in range(COLOURS):
        layer.weight[colour, colour, 2, 1, 1] = gain
        layer.weight[colour, COLOURS + colour, 2, 1, 1] = -gain


def latent_shape(pixels: torch.Size) -> tuple[int, ...]:
    """The shape [clips, 16, T, h8, w8] of the latents of pixels [clips, 3, frames, height, width]."""
    clips, _, frames, height, width = pixels
    return clips, LATENT_CHANNELS, 1 + (frames - 1) // 4, height // 8, width // 8


class Vae(nn.Module):
    """Both halves. Every size follows from `width`."""

    def __init__(self, width: int):
        super().__init__()
        self.encoder = Encoder(width)
        self.conv1 = CausalConv(2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, (1, 1, 1))
        self.conv2 = CausalConv(LATENT_CHANNELS, LATENT_CHANNELS, (1, 1, 1))
        self.decoder = Decoder(width)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, -1, 1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, -1, 1, 1, 1), persistent=False)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised latents: about mean 0 and deviation 1 in a trained autoencoder."""
        return (self.conv1(self.encoder(pixels))[:, :LATENT_CHANNELS].float() - self.mean) / self.deviation

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pixels, not clamped."""
        return self.decoder(self.conv2(latents * self.deviation + self.mean))

    def prepare_training(self) -> None:
        """Starting weights with which the autoencoder blurs: a latent is the mean colour of its 8 x 8 pixels of 4 frames.

        Channels 0 to 2 carry the colour through all layers, channels 3 to 5 its negative, and channel 6 a constant so large that
        norms change the others little. silu(x) - silu(-x) = x, so the heads can put the two together. All other channels start at random,
        and the residual blocks start as the identity. Training from here takes a fraction of the steps.
        """
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.normal_(module.weight, std=0.5 * module.weight[0].numel() ** -0.5)
                nn.init.normal_(module.bias, std=0.02)
        for module in self.modules():
            if isinstance(module, Residual):
                _silence(module.residual[6])
                if isinstance(module.shortcut, nn.Conv3d):
                    _carry(module.shortcut, [(0, 0, 0)])
            elif isinstance(module, Attention):
                _silence(module.proj)
            elif isinstance(module, Down):
                _carry(module.resample[1], [(0, 0), (0, 1), (1, 0), (1, 1)])
                if module.time_conv is not None:
                    _carry(module.time_conv, [(1, 0, 0), (2, 0, 0)])
            elif isinstance(module, Up):
                _carry(module.resample[1], [(1, 1)])
                if module.time_conv is not None:
                    _carry(module.time_conv, [(2, 0, 0)])
                    _carry(module.time_conv, [(2, 0, 0)], first_row=module.time_conv.in_channels)
        for first in (self.encoder.conv1, self.decoder.conv1):
            _split(first)
        for head in (self.encoder.head[2], self.decoder.head[2]):
            _join(head)
        for pointwise in (self.conv1, self.conv2):
            nn.init.eye_(pointwise.weight.data.flatten(1))
            nn.init.zeros_(pointwise.bias)

    @torch.no_grad()
    def rescale_latents(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Gives latents of `mean` and `deviation` [16] mean 0 and deviation 1. Decoded pixels stay the same."""
        mean, deviation = mean.to(self.mean.device), deviation.to(self.mean.device)
        wanted, center = self.deviation.flatten(), self.mean.flatten()
        # Raw latents: before, raw = center + wanted * z. After, z' = (z - mean) / deviation.
        gain = 1 / deviation
        shift = center - gain * (center + wanted * mean)
        rows = slice(0, LATENT_CHANNELS)
        self.conv1.weight[rows] *= gain.view(-1, 1, 1, 1, 1)
        self.conv1.bias[rows] = gain * self.conv1.bias[rows] + shift
        # The decoder undoes it: raw = (raw' - shift) / gain.
        self.conv2.weight /= gain.view(1, -1, 1, 1, 1)
        self.conv2.bias -= self.conv2.weight.flatten(1) @ shift
