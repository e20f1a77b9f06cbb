"""Prints what rounding costs an up-sampling of the autoencoder, twice: its 3 x 3 convolution of doubled pixels, and the four
2 x 2 convolutions of the pixels themselves that replace it, whose weights are sums. Factors are rounded, sums are fp64; no GPU is
needed.

    .venv/bin/python tests/gpu/upsample_error.py
"""

import torch
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

Tensor = torch.Tensor
ZEROS = {0: (1, 0), 1: (0, 1)}  # before and after an axis, for even and odd results


def tf32(values: Tensor) -> Tensor:
    bits = values.view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & -0x2000).view(torch.float32)


def folded(weight: Tensor, axis: int, odd: int) -> Tensor:
    first, middle, last = weight.unbind(axis)
    return torch.stack([first + middle, last] if odd else [first, middle + last], axis)


def convolved(pixels: Tensor, weight: Tensor, zeros: tuple[int, ...]) -> Tensor:
    return conv2d(pad(pixels.double(), zeros), weight.double())


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    weight = torch.randn(96, 192, 3, 3) / (192 * 9) ** 0.5
    noise = torch.randn(1, 192, 24, 26)
    smooth = 7 * avg_pool2d(torch.randn(1, 192, 30, 32), 7, 1) + 0.1 * torch.randn(1, 192, 24, 26)
    rounds = {"TF32": tf32, "fp16": lambda x: x.half().float(), "bf16": lambda x: x.bfloat16().float()}
    for kind, pixels in (("noise", noise), ("smooth", smooth)):
        doubled = interpolate(pixels, scale_factor=2, mode="nearest")
        exact = convolved(doubled, weight, (1, 1, 1, 1))
        for name, rounded in rounds.items():
            whole = convolved(rounded(doubled), rounded(weight), (1, 1, 1, 1))
            quarters = torch.empty_like(exact)
            for row in range(2):
                for column in range(2):
                    sums = folded(folded(weight.double(), 2, row), 3, column).float()
                    quarters[:, :, row::2, column::2] = convolved(rounded(pixels), rounded(sums), (*ZEROS[column], *ZEROS[row]))
            errors = [((values - exact).norm() / exact.norm()).item() for values in (whole, quarters)]
            print(f"{kind:<7} {name}: doubled pixels {errors[0]:.3e}, four convolutions {errors[1]:.3e} (of the norm)")


if __name__ == "__main__":
    main()
