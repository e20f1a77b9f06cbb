#!/usr/bin/env python3
"""Writes mojibake_tables.inc: what the bytes 80 to FF are in the encodings as which UTF-8 is read by mistake.

    make_mojibake_tables.py > ../mojibake_tables.inc

A byte that an encoding leaves open is the control character of its number, as browsers have it.
"""

ENCODINGS = ("cp1250", "cp1251", "cp1253", "cp1254", "cp1257", "iso8859_2", "mac_roman", "cp437")


def character(byte: int, encoding: str) -> int:
    """The code point of a byte."""
    try:
        return ord(bytes([byte]).decode(encoding))
    except UnicodeDecodeError:
        return byte


print("// Written by tools/make_mojibake_tables.py.")
for encoding in ENCODINGS:
    print(f"EncodingTable{{// {encoding}")
    points = [character(byte, encoding) for byte in range(0x80, 0x100)]
    for start in range(0, 128, 16):
        print("    " + " ".join(f"0x{point:04X}," for point in points[start:start + 16]))
    print("},")
