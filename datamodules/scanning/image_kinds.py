"""Recognition of image files by their first bytes, without decoding them."""


def is_image(data: bytes | memoryview) -> bool:
    """Return whether some bytes begin as a JPEG, PNG or WebP file does, the formats that are decoded."""
    head = bytes(data[:12])
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
