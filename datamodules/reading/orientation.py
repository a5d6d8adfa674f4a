"""Orientation of a photo as its camera recorded it, read from metadata that may be damaged."""

import re
import struct

from PIL import Image

TAG = 0x0112
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # struct formats by type number, TIFF 6.0, section 2
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """Return the image turned as its EXIF or XMP metadata say; unchanged if they give no readable orientation.

    Pillow's `exif_transpose` would also parse and rewrite every other tag, and fail on a faulty one.
    """
    image.load()  # a PNG's metadata may come after its pixels
    turn = turn_of(image)
    return image if turn is None else image.transpose(turn)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Return how an image has to be turned as its EXIF or XMP metadata say; None if it stands upright."""
    return TURNS.get(_in_exif(_exif(image)) or _in_xmp(image) or 1)


def _exif(image: Image.Image) -> bytes:
    """Return the EXIF data of an image, empty if there are none."""
    exif = image.info.get("exif")
    if not isinstance(exif, bytes):  # ImageMagick's way to keep EXIF in a PNG: hexadecimal digits below three lines
        lines = str(image.info.get("Raw profile type exif", "")).split("\n")[3:]
        digits = "".join(lines)
        exif = bytes.fromhex(digits) if re.fullmatch(r"([0-9a-fA-F]{2})*", digits) else b""
    return exif.removeprefix(b"Exif\0\0")


def _in_exif(exif: bytes) -> int | None:
    """Return the orientation, 1 to 8, from the tags of the first directory (TIFF 6.0, section 2), or None."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return None
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    if start + 2 > len(exif):
        return None
    (tags,) = struct.unpack_from(f"{order}H", exif, start)
    for place in range(start + 2, min(start + 2 + 12 * tags, len(exif) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", exif, place)
        if tag == TAG and kind in INTEGERS:
            (value,) = struct.unpack_from(order + INTEGERS[kind], exif, place + 8)
            return value if 1 <= value <= 8 else None
    return None


def _in_xmp(image: Image.Image) -> int | None:
    """Return the orientation, 1 to 8, from the XMP metadata, or None."""
    for name in ("XML:com.adobe.xmp", "xmp"):
        text = image.info.get(name)
        text = text.decode("latin-1") if isinstance(text, bytes) else text
        if isinstance(text, str) and (match := re.search(r'tiff:Orientation(?:="|>)([1-8])', text)):
            return int(match[1])
    return None
