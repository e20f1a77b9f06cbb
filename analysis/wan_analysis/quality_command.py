"""The command `quality`. Packages that read videos and latents are imported when the command runs, because they may be missing."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from wan_analysis.quality_world import has_judge
from wan_analysis.whole_file import write_whole

if TYPE_CHECKING:
    from wan_analysis.quality import Quality

#: Module -> package. analysis/pyproject.toml has the packages as the extra "quality".
NEEDED = {"av": "av", "safetensors": "safetensors", "skimage": "scikit-image"}
DONE, FAILURE, TOO_FAR = 0, 1, 3


def add_quality(commands: argparse._SubParsersAction) -> None:
    """Declares the command."""
    quality = commands.add_parser(
        "quality", help="compare the videos of two runs: PSNR, SSIM, latents; for the demo's world also whether they follow their prompts "
        "(an installed package needs the extra 'quality')",
        epilog="Exit code 3: a frame is worse than --least-psnr, or a score is below --least-score.")
    quality.set_defaults(run=_quality)
    quality.add_argument("a", type=Path, metavar="RUN_A", help="output folder of wan_batch, the reference")
    quality.add_argument("b", type=Path, metavar="RUN_B", nargs="?", help="the other one (default: RUN_A alone is judged)")
    quality.add_argument("-o", "--output", type=Path, default=Path("quality.html"), metavar="FILE", help="the page (default: %(default)s)")
    quality.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers as JSON")
    quality.add_argument("--least-psnr", type=float, metavar="DB", help="PSNR that every frame must reach, before H.264 if possible")
    quality.add_argument("--least-score", type=float, metavar="SHARE",
                         help="share, from 0 to 1, of RUN_B's clips that must have the right motion, and colour")


def _quality(options: argparse.Namespace) -> int:
    missing = [package for module, package in NEEDED.items() if find_spec(module) is None]
    if missing:
        print(f"wan_analysis: error: quality needs Python packages that are missing: {', '.join(missing)}. They are the extra 'quality': "
              "run pip install './analysis[quality]' in a checkout of wan_batch. For jobs/analysis.sh, jobs/setup.sh installs them",
              file=sys.stderr)
        return FAILURE
    if options.least_score is not None and not has_judge():
        print("wan_analysis: error: --least-score needs the demo's judge, which only a checkout of wan_batch has (inputs/demo/train): "
              "run jobs/analysis.sh quality there", file=sys.stderr)
        return FAILURE
    from wan_analysis.quality import QualityError, compare_folders
    from wan_analysis.quality_page import quality_html, quality_text

    try:
        quality = compare_folders(options.a, options.b or options.a)
        write_whole(options.output, quality_html(quality))
        if options.json:
            write_whole(options.json, json.dumps(quality.as_json(), indent=1) + "\n")
    except QualityError as error:
        print(f"wan_analysis: error: {error}", file=sys.stderr)
        return FAILURE
    except OSError as error:
        print(f"wan_analysis: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return FAILURE
    print(quality_text(quality), end="")
    return TOO_FAR if _is_too_far(quality, options) else DONE


def _is_too_far(quality: Quality, options: argparse.Namespace) -> bool:
    found = []
    if options.least_psnr is not None:
        worst = quality.worst_psnr_db()
        if worst is not None and worst < options.least_psnr:
            found.append(f"the worst frame has {worst:.1f} dB, less than {options.least_psnr:g} dB")
        found += [f"{item.name} could not be compared" for item in quality.items if not item.is_compared()]
    if options.least_score is not None:
        score = quality.score("b")
        if score is None:
            found.append("no prompt is a sentence of the demo's world, so there is no score")
        else:
            found += [f"the score for {kind} is {score[kind]:.2f}, less than {options.least_score:g}" for kind in ("motion", "colour")
                      if score[kind] < options.least_score]
    for line in found:
        print(f"too far: {line}")
    return bool(found)
