"""Images as a Qwen-VL model takes them."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .model_folder import ModelFolder
from .problems import RowProblem, UsageProblem, one_line

if TYPE_CHECKING:
    from PIL import Image

#: Pixels of the first resize and of the second one, which the model sees, as in the official program.
FIRST_PIXELS = (3_136, 12_845_056)
MODEL_PIXELS = (200_704, 1_003_520)
MOST_PIXELS = 179_000_000  #: as wan_batch
LONGEST_RATIO = 200


def rounded_size(width: int, height: int, unit: int, pixels: tuple[int, int]) -> tuple[int, int]:
    """The nearest size in multiples of `unit` that has between pixels[0] and pixels[1] pixels. Throws RowProblem."""
    if max(width, height) > LONGEST_RATIO * min(width, height):
        raise RowProblem(f"the image is {width} x {height} pixels; the model takes at most {LONGEST_RATIO}:1")
    least, most = pixels
    sides = [max(unit, round(side / unit) * unit) for side in (width, height)]
    if sides[0] * sides[1] > most:
        shrink = math.sqrt(width * height / most)
        sides = [max(unit, math.floor(side / shrink / unit) * unit) for side in (width, height)]
    elif sides[0] * sides[1] < least:
        grow = math.sqrt(least / (width * height))
        sides = [math.ceil(side * grow / unit) * unit for side in (width, height)]
    return sides[0], sides[1]


class Images:
    """Reads images for one model."""

    def __init__(self, model: ModelFolder) -> None:
        """Throws UsageProblem if preprocessor_config.json is not one of these models'."""
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

        fields = model.preprocessor
        try:
            self._patch, self._merge = int(fields.get("patch_size", 14)), int(fields.get("merge_size", 2))
            self._processor = Qwen2VLImageProcessor(
                patch_size=self._patch, merge_size=self._merge, temporal_patch_size=int(fields.get("temporal_patch_size", 2)),
                image_mean=[float(value) for value in fields["image_mean"]], image_std=[float(value) for value in fields["image_std"]],
                min_pixels=MODEL_PIXELS[0], max_pixels=MODEL_PIXELS[1])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageProblem(f"{model.path / 'preprocessor_config.json'}: cannot be used: {one_line(repr(error))}") from error

    def read(self, path: Path) -> tuple[dict[str, Any], int]:
        """The tensors pixel_values [patches, values] and image_grid_thw [1, 3], and the number of image tokens. Throws RowProblem."""
        inputs = self._processor(images=[self._opened(path)], return_tensors="pt")
        tokens = int(inputs["image_grid_thw"].prod()) // self._merge**2
        return {"pixel_values": inputs["pixel_values"], "image_grid_thw": inputs["image_grid_thw"]}, tokens

    def _opened(self, path: Path) -> Image.Image:
        from PIL import Image, ImageOps

        Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses twice as many
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    upright = ImageOps.exif_transpose(image).convert("RGB")
        except Exception as error:  # Pillow's decoders throw many kinds
            raise RowProblem(f"the image {path.name} cannot be read: {one_line(error, 200)}") from error
        unit = self._patch * self._merge
        return upright.resize(rounded_size(*upright.size, unit, FIRST_PIXELS))
