#!/usr/bin/env python3
"""Writes the figures of docs/model.md beside itself: dit_block.svg and denoising_loop.svg.

    docs/figures/make_figures.py [FOLDER]     into another folder

The figures have a light background of their own, so that they can be read on a dark page, too.
"""

import sys
from html import escape
from pathlib import Path

INK = "#1f2933"
PAPER = "#fbfaf7"
FILLS = {"work": "#dce9f5", "norm": "#e8e3f3", "time": "#fdebc8", "text": "#dff0dc", "data": "#ffffff", "comm": "#f9dede"}
LINE_HEIGHT = 15


class Figure:
    """Boxes, arrows and words, in pixels from the upper left corner."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            ' font-family="Helvetica, Arial, sans-serif" font-size="12.5" role="img">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">'
            f'<path d="M0 0 L8 4 L0 8 z" fill="{INK}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>',
        ]

    def words(self, x: float, y: float, text: str, anchor: str = "middle", weight: str = "normal") -> None:
        """Lines of text around the middle height y."""
        lines = text.split("\n")
        for number, line in enumerate(lines):
            at = y + (number - (len(lines) - 1) / 2) * LINE_HEIGHT + 4.5
            self.parts.append(f'<text x="{x}" y="{at}" text-anchor="{anchor}" font-weight="{weight}" fill="{INK}">{escape(line)}</text>')

    def box(self, x: float, y: float, width: float, height: float, text: str, kind: str) -> None:
        """A box with its upper left corner at (x, y)."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" fill="{FILLS[kind]}" stroke="{INK}" stroke-width="1"/>'
        )
        self.words(x + width / 2, y + height / 2, text)

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """A dashed frame around what belongs together."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="none" stroke="{INK}" stroke-dasharray="5 4"/>'
        )

    def arrow(self, *points: tuple[float, float], tip: bool = True) -> None:
        """A line through the points, with a tip at its end."""
        path = " ".join(f"{x},{y}" for x, y in points)
        end = ' marker-end="url(#tip)"' if tip else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.4"{end}/>')

    def plus(self, x: float, y: float) -> None:
        """The place where something is added to the stream."""
        self.parts.append(f'<circle cx="{x}" cy="{y}" r="10" fill="{FILLS["data"]}" stroke="{INK}" stroke-width="1.4"/>')
        self.words(x, y, "+", weight="bold")

    def save(self, file: Path) -> None:
        """Writes the figure."""
        file.write_text("\n".join([*self.parts, "</svg>"]) + "\n", encoding="utf-8")


def row_of_boxes(figure: Figure, x: float, y: float, boxes: list[tuple[float, str, str]]) -> list[float]:
    """Boxes of (width, text, kind) from left to right with arrows between them. Returns the left ends and, last, the right end."""
    gap = 17
    height = 48
    edges = []
    for number, (width, text, kind) in enumerate(boxes):
        figure.box(x, y - height / 2, width, height, text, kind)
        edges.append(x)
        x += width
        if number + 1 < len(boxes):
            figure.arrow((x, y), (x + gap, y))
            x += gap
    return [*edges, x]


def dit_block(file: Path) -> None:
    """The three sub-layers of a block and what enters them."""
    figure = Figure(960, 520, "A block of the diffusion transformer")
    stream = 60
    figure.words(stream, 24, "x, fp32 [tokens, 5120]", anchor="start", weight="bold")
    figure.arrow((stream, 38), (stream, 500))
    figure.words(stream + 14, 494, "to the next block", anchor="start")
    sublayers = [
        (95, "Self-attention", [(70, "LN", "norm"), (114, "* (1 + M[1])\n+ M[0]", "time"), (66, "q, k, v", "work"),
                                (88, "RMS norm\nof q and k", "norm"), (78, "rotate\nq and k", "work"),
                                (128, "attention over\nall tokens", "comm"), (50, "o", "work"), (66, "* M[2]", "time")]),
        (235, "Cross-attention", [(70, "LN", "norm"), (114, "* norm3.weight\n+ norm3.bias", "norm"), (66, "q", "work"),
                                  (88, "RMS norm\nof q", "norm"), (223, "attention over 512 rows of text,\npadding included", "text"),
                                  (50, "o", "work")]),
        (390, "Feed-forward", [(70, "LN", "norm"), (114, "* (1 + M[4])\n+ M[3]", "time"), (120, "ffn.0\n5120 to 13824", "work"),
                               (110, "GELU (tanh)", "work"), (120, "ffn.2\n13824 to 5120", "work"), (66, "* M[5]", "time")]),
    ]
    for top, name, boxes in sublayers:
        middle = top + 10
        figure.words(115, middle - 42, name, anchor="start", weight="bold")
        figure.arrow((stream, middle), (115, middle))
        end = row_of_boxes(figure, 115, middle, boxes)[-1]
        below = middle + 52
        figure.arrow((end, middle), (end + 22, middle), (end + 22, below), (stream + 11, below))
        figure.plus(stream, below)
    figure.box(521, 168, 223, 32, "text: k (RMS norm) and v, kept", "text")
    figure.arrow((632, 200), (632, 221))
    figure.words(455, 484, "M = modulation + e0, fp32 [6, 5120]: depends on the timestep only", anchor="start")
    figure.words(455, 503, "red: the step at which ranks that share the sequence exchange heads", anchor="start")
    figure.save(file)


def denoising_loop(file: Path) -> None:
    """One request: what is prepared, the steps, and what follows."""
    figure = Figure(960, 500, "From a request to a video")
    figure.box(20, 30, 130, 44, "prompt and\nnegative prompt", "data")
    figure.box(190, 30, 150, 44, "clean, tokenize,\numT5", "text")
    figure.box(380, 30, 170, 44, "two texts\n[n, 4096] each", "data")
    figure.box(20, 108, 130, 44, "image (i2v)", "data")
    figure.box(190, 108, 150, 44, "resize, VAE encoder", "work")
    figure.box(380, 108, 170, 44, "condition [20, T, h8, w8]\nmask 4, image 16", "data")
    figure.box(20, 186, 130, 44, "seed", "data")
    figure.box(190, 186, 150, 44, "noise\n[16, T, h8, w8]", "work")
    for y in (52, 130, 208):
        figure.arrow((150, y), (190, y))
    for y in (52, 130):
        figure.arrow((340, y), (380, y))
    figure.frame(20, 262, 920, 162)
    figure.words(926, 280, "Step i = 0 .. N-1", anchor="end", weight="bold")
    figure.box(34, 300, 150, 52, "latent x, fp32\n[16, T, h8, w8]", "data")
    figure.box(218, 300, 140, 52, "patches:\n64 (+ 80) features", "work")
    figure.box(392, 276, 176, 46, "high-noise expert\nif t >= 1000 * boundary", "work")
    figure.box(392, 334, 176, 46, "low-noise expert\nelse", "work")
    figure.box(602, 300, 110, 52, "two predictions\nR16", "data")
    figure.box(736, 300, 94, 52, "guidance\nu + g (c - u)", "work")
    figure.box(852, 300, 74, 52, "solver", "work")
    figure.arrow((184, 326), (218, 326))
    figure.arrow((358, 318), (392, 300))
    figure.arrow((358, 334), (392, 356))
    figure.arrow((568, 300), (602, 318))
    figure.arrow((568, 356), (602, 334))
    figure.arrow((712, 326), (736, 326))
    figure.arrow((830, 326), (852, 326))
    figure.arrow((889, 352), (889, 406), (109, 406), (109, 352))
    figure.words(499, 396, "next step: the solver's state is kept when the expert changes")
    figure.arrow((265, 230), (265, 246), (109, 246), (109, 300))
    figure.arrow((550, 130), (572, 130), (572, 246), (288, 246), (288, 300))
    figure.arrow((550, 52), (594, 52), (594, 254), (480, 254), (480, 276))
    figure.box(218, 442, 140, 44, "VAE decoder", "work")
    figure.box(392, 442, 176, 44, "bytes: truncated\n[F, height, width, 3]", "data")
    figure.box(602, 442, 110, 44, "H.264, MP4", "data")
    figure.arrow((70, 352), (70, 464), (218, 464))
    figure.words(82, 450, "after the last step", anchor="start")
    figure.arrow((358, 464), (392, 464))
    figure.arrow((568, 464), (602, 464))
    figure.save(file)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    dit_block(folder / "dit_block.svg")
    denoising_loop(folder / "denoising_loop.svg")
