"""Likeness of two clips, frame by frame: PSNR and SSIM. Videos are read by PyAV, SSIM is scikit-image's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

LARGEST = 255.0
SSIM_WINDOW = 7  # pixels; frames must not be smaller


@dataclass(frozen=True)
class Likeness:
    """Two clips of one size. PSNR in dB is None where the frames are equal, for then it is infinite."""

    psnr_db: float | None  # of all frames together
    psnr_db_by_frame: list[float | None]
    ssim: float | None  # mean over frames; None if frames are smaller than its window
    ssim_by_frame: list[float]
    worst_frame: int  # the one with the smallest PSNR, counted from 0
    worst_psnr_db: float | None
    worst_ssim: float | None


def psnr_db(mean_square: float) -> float | None:
    """PSNR of a mean square error of 8-bit values."""
    return None if mean_square == 0 else float(10 * np.log10(LARGEST**2 / mean_square))


def likeness(a: np.ndarray, b: np.ndarray) -> Likeness:
    """Compares uint8 clips [frames, height, width, 3] of one shape."""
    from skimage.metrics import structural_similarity

    squares = [float(np.mean((x.astype(np.float64) - y) ** 2)) for x, y in zip(a, b, strict=True)]
    ssim = []
    if min(a.shape[1:3]) >= SSIM_WINDOW:
        ssim = [float(structural_similarity(x, y, win_size=SSIM_WINDOW, channel_axis=-1, data_range=LARGEST))
                for x, y in zip(a, b, strict=True)]
    worst = int(np.argmax(squares))
    return Likeness(
        psnr_db(float(np.mean(squares))), [psnr_db(value) for value in squares], float(np.mean(ssim)) if ssim else None, ssim,
        worst, psnr_db(squares[worst]), min(ssim) if ssim else None)


def read_video(path: Path) -> np.ndarray:
    """All frames of a video as uint8 [frames, height, width, 3]. Raises OSError or ValueError."""
    import av

    if not path.is_file():
        raise ValueError("there is no such file")
    try:
        # As MP4 only: files of other formats, such as playlists, may name further files.
        with av.open(str(path.absolute()), format="mp4") as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"the video cannot be read: {error}") from error
    if not frames:
        raise ValueError("the video has no frames")
    return np.stack(frames)
