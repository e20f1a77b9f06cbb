"""Images for jobs/scaling.sh: scaling_images.py FOLDER COUNT WIDTHxHEIGHT IMAGE... writes FOLDER/0.png, 1.png, ..., all different."""

import sys
from pathlib import Path

from PIL import Image


def main() -> None:
    """Writes the images that the command line names."""
    folder, count, (width, height) = Path(sys.argv[1]), int(sys.argv[2]), map(int, sys.argv[3].split("x"))
    sources = sys.argv[4:]
    for number in range(count):
        path = folder / f"{number}.png"
        with Image.open(sources[number % len(sources)]) as image:
            picture = image.convert("RGB").resize((width, height))
        for column in range(min(width, number + 1)):
            picture.putpixel((column, 0), (255, 0, 0))  # an equal image would not be encoded again
        picture.save(path)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"scaling_images.py: {error}")
