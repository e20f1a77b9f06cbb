"""Colours that people with any colour vision can tell apart: the palette of Okabe and Ito (2008)."""

from __future__ import annotations

from wan_analysis.trace_format import COMMUNICATION_PARTS, PARTS, REMAINDER

BLACK = "#000000"
ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#999999"

#: For lines and bars of one kind. If there are more lines than colours, colours repeat with another dash or marker.
SERIES = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY_BLUE, BLACK)

PART_COLOURS = dict(
    zip((*PARTS, REMAINDER), (BLUE, SKY_BLUE, GREEN, ORANGE, YELLOW, PURPLE, VERMILION, GREY), strict=True)
)

#: Communication is hatched as well, so that it stands out in print.
PART_HATCHES = {part: "////" if part in COMMUNICATION_PARTS else "" for part in PART_COLOURS}

EXPERT_COLOURS = {"high_noise": BLUE, "low_noise": ORANGE}
