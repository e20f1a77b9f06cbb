#!/usr/bin/env python3
"""Makes the image files beside this script (needs Pillow and numpy). tests/unit/media/image_test.cpp knows picture() too.

Files named *.expected.png hold what Pillow (libjpeg-turbo, libwebp) decodes of the lossy file of that name.
"""
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).parent
WIDTH, HEIGHT = 37, 29  # odd: the last chroma sample covers half as many pixels


def picture():
    """[HEIGHT, WIDTH, 3]: slopes, with red inverted in every other 8 x 8 square."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    red = np.where((x // 8 + y // 8) % 2 == 1, 255 - x * 7, x * 7)
    return np.stack([red, y * 8, x * 3 + y * 4], -1).astype(np.uint8)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, interlaced=0):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def unfiltered(samples):
    return b"".join(b"\0" + row.tobytes() for row in samples)


def adam7(samples):
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    return b"".join(unfiltered(np.ascontiguousarray(samples[y::dy, x::dx])) for x, y, dx, dy in passes)


def packed(indices, depth):
    """Rows of several samples per byte."""
    per_byte = 8 // depth
    padded = np.pad(indices, ((0, 0), (0, -indices.shape[1] % per_byte)))
    groups = padded.reshape(len(indices), -1, per_byte).astype(int) << (depth * np.arange(per_byte)[::-1])
    return unfiltered(groups.sum(-1).astype(np.uint8))


def main():
    rgb = picture()
    image = Image.fromarray(rgb)
    alpha = (np.arange(WIDTH * HEIGHT) % 256).astype(np.uint8).reshape(HEIGHT, WIDTH)
    transparent = Image.fromarray(np.dstack([rgb, alpha]))
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, rgb.shape, dtype=np.uint16)

    image.save(HERE / "rgb.png", optimize=True)
    transparent.save(HERE / "rgba.png", optimize=True)
    transparent.save(HERE / "rgba_lossless.webp", lossless=True, exact=True)
    image.save(HERE / "rgb.bmp")
    # Pillow writes palettes of its own order, so these are made from indices: colour i of 16 is (17 i, 255 - 17 i, 3 i).
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    indices = ((x + 3 * y) % 16).astype(np.uint8)
    palette = Image.fromarray(indices, "P")
    palette.putpalette([v for i in range(16) for v in (17 * i, 255 - 17 * i, 3 * i)])
    palette.save(HERE / "palette.png", transparency=3)
    palette.save(HERE / "palette.bmp")
    Image.fromarray(rgb[..., 0]).save(HERE / "gray.png", optimize=True)
    deep = (rgb.astype(np.uint16) << 8 | low).astype(">u2")
    (HERE / "rgb16.png").write_bytes(png(WIDTH, HEIGHT, 16, 2, unfiltered(deep)))
    (HERE / "gray16.png").write_bytes(png(WIDTH, HEIGHT, 16, 0, unfiltered(np.ascontiguousarray(deep[..., 0]))))
    (HERE / "gray4.png").write_bytes(png(WIDTH, HEIGHT, 4, 0, packed(indices, 4)))
    (HERE / "interlaced.png").write_bytes(png(WIDTH, HEIGHT, 8, 2, adam7(rgb), interlaced=1))

    rows = unfiltered(rgb)
    (HERE / "rows_missing.png").write_bytes(png(WIDTH, HEIGHT, 8, 2, rows[: len(rows) // 2]))
    (HERE / "bomb.png").write_bytes(png(50000, 50000, 8, 2, bytes(100)))
    image.convert("CMYK").save(HERE / "cmyk.jpg")
    image.save(HERE / "animated.webp", save_all=True, append_images=[image.rotate(90)], lossless=True)

    for name, options in (
        ("420.jpg", {"subsampling": 2, "quality": 90}),
        ("422.jpg", {"subsampling": 1, "quality": 90}),
        ("444.jpg", {"subsampling": 0, "quality": 90}),
        ("progressive.jpg", {"progressive": True, "quality": 80}),
        ("lossy.webp", {"quality": 90}),
    ):
        image.save(HERE / name, **options)
        Image.open(HERE / name).convert("RGB").save(HERE / f"{name}.expected.png", optimize=True)


if __name__ == "__main__":
    main()
