#!/usr/bin/env python3
"""Draws the toy's input images: small flat pictures of four aspect ratios, made here so that nobody else holds rights to them.

Usage: draw_images.py [FOLDER]        (default: images/ beside this script; needs Pillow)
"""
import math
import pathlib
import random
import sys

from PIL import Image, ImageDraw, ImageFilter

SCALE = 4  # drawn this much larger, then reduced: smooth edges


def gradient(size, top, bottom):
    """A picture that goes from one colour at the top to another at the bottom."""
    width, height = size
    column = Image.new("RGB", (1, height))
    for y in range(height):
        share = y / (height - 1)
        column.putpixel((0, y), tuple(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True)))
    return column.resize((width, height))


def canvas(width, height, top, bottom):
    image = gradient((width * SCALE, height * SCALE), top, bottom)
    return image, ImageDraw.Draw(image)


def scaled(*values):
    return [value * SCALE for value in values]


def points(pairs):
    return [(x * SCALE, y * SCALE) for x, y in pairs]


def reduced(image):
    return image.resize((image.width // SCALE, image.height // SCALE), Image.Resampling.LANCZOS)


def wave_line(width, base, height, length, phase):
    """The upper edge of a wavy band, left to right."""
    return [(x, base + height * math.sin(2 * math.pi * x / length + phase)) for x in range(width + 1)]


def cat_on_beach():
    """192 x 128: a white cat sits on the sand before the sea."""
    image, draw = canvas(192, 128, (120, 190, 240), (225, 242, 250))
    draw.ellipse(scaled(150, 10, 174, 34), fill=(255, 236, 150))
    draw.rectangle(scaled(0, 58, 192, 92), fill=(38, 128, 178))
    for row, shade in ((64, 60), (72, 80), (80, 105)):
        draw.line(points(wave_line(192, row, 1.2, 23, row)), fill=(shade, 160, 200), width=SCALE)
    sand = wave_line(192, 88, 2.5, 96, 0.6)
    draw.polygon(points(sand + [(192, 128), (0, 128)]), fill=(236, 208, 150))
    draw.line(points(sand), fill=(250, 250, 245), width=2 * SCALE)
    draw.ellipse(scaled(52, 108, 116, 120), fill=(205, 175, 120))  # shadow
    fur, line = (246, 243, 236), (110, 95, 85)
    tail = [(104 + 17 * math.sin(t / 9), 110 - t) for t in range(0, 36)]
    draw.line(points(tail), fill=fur, width=6 * SCALE, joint="curve")
    draw.ellipse(scaled(60, 66, 106, 116), fill=fur)  # body
    draw.ellipse(scaled(62, 40, 100, 74), fill=fur)  # head
    for x in (64, 84):
        draw.polygon(points([(x, 48), (x + 4, 30), (x + 15, 43)]), fill=fur)
        draw.polygon(points([(x + 3, 45), (x + 5, 35), (x + 11, 43)]), fill=(240, 180, 175))
    draw.rounded_rectangle(scaled(67, 52, 79, 60), radius=3 * SCALE, fill=(35, 35, 45))  # sunglasses
    draw.rounded_rectangle(scaled(83, 52, 95, 60), radius=3 * SCALE, fill=(35, 35, 45))
    draw.line(points([(79, 54), (83, 54)]), fill=(35, 35, 45), width=2 * SCALE)
    draw.polygon(points([(79, 63), (83, 63), (81, 66)]), fill=(225, 130, 130))
    for x in (70, 88):
        draw.line(points([(x + 3, 98), (x + 3, 114)]), fill=line, width=SCALE)
    return reduced(image)


def sailing_boat():
    """128 x 192: a boat with a red sail."""
    image, draw = canvas(128, 192, (90, 150, 220), (250, 225, 190))
    for x, y, size in ((14, 24, 22), (28, 18, 26), (46, 26, 20), (88, 48, 18), (100, 44, 22)):
        draw.ellipse(scaled(x, y, x + size, y + size * 0.6), fill=(250, 250, 252))
    bands = ((120, (70, 150, 190)), (136, (45, 125, 170)), (156, (25, 95, 145)), (176, (15, 70, 120)))
    draw.polygon(points(wave_line(128, 120, 1.5, 40, 0) + [(128, 192), (0, 192)]), fill=bands[0][1])
    draw.line(points([(66, 46), (66, 132)]), fill=(90, 60, 40), width=3 * SCALE)
    draw.polygon(points([(69, 50), (69, 122), (108, 122)]), fill=(205, 55, 50))
    draw.polygon(points([(63, 58), (63, 122), (32, 122)]), fill=(245, 240, 225))
    draw.polygon(points([(66, 46), (66, 40), (80, 43)]), fill=(250, 200, 60))
    draw.polygon(points([(22, 128), (112, 128), (96, 148), (38, 148)]), fill=(120, 70, 40))
    draw.line(points([(22, 129), (112, 129)]), fill=(235, 200, 150), width=2 * SCALE)
    for base, colour in bands[1:]:
        draw.polygon(points(wave_line(128, base + 4, 3, 34, base) + [(128, 192), (0, 192)]), fill=colour)
    return reduced(image)


def mountains():
    """160 x 160: snowy mountains before a low sun, mirrored in a lake."""
    image, draw = canvas(160, 160, (70, 80, 150), (255, 170, 110))
    draw.ellipse(scaled(96, 52, 132, 88), fill=(255, 235, 170))
    ranges = (
        ([(0, 84), (30, 58), (58, 82), (92, 50), (126, 86), (160, 66)], (125, 110, 160)),
        ([(0, 100), (22, 86), (58, 38), (96, 98), (122, 76), (160, 104)], (75, 75, 120)),
    )
    for ridge, colour in ranges:
        draw.polygon(points(ridge + [(160, 118), (0, 118)]), fill=colour)
    draw.polygon(points([(58, 38), (74, 63), (66, 60), (60, 68), (52, 59), (43, 58)]), fill=(245, 245, 252))
    draw.polygon(points([(122, 76), (133, 84), (124, 84), (113, 83)]), fill=(245, 245, 252))
    for index in range(33):
        x, height = index * 5 - 2, 9 + (index * 7) % 8
        draw.polygon(points([(x, 118), (x + 4, 118 - height), (x + 8, 118)]), fill=(25, 50, 55))
    horizon = 118 * SCALE
    mirrored = image.crop((0, horizon - 42 * SCALE, image.width, horizon)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    water = Image.new("RGB", mirrored.size, (40, 60, 110))
    image.paste(Image.blend(mirrored.filter(ImageFilter.GaussianBlur(SCALE)), water, 0.45), (0, horizon))
    for row in range(124, 158, 7):
        start = (row * 37) % 100
        draw.line(points([(start, row), (start + 34, row)]), fill=(235, 190, 170), width=SCALE)
    return reduced(image)


def city_at_night():
    """256 x 144: lit windows under the moon."""
    draw_random = random.Random(7)
    image, draw = canvas(256, 144, (10, 14, 40), (70, 50, 100))
    for _ in range(60):
        x, y = draw_random.uniform(0, 256), draw_random.uniform(0, 70)
        draw.ellipse(scaled(x, y, x + 1, y + 1), fill=(220, 220, 240))
    draw.ellipse(scaled(204, 14, 230, 40), fill=(250, 245, 215))
    draw.ellipse(scaled(198, 10, 222, 34), fill=(16, 18, 46))  # crescent
    for colour, tallest, x in (((36, 34, 70), 88, -6), ((18, 18, 38), 66, -14)):
        while x < 256:
            width, height = draw_random.randint(16, 30), draw_random.randint(tallest // 2, tallest)
            top = 128 - height
            draw.rectangle(scaled(x, top, x + width, 128), fill=colour)
            if draw_random.random() < 0.3:
                draw.line(points([(x + width / 2, top), (x + width / 2, top - 9)]), fill=colour, width=SCALE)
            for row in range(top + 4, 124, 7):
                for column in range(x + 3, x + width - 3, 6):
                    if draw_random.random() < 0.45:
                        light = draw_random.choice([(255, 214, 120), (255, 190, 90), (190, 220, 255)])
                        draw.rectangle(scaled(column, row, column + 2.4, row + 3.2), fill=light)
            x += width + draw_random.randint(0, 4)
    draw.rectangle(scaled(0, 126, 256, 144), fill=(24, 22, 34))
    for x in range(6, 256, 28):
        draw.rectangle(scaled(x, 134, x + 13, 135.5), fill=(210, 200, 150))
    for x in (40, 46, 150, 156):
        draw.ellipse(scaled(x, 129, x + 3, 132), fill=(255, 245, 200) if x < 100 else (255, 60, 50))
    return reduced(image)


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "images"
    folder.mkdir(parents=True, exist_ok=True)
    cat_on_beach().save(folder / "cat_on_beach.png", optimize=True)
    sailing_boat().save(folder / "sailing_boat.jpg", quality=92)
    mountains().save(folder / "mountains.png", optimize=True)
    city_at_night().save(folder / "city_at_night.jpg", quality=92)


if __name__ == "__main__":
    main()
