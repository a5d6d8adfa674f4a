"""Images that something went wrong with: what can be read is read, the rest is refused in one sentence."""

import io
import struct
import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from datamodules.reading.damage import DamageError
from datamodules.reading.orientation import TURNS
from datamodules.reading.preprocess import Preprocess
from lightning_meta.core import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "MPO")  # the last is several JPEGs in a file
WAYS = ("bytes", "header", "tags", "cut", "swapped", "inserted")
READ = Preprocess(8)


def tags() -> bytes:
    """EXIF as a camera writes it: turned, with text, fractions and a directory of its own."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112], exif[0x011A] = "Maker of cameras", "Model", 6, 72.0
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    return exif.tobytes()


@cache
def photo(kind: str, number: int) -> Image.Image:
    """Smooth, so that it is small, in one of several modes."""
    corners = np.random.default_rng(number).integers(0, 256, (3, 3, 3)).astype(np.uint8)
    image = Image.fromarray(corners).resize((24, 16), Image.Resampling.BILINEAR)
    modes = {"PNG": ("RGB", "P", "LA", "1"), "WEBP": ("RGB", "RGBA")}.get(kind, ("RGB", "L", "CMYK"))
    return image.convert(modes[number % len(modes)])


@cache
def encoded(kind: str, number: int, exif: bytes) -> bytes:
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": [photo(kind, number + 1)]} if kind == "MPO" else {}
    photo(kind, number).save(buffer, kind, exif=exif, **more)
    return buffer.getvalue()


def damaged(kind: str, number: int, rng: np.random.Generator) -> bytes:
    """A file that something happened to: to its tags before it was written, or to its bytes afterwards. The checksums of
    every other PNG are made to fit again, or they alone would be met."""
    way = WAYS[number // 12 % len(WAYS)]
    if way == "tags":
        exif = tags()
        return encoded(kind, number % 12, exif[:6] + altered(exif[6:], rng))
    data = encoded(kind, number % 12, tags())
    if way == "cut":
        return data[: rng.integers(len(data))]
    if way == "swapped":
        first, second = sorted(rng.integers(0, len(data), 2))
        data = data[:first] + data[second:] + data[first:second]
    elif way == "inserted":
        place = int(rng.integers(len(data)))
        data = data[:place] + rng.bytes(int(rng.integers(1, 9))) + data[place:]
    else:
        size = 64 if way == "header" else len(data)
        data = altered(data[:size], rng) + data[size:]
    return sealed(data) if kind == "PNG" and number % 2 else data


def altered(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes of it become others."""
    found = np.frombuffer(data, np.uint8).copy()
    found[rng.integers(0, len(found), rng.integers(1, 6))] = rng.integers(0, 256)
    return found.tobytes()


def sealed(png: bytes) -> bytes:
    """The same chunks with the right checksums, as far as there are chunks."""
    found, place = bytearray(png), 8
    while place + 12 <= len(found):
        end = place + 8 + int.from_bytes(found[place : place + 4], "big")
        if end + 4 > len(found):
            break
        found[end : end + 4] = zlib.crc32(found[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(found)


def pillow_decodes(data: bytes) -> bool:
    """Return whether Pillow gives the pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                image.convert("RGB")
                return True
    except Exception:
        return False


@pytest.mark.parametrize("kind", FORMATS)
def test_of_4000_damaged_images_all_that_decode_are_read_and_the_rest_are_refused(kind: str) -> None:
    """So many of each kind."""
    rng, read, refused = np.random.default_rng(0), 0, 0
    for number in range(4000 // len(FORMATS) + 1):
        data = damaged(kind, number, rng)
        try:
            assert READ(data, "x.jpg").shape == READ.shape
        except DamageError as error:
            said = str(error)
        else:
            read += 1
            continue
        assert not pillow_decodes(data), said
        assert said.startswith("cannot decode the image x.jpg (")
        refused += 1
    assert min(read, refused) > 100


def exif(orientation: int, order: str = "<", make: tuple[int, int] = (8, 74), kind: int = 3) -> bytes:
    """Tags in their order: the maker (of so many bytes at some offset), the orientation (of a kind), a resolution in
    letters, which Pillow cannot turn into a number."""
    entries = [(0x010F, 2, *make), (0x0112, kind, 1, orientation << 16 if kind == 3 and order == ">" else orientation)]
    entries += [(0x011A, 2, 4, int.from_bytes(b"72\0\0", "little" if order == "<" else "big"))]
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    body = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(entries)) + body + bytes(4)


def turned(orientation: int, kind: str, **options: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return what is read of a photo that its camera held so, and what the photo is."""
    upright = photo("PNG", 0).convert("RGB").resize((8, 8))
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(orientation, TURNS.get(orientation))
    buffer = io.BytesIO()
    (upright if back is None else upright.transpose(back)).save(buffer, kind, quality=95, **options)
    return READ(buffer.getvalue()), np.asarray(upright).transpose(2, 0, 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_whatever_is_wrong_with_its_other_tags(kind: str, orientation: int) -> None:
    for options in ({}, {"order": ">"}, {"make": (9999, 2**31)}, {"make": (2**32 - 1, 3)}, {"kind": 4}):
        found, photo = turned(orientation, kind, exif=exif(orientation, **options))
        assert np.abs(found.astype(int) - photo).mean() < 12, options


@pytest.mark.parametrize("orientation", [0, 9, 2**15])
def test_an_orientation_that_is_none_leaves_the_photo_as_it_is(orientation: int) -> None:
    found, photo = turned(1, "PNG", exif=exif(orientation))
    assert np.array_equal(found, photo)


def test_an_orientation_in_xmp_or_as_imagemagick_writes_it_counts_too() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for kind in ("JPEG", "WEBP"):
        found, photo = turned(6, kind, xmp=xmp)
        assert np.abs(found.astype(int) - photo).mean() < 12
    digits = exif(6).hex()
    for text, orientation in ((f"\nexif\n{len(digits) // 2:8}\n{digits}\n", 6), ("\nexif\n 4\nzz\n", 1), ("", 1)):
        profile = PngInfo()
        profile.add_text("Raw profile type exif", text)
        found, photo = turned(orientation, "PNG", pnginfo=profile)
        assert np.array_equal(found, photo)


@pytest.mark.parametrize(("side", "reads"), [(12_000, True), (14_000, False)])
def test_an_image_that_would_fill_the_memory_is_refused(side: int, reads: bool) -> None:
    """Pillow warns of more than 89 million pixels and refuses twice as many; a large photo is no mistake."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    if reads:
        assert not READ(buffer.getvalue()).any()
    else:
        with pytest.raises(DamageError, match=r"cannot decode the image x\.png \(Image size .* exceeds limit"):
            READ(buffer.getvalue(), "x.png")


def test_a_file_that_cannot_be_read_is_no_damaged_image(tmp_path: Path) -> None:
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for name, reason in (
        ("dead.jpg", "it is a link that leads nowhere"),
        ("loop.jpg", "it is a link that leads nowhere"),
        ("none.jpg", "No such file or directory"),
        (".", "Is a directory"),
    ):
        with pytest.raises(InputError, match=rf"cannot read the image \S+ \({reason}\): mend or remove it") as raised:
            READ(tmp_path / name)
        assert not isinstance(raised.value, DamageError)


def chunk(name: bytes, content: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(name + content) if crc is None else crc
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


def segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


PNG_METADATA = {
    "a text of 2 MB": chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 2_000_000)),
    "XMP of 2 MB": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"a" * 2_000_000)),
    "a profile of an unknown method": chunk(b"iCCP", b"k\0\5garbage"),
    "a text with another checksum": chunk(b"tEXt", b"k\0v", crc=0),
    "a size without numbers": chunk(b"pHYs", b"\0"),
    "a gamma without a number": chunk(b"gAMA", b"\0"),
    "colours without numbers": chunk(b"cHRM", b"\0\0\0"),
    "an intent without a number": chunk(b"sRGB", b""),
    "transparency with another checksum": chunk(b"tRNS", b"\0\1\0\1\0\1", crc=0),
}


@pytest.mark.parametrize("metadata", PNG_METADATA.values(), ids=PNG_METADATA)
def test_a_png_whose_metadata_are_damaged_is_read(metadata: bytes) -> None:
    data, number = encoded("PNG", 0, b""), 33  # after the signature and IHDR
    assert np.array_equal(READ(data[:number] + metadata + data[number:]), READ(data))


def test_a_png_is_turned_as_tags_of_another_checksum_say() -> None:
    data, exif = encoded("PNG", 0, b""), tags().removeprefix(b"Exif\0\0")
    turned = READ(data[:33] + chunk(b"eXIf", exif) + data[33:])
    assert not np.array_equal(turned, READ(data))
    assert np.array_equal(READ(data[:33] + chunk(b"eXIf", exif, crc=0) + data[33:]), turned)


@pytest.mark.parametrize(
    "metadata", [segment(0xE0, b"JFIF\0"), segment(0xEE, b"Adobe"), segment(0xED, b"Photoshop 3.0\0")]
)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_jpeg_whose_metadata_are_damaged_is_read_in_its_colours_and_the_right_way_up(
    number: int, metadata: bytes
) -> None:
    """One of the three is CMYK, which Adobe's own note tells how to read."""
    data = encoded("JPEG", number, tags())
    assert np.array_equal(READ(data[:2] + metadata + data[2:]), READ(data))
