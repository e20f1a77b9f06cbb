"""The words of the demo's world: what a clip can show, and the sentences that say it.

A caption is "a COLOUR SHAPE VERB... PLACE". It names everything that happens in a clip, so a clip can be judged by its caption alone.
Nothing here needs torch: the judge and the analysis package read captions, too.
"""

from dataclasses import dataclass

# Red, green and blue from 0 to 1. Every colour is vivid, because the judge tells objects from backgrounds by how vivid they are.
COLOURS = {
    "red": (0.85, 0.12, 0.12),
    "orange": (0.95, 0.50, 0.05),
    "yellow": (0.93, 0.86, 0.12),
    "green": (0.12, 0.70, 0.20),
    "cyan": (0.12, 0.80, 0.80),
    "blue": (0.15, 0.30, 0.92),
    "purple": (0.50, 0.15, 0.80),
    "pink": (0.95, 0.35, 0.70),
}
SHAPES = ("ball", "box", "diamond", "triangle", "star", "ring")
PLACES = ("before a wall", "at night", "over grass", "on the sand", "above the water", "over tiles")
SPEEDS = ("slowly", "quickly")
# Two ways to say each motion.
MOTIONS = {
    "left": ("moves to the left", "rolls leftwards"),
    "right": ("moves to the right", "rolls rightwards"),
    "up": ("moves up", "rises straight upwards"),
    "down": ("moves down", "sinks straight downwards"),
    "circle": ("moves in a circle", "goes round and round"),
    "bounce": ("bounces up and down", "hops on the spot"),
    "grow": ("grows", "becomes larger"),
    "shrink": ("shrinks", "becomes smaller"),
    "fade": ("fades away", "becomes invisible"),
}
COLOUR_NAMES = tuple(COLOURS)
MOTION_NAMES = tuple(MOTIONS)
SENTENCES = 4  # ways to write one caption: two phrases, and the speed before or after them


@dataclass(frozen=True)
class Caption:
    """The meaning of a caption. Every field is a word of this module."""

    colour: str
    shape: str
    motion: str
    speed: str
    place: str

    def text(self, sentence: int = 0) -> str:
        """The caption as a prompt; `sentence` (0 to SENTENCES - 1) chooses between equal ways to say it."""
        phrase = MOTIONS[self.motion][sentence % 2]
        action = f"{phrase} {self.speed}" if sentence < 2 else f"{self.speed} {phrase}"
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.shape} {action} {self.place}"


# The words after "a COLOUR SHAPE" in each sentence.
_ENDINGS = {
    " ".join(Caption("red", "ball", motion, speed, place).text(sentence).split()[3:]): (motion, speed, place)
    for motion in MOTIONS
    for speed in SPEEDS
    for place in PLACES
    for sentence in range(SENTENCES)
}


def parse(text: str) -> Caption | None:
    """The caption that a prompt of this grammar says, or None if it is no sentence of the grammar."""
    words = text.split()
    ending = _ENDINGS.get(" ".join(words[3:]))
    if ending is None or words[0] not in ("a", "an") or words[1] not in COLOURS or words[2] not in SHAPES:
        return None
    return Caption(words[1], words[2], *ending)


def every_caption() -> list[str]:
    """All sentences of the grammar, in a fixed order: what the tokenizer and the text encoder are trained on."""
    return [
        Caption(colour, shape, motion, speed, place).text(sentence)
        for colour in COLOURS
        for shape in SHAPES
        for motion in MOTIONS
        for speed in SPEEDS
        for place in PLACES
        for sentence in range(SENTENCES)
    ]
