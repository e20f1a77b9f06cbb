#!/usr/bin/env python3
"""Makes the files NAME and NAME.expected.png that image_formats_test.cpp reads (needs Pillow 13 and numpy).

The expectation is what Pillow makes of the file: ImageOps.exif_transpose(), then convert("RGB").
"""
import io
import struct

import numpy as np
from make_images import HEIGHT, HERE, WIDTH, picture
from PIL import Image, ImageOps

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>'


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write(name, data):
    (HERE / name).write_bytes(data)
    expected = ImageOps.exif_transpose(Image.open(HERE / name)).convert("RGB")
    expected.save(HERE / f"{name}.expected.png", optimize=True)


def segment(code, data):
    return b"\xff" + bytes([code]) + struct.pack(">H", len(data) + 2) + data


def gifs(image):
    indexed = image.quantize(16)
    write("interlaced.gif", encoded(indexed, "GIF", interlace=1))
    inverted = Image.fromarray(255 - picture()).quantize(8)
    write("animated.gif", encoded(indexed, "GIF", save_all=True, append_images=[inverted], duration=100))
    small = bytearray(encoded(indexed, "GIF", transparency=5))
    struct.pack_into("<HH", small, 6, WIDTH + 11, HEIGHT + 7)
    struct.pack_into("<HH", small, small.index(b"\x2c", 13 + 3 * 16) + 1, 4, 5)
    write("small_frame.gif", bytes(small))


def tiffs(image, transparent):
    write("lzw.tiff", encoded(image, "TIFF", compression="tiff_lzw"))
    write("cmyk.tiff", encoded(image.convert("CMYK"), "TIFF", compression="tiff_adobe_deflate"))
    write("fax.tiff", encoded(image.convert("1"), "TIFF", compression="group4"))
    write("transparent.tiff", encoded(transparent, "TIFF", compression="packbits"))
    write("turned.tiff", encoded(image, "TIFF", compression="tiff_lzw", tiffinfo={274: 6}))
    write("xmp.tiff", encoded(image, "TIFF", compression="tiff_lzw", tiffinfo={700: XMP % 8}))


def webps(image):
    still = encoded(image.resize((20, 16)), "WEBP", lossless=True)[12:]

    def chunk(kind, data):
        return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    def number(value):
        return struct.pack("<I", value)[:3]

    def frame(left, top):
        place = number(left // 2) + number(top // 2) + number(19) + number(15)
        return chunk(b"ANMF", place + number(100) + b"\0" + still)

    canvas = b"\x06\0\0\0" + number(WIDTH - 1) + number(HEIGHT - 1)
    body = b"WEBP" + chunk(b"VP8X", canvas) + chunk(b"ANIM", b"\xff\x80\x40\xff\0\0")
    body += frame(8, 10) + frame(0, 0) + chunk(b"XMP ", XMP % 3)
    write("small_frame.webp", b"RIFF" + struct.pack("<I", len(body)) + body)
    second = Image.fromarray(255 - picture())
    write("lossy_animation.webp", encoded(image, "WEBP", quality=90, save_all=True, append_images=[second], duration=100))


def numbered(jpeg):
    """With component ids 1 to 4 in place of "CMYK"."""
    jpeg = bytearray(jpeg)
    at = 2
    while True:
        code, length = struct.unpack_from(">xBH", jpeg, at)
        if code in (0xC0, 0xC2):
            for i in range(4):
                jpeg[at + 10 + 3 * i] = i + 1
        if code == 0xDA:
            for i in range(4):
                jpeg[at + 5 + 2 * i] = i + 1
            return bytes(jpeg)
        at += 2 + length


def jpegs(image):
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    inks = np.dstack([picture(), (x + y) * 3]).astype(np.uint8)
    cmyk = encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=95)
    adobe = cmyk.index(b"Adobe") - 4
    write("black.cmyk.jpg", cmyk)
    write("no_adobe.cmyk.jpg", cmyk[:adobe] + cmyk[adobe + 16 :])
    luma = np.asarray(Image.fromarray(inks[..., :3]).convert("YCbCr"))
    ycck = bytearray(numbered(encoded(Image.fromarray(np.dstack([255 - luma, inks[..., 3:]]), "CMYK"), "JPEG", quality=95)))
    ycck[ycck.index(b"Adobe") + 11] = 2
    write("ycck.jpg", bytes(ycck))
    write("tall.jpg", encoded(image.resize((19, 1101)), "JPEG", quality=60))  # more rows than are converted at once
    plain = encoded(image, "JPEG", quality=90)
    tables = plain.index(b"\xff\xdb")
    scan = plain.index(b"\xff\xda")
    junk = plain[:tables] + b"junk\xff\0\xff\x01\x00" + plain[tables:scan] + b"\xff\xd3more" + plain[scan:]
    (HERE / "junk.jpg").write_bytes(junk)  # Pillow's own walk refuses it; libjpeg's does not
    Image.open(io.BytesIO(plain)).save(HERE / "junk.jpg.expected.png", optimize=True)
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP % 6)
    write("xmp.jpg", plain[:2] + xmp + plain[2:])


def main():
    image = Image.fromarray(picture())
    alpha = (np.arange(WIDTH * HEIGHT) % 256).astype(np.uint8).reshape(HEIGHT, WIDTH)
    gifs(image)
    tiffs(image, Image.fromarray(np.dstack([picture(), alpha])))
    webps(image)
    jpegs(image)


if __name__ == "__main__":
    main()
