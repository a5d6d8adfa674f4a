"""Removal of metadata from image files, for files whose metadata are damaged and whose pixels are intact."""

import zlib

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
SCAN, EXIF, ADOBE, COMMENT = 0xDA, 0xE1, 0xEE, 0xFE  # markers of JPEG (ITU-T T.81, table B.1)


def without_metadata(data: bytes) -> bytes:
    """Return a PNG or JPEG file with only its pixels, colours, transparency and orientation; other data unchanged."""
    if data.startswith(PNG):
        return PNG + b"".join(kept_chunks(data))
    return without_segments(data) if data.startswith(JPEG) else data


def kept_chunks(data: bytes) -> list[bytes]:
    """Return the chunks of a PNG to keep: length, name, content and checksum (PNG specification, 5.3).

    The checksum of EXIF is corrected, because its tags are read one by one.
    """
    kept, place = [], len(PNG)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        name, fits = data[place + 4 : place + 8], zlib.crc32(data[place + 4 : end - 4]).to_bytes(4, "big")
        if name in CRITICAL or (name == b"tRNS" and data[end - 4 : end] == fits):
            kept.append(data[place:end])
        elif name == b"eXIf":
            kept.append(data[place : end - 4] + fits)
        place = end
    return kept


def without_segments(data: bytes) -> bytes:
    """Return a JPEG without its APPn and COM segments, except EXIF and a complete Adobe segment on colours."""
    kept, place = [JPEG], len(JPEG)
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != SCAN:
        marker, end = data[place + 1], place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        content = data[place + 4 : end]
        needed = (marker == EXIF and content.startswith(b"Exif\0\0")) or (
            marker == ADOBE and content.startswith(b"Adobe") and len(content) >= 12
        )
        if needed or not (0xE0 <= marker < 0xF0 or marker == COMMENT):
            kept.append(data[place:end])
        place = end
    return b"".join(kept) + data[place:]
