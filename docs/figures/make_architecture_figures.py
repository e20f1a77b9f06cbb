#!/usr/bin/env python3
"""Draws the two figures of docs/architecture.md, layers.svg and request.svg, into this folder.

    docs/figures/make_architecture_figures.py            writes both files
    docs/figures/make_architecture_figures.py --check    writes nothing; fails if a file is out of date, or if the table of rooms
                                                         names other rooms than cmake/Layers.cmake

The rooms and their links come from cmake/Layers.cmake, the words in the boxes from the table of rooms in docs/architecture.md.
Needs no package. The figures have a light background of their own, so that they can be read on a dark page too.
"""

import re
import sys
from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parent.parent
ARCHITECTURE = PROJECT / "docs" / "architecture.md"
LAYERS = PROJECT / "cmake" / "Layers.cmake"

FONT = "font-family='Helvetica, Arial, sans-serif'"
INK, GREY, LINE = "#1b1b1b", "#555555", "#8a8a8a"
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#00795c"
FILLS = {"blue": "#dcebf5", "orange": "#fbe5d6", "green": "#d9efe8", "grey": "#eeeeee", "yellow": "#fdf3c7"}


class Drawing:
    """An SVG picture that grows by boxes, words and arrows."""

    def __init__(self, width, height, title):
        self.parts = [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' {FONT}>",
            f"<title>{escape(title)}</title>",
            "<defs>",
            *(self._arrow_head(name, colour) for name, colour in (("grey", LINE), ("orange", ORANGE), ("green", GREEN))),
            "</defs>",
            f"<rect width='{width}' height='{height}' rx='10' fill='#ffffff'/>",
        ]

    @staticmethod
    def _arrow_head(name, colour):
        return (
            f"<marker id='{name}' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto-start-reverse'>"
            f"<path d='M0,0.5 L8,4 L0,7.5 z' fill='{colour}'/></marker>"
        )

    def box(self, x, y, width, height, fill, stroke=LINE, dashed=False):
        dash = " stroke-dasharray='5 4'" if dashed else ""
        self.parts.append(
            f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='5' fill='{fill}' stroke='{stroke}'{dash}/>"
        )

    def text(self, x, y, words, size=12, anchor="middle", colour=INK, bold=False):
        weight = " font-weight='bold'" if bold else ""
        self.parts.append(
            f"<text x='{x:g}' y='{y:g}' font-size='{size}' text-anchor='{anchor}' fill='{colour}'{weight}>{escape(words)}</text>"
        )

    def lines(self, x, y, lines, size=11, step=14, **more):
        for number, words in enumerate(lines):
            self.text(x, y + number * step, words, size, **more)

    def arrow(self, *points, colour="grey", both=False):
        """Along the points (x, y), with a head at the end."""
        stroke = {"grey": LINE, "orange": ORANGE, "green": GREEN}[colour]
        start = f" marker-start='url(#{colour})'" if both else ""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.parts.append(
            f"<polyline points='{path}' fill='none' stroke='{stroke}' stroke-width='1.4' marker-end='url(#{colour})'{start}/>"
        )

    def svg(self):
        return "\n".join([*self.parts, "</svg>", ""])


def read_links():
    """Which room may use which: {room: [rooms]}."""
    found = re.findall(r'^set\(WAN_MAY_USE_(\w+) "?([^")]*)"?\)', LAYERS.read_text(), re.MULTILINE)
    return {room: used.split() for room, used in found}


def read_words():
    """The first two columns of the table of rooms: {room: a few words}."""
    text = ARCHITECTURE.read_text()
    table = text[text.index("| room |") :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table]
    return {row[0].strip("`").removeprefix("src/"): row[1] for row in rows}


def levels_of(links):
    """Each room directly below the lowest room that uses it; the top room has level 0."""
    users = {room: [user for user, used in links.items() if room in used] for room in links}
    levels = {}

    def level(room):
        if room not in levels:
            levels[room] = 1 + max((level(user) for user in users[room]), default=-1)
        return levels[room]

    for room in links:
        level(room)
    return levels


def direct_links(links):
    """The links that no chain of other links says already."""

    def reaches(room, goal):
        return any(used == goal or reaches(used, goal) for used in links[room])

    return [
        (room, used)
        for room, all_used in links.items()
        for used in all_used
        if not any(reaches(other, used) for other in all_used if other != used)
    ]


def place_rooms(links, width):
    """The middle of each room's box, {room: (x, level)}; rooms stand near those above them that use them."""
    levels = levels_of(links)
    places = {}
    for level in range(max(levels.values()) + 1):
        row = [room for room in links if levels[room] == level]

        def mean_of_users(room):
            above = [places[user][0] for user, used in direct_links(links) if used == room and user in places]
            return sum(above) / len(above) if above else width / 2

        row.sort(key=mean_of_users)
        for number, room in enumerate(row):
            places[room] = (width * (number + 0.5) / len(row), level)
    return places


def wrapped(words, most):
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def draw_layers():
    links, words = read_links(), read_words()
    width, row_height, box_width, box_height, top = 900, 96, 158, 58, 20
    ground = [room for room, used in links.items() if not used]
    upper = {room: [name for name in used if name not in ground] for room, used in links.items() if room not in ground}
    places = place_rooms(upper, width)
    rows = 1 + max(level for _, level in places.values())
    drawing = Drawing(width, top + rows * row_height + 88, "The rooms of wan_batch and which room uses which")

    def top_of(level):
        return top + level * row_height

    for user, used in direct_links(upper):
        (x1, level1), (x2, level2) = places[user], places[used]
        between = []  # an arrow that passes rooms goes between their boxes
        for level in range(level1 + 1, level2):
            count = sum(1 for _, other in places.values() if other == level)
            straight = x1 + (x2 - x1) * (level - level1) / (level2 - level1)
            gap = min((width * number / count for number in range(count + 1)), key=lambda x, near=straight: abs(x - near))
            between += [(gap, top_of(level)), (gap, top_of(level) + box_height)]
        drawing.arrow((x1, top_of(level1) + box_height), *between, (x2, top_of(level2) - 1))
    for room, (x, level) in places.items():
        y = top_of(level)
        fill = FILLS["green"] if "port:" in words.get(room, "") else FILLS["blue"]
        drawing.box(x - box_width / 2, y, box_width, box_height, fill)
        drawing.text(x, y + 18, room, 14, bold=True)
        drawing.lines(x, y + 34, wrapped(words.get(room, ""), 27)[:2], size=10.5, step=13, colour=GREY)
    y = top_of(rows)
    drawing.box(20, y, width - 40, 34, FILLS["grey"])
    drawing.text(width / 2, y + 22, ", ".join(f"{room}: {words.get(room, '')}" for room in ground) + " (every room may use it)", 12)
    note = "An arrow points to a room that is used; links that follow from others are left out. Green rooms declare a port."
    drawing.text(width / 2, y + 58, note, 11, colour=GREY)
    return drawing.svg()


RANKS = ("rank 0 (leader)", "rank 1", "rank 2", "rank 3")


def lane_y(rank):
    return 108 + rank * 74


def draw_phase(drawing, x, width, name, who, cells, fill):
    """One column: its name, which ranks work in it, and a box per rank with one or two lines."""
    drawing.text(x + width / 2, 62, name, 13, bold=True)
    drawing.text(x + width / 2, 78, who, 10.5, colour=GREY)
    for rank, lines in enumerate(cells):
        if lines:
            drawing.box(x, lane_y(rank), width, 46, FILLS[fill])
            drawing.lines(x + width / 2, lane_y(rank) + (20 if len(lines) > 1 else 27), lines, size=10.5, step=14)


def draw_request():
    drawing = Drawing(960, 500, "One request on four ranks: cfg 2 x ulysses 2")
    drawing.text(480, 30, "One request on a group of four ranks (cfg 2 x ulysses 2)", 15, bold=True)
    for rank, name in enumerate(RANKS):
        drawing.text(12, lane_y(rank) + 27, name, 11.5, anchor="start", bold=True)

    draw_phase(drawing, 128, 84, "image", "leader", [["read, resize"], [], [], []], "grey")
    draw_phase(drawing, 226, 84, "text", "all ranks", [["umT5"]] * 4, "yellow")
    draw_phase(drawing, 324, 84, "encode", "VAE, by rows", [[f"rows {n}/4"] for n in range(1, 5)], "green")
    passes = [[f"{which} prompt", f"tokens {half}/2"] for which in ("with", "negative") for half in (1, 2)]
    draw_phase(drawing, 432, 130, "", "", passes, "blue")
    draw_phase(drawing, 614, 110, "", "", [["guidance, solver", "on own tokens"]] * 4, "blue")
    draw_phase(drawing, 748, 84, "decode", "VAE, by rows", [[f"rows {n}/4"] for n in range(1, 5)], "green")
    draw_phase(drawing, 846, 84, "write", "leader", [["MP4, JSON"], [], [], []], "grey")

    drawing.box(420, 44, 316, 346, "none", stroke=BLUE, dashed=True)
    drawing.text(578, 62, "one denoising step", 13, bold=True)
    drawing.text(578, 78, "repeated, 40 times by default", 10.5, colour=GREY)
    for first in (0, 2):  # ulysses: all-to-all in every block
        drawing.arrow((470, lane_y(first) + 47), (470, lane_y(first + 1) - 1), colour="orange", both=True)
        drawing.text(480, lane_y(first) + 64, "all-to-all", 10.5, anchor="start", colour=ORANGE)
    for upper, x in ((0, 580), (1, 596)):  # cfg: both predictions to both halves
        drawing.arrow((x, lane_y(upper) + 23), (x, lane_y(upper + 2) + 23), colour="green", both=True)

    drawing.lines(
        40,
        418,
        [
            "Orange: the ranks of one pass exchange heads for tokens, twice in every block (Ulysses).",
            "Green: once a step, ranks with the same tokens give each other their prediction (classifier-free guidance).",
            "Before each step all ranks of the group agree: go on, save, hand over or stop. A rank without memory says so there.",
            "With sharded weights, each block's weights are gathered from all four ranks while the block before it computes.",
            "The VAE's parts exchange border rows. The leader alone reads the image and writes files.",
        ],
        size=11.5,
        step=16,
        anchor="start",
        colour=INK,
    )
    return drawing.svg()


def check_rooms():
    """Fails if the table in architecture.md and cmake/Layers.cmake name different rooms."""
    rooms, named = set(read_links()), set(read_words())
    problems = [f"{ARCHITECTURE.name}: the table of rooms lacks '{room}'" for room in sorted(rooms - named)]
    problems += [f"{ARCHITECTURE.name}: the table of rooms names '{room}', which {LAYERS.name} lacks" for room in sorted(named - rooms)]
    return problems


def main(arguments):
    if arguments not in ([], ["--check"]):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    problems = check_rooms()
    for name, draw in (("layers.svg", draw_layers), ("request.svg", draw_request)):
        path, svg = FOLDER / name, draw()
        if not arguments:
            path.write_text(svg)
        elif not path.exists() or path.read_text() != svg:
            problems.append(f"docs/figures/{name} is out of date: run docs/figures/make_architecture_figures.py")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
