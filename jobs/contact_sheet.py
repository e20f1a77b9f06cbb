#!/usr/bin/env python3
"""Shows the videos of an output folder at a glance: a picture with the image and six frames of each, and a page that plays them.

    jobs/contact_sheet.py OUT [--name demo]        writes OUT/demo.png and OUT/index.html

It takes the finished items of the folder's records in the order of their manifest. Exit codes: 0 written, 1 there is nothing to show.
"""

import argparse
import io
import json
import os
import sys
from html import escape
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

FRAMES = 6
HEIGHT = 128  # pixels of each picture of the sheet
GAP, TEXT = 6, 20
STYLE = """body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
figure { display: inline-block; margin: .6rem; width: 18rem; vertical-align: top; } video { width: 100%; image-rendering: auto; }"""


def finished_items(folder: Path) -> list[dict]:
    """Records of finished videos whose files are there, in the order of the manifest."""
    records = []
    for path in sorted(folder.glob("*.json")):
        if not path.is_file():  # a pipe would wait for ever
            continue
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            file, prompt = record["outputs"]["video"]["file"], record["parameters"]["prompt"]
            is_beside = Path(file).name == file and (folder / file).is_file()
            if record["status"] == "done" and is_beside and isinstance(prompt, str):
                records.append(record)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue  # another file of JSON, such as run.json
    return sorted(records, key=line_of)


def line_of(record: dict) -> int:
    """The line of the item's row; 0 if it is not known."""
    manifest = record.get("manifest")
    line = manifest.get("line") if isinstance(manifest, dict) else None
    return line if isinstance(line, int) else 0


def some_frames(video: Path) -> list[Image.Image]:
    """FRAMES frames, evenly spread from the first to the last."""
    # As MP4 only: files of other formats, such as playlists, may name further files.
    with av.open(str(video.absolute()), format="mp4") as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    return [frames[round(index * (len(frames) - 1) / (FRAMES - 1))] for index in range(FRAMES)]


def scaled(picture: Image.Image, height: int = HEIGHT) -> Image.Image:
    """The picture in another height."""
    return picture.convert("RGB").resize((max(1, round(picture.width * height / picture.height)), height))


def first_picture(image: object) -> Image.Image:
    """The item's image; white for text to video, and if the image is gone or damaged."""
    try:
        if isinstance(image, str) and Path(image).is_file():  # no pipe
            return scaled(Image.open(image))
    except Exception as error:  # Pillow's decoders throw many kinds
        print(f"contact_sheet.py: {image}: cannot be shown: {error}", file=sys.stderr)
    return Image.new("RGB", (HEIGHT, HEIGHT), "white")


def row_of(folder: Path, record: dict) -> Image.Image:
    """The image, a wider gap, the frames, and the prompt beneath."""
    frames = [scaled(frame) for frame in some_frames(folder / record["outputs"]["video"]["file"])]
    frames.insert(0, first_picture(record["parameters"].get("image")))
    width = sum(frame.width for frame in frames) + GAP * (len(frames) + 3)
    row = Image.new("RGB", (width, HEIGHT + TEXT + GAP), "white")
    x = GAP
    for index, frame in enumerate(frames):
        row.paste(frame, (x, 0))
        x += frame.width + (3 * GAP if index == 0 else GAP)
    ImageDraw.Draw(row).text((GAP, HEIGHT + 3), record["parameters"]["prompt"], fill="black", font=ImageFont.load_default(14))
    return row


def sheet(folder: Path, records: list[dict]) -> Image.Image | None:
    """All rows, one below the other. None: no video can be read."""
    rows = []
    for record in records:
        try:
            rows.append(row_of(folder, record))
        except (OSError, ValueError, IndexError) as error:  # PyAV's errors are among them
            print(f"contact_sheet.py: {record['outputs']['video']['file']}: cannot be shown: {error}", file=sys.stderr)
    if not rows:
        return None
    whole = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows) + GAP), "white")
    y = GAP
    for row in rows:
        whole.paste(row, (0, y))
        y += row.height
    return whole


def page(records: list[dict]) -> str:
    """The page that plays the videos."""
    figures = "".join(
        f'<figure><video src="{escape(record["outputs"]["video"]["file"])}" autoplay loop muted playsinline controls></video>'
        f'<figcaption>{escape(record["parameters"]["prompt"])}</figcaption></figure>\n' for record in records)
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Videos of wan_batch</title>'
            f"<style>{STYLE}</style></head>\n<body><h1>Videos of wan_batch</h1>\n{figures}</body></html>\n")


def put(path: Path, content: bytes) -> None:
    """Writes a file in one step. A link or a pipe of this name is replaced, and nothing is written through it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("xb") as file:
            file.write(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def main() -> int:
    """Reads the command line and writes both files."""
    parser = argparse.ArgumentParser(description="Shows the videos of an output folder.")
    parser.add_argument("folder", type=Path, help="output folder of wan_batch")
    parser.add_argument("--name", default="sheet", help="name of the picture, without .png (default: %(default)s)")
    options = parser.parse_args()
    records = finished_items(options.folder)
    if not records:
        print(f"contact_sheet.py: error: {options.folder} has no finished video; run wan_batch first", file=sys.stderr)
        return 1
    picture = options.folder / f"{options.name}.png"
    shown = sheet(options.folder, records)
    if shown is None:
        print(f"contact_sheet.py: error: {options.folder} has no video that can be read", file=sys.stderr)
        return 1
    content = io.BytesIO()
    shown.save(content, "PNG")
    put(picture, content.getvalue())
    put(options.folder / "index.html", page(records).encode())
    print(f"{len(records)} videos: {picture} shows frames of each, {options.folder / 'index.html'} plays them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
