"""Pictures of characters, drawn from font files with Pillow, and the removal of near-duplicates.

Imports neither PyTorch nor the rest of the package, so that the processes that draw start quickly.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFont

FINER = 2  # drawn at this multiple of the size and reduced, so that hinting to the pixel grid has little effect
EM = 6 / 7  # side of the em square, of the side of the picture
MARGIN = 1  # pixels on each side that ink does not reach
UNASSIGNED = "\U0010fffe"  # never a character: a font draws its .notdef glyph, often a box


class Drawn(NamedTuple):
    """The pictures of a character.

    code: the character, as a Unicode code point.
    pictures: uint8 [count, size, size], ink = 255.
    typefaces: the number of the typeface of each picture.
    missing: number of typefaces whose glyph is empty, is the .notdef box, or cannot be drawn.
    near: number of pictures that were dropped since they are nearly the same as one of another typeface.
    """

    code: int
    pictures: NDArray[np.uint8]
    typefaces: list[int]
    missing: int
    near: int


def draw_characters(
    wanted: Sequence[tuple[int, Sequence[int]]],
    typefaces: Sequence[tuple[Path, int]],
    size: int,
    distance: float,
) -> list[Drawn]:
    """Draw characters, each with several typefaces.

    Args:
        wanted: For each character, its code point and the numbers of the typefaces to draw it with.
        typefaces: The font file of each typeface and its number in the file.
        size: Side of the pictures, in pixels.
        distance: The least distance (`ink_distance`) between two pictures of a character.
    """
    pictures: dict[int, list[tuple[int, NDArray[np.uint8]]]] = {code: [] for code, _ in wanted}
    for number in sorted({number for _, numbers in wanted for number in numbers}):  # so each file is opened once
        for code, numbers in wanted:
            if number in numbers and (picture := draw(*typefaces[number], chr(code), size)) is not None:
                pictures[code].append((number, picture))
    return [_distinct(code, len(numbers), pictures.pop(code), size, distance) for code, numbers in wanted]


def draw_as_arrays(
    wanted: Sequence[tuple[int, Sequence[int]]], typefaces: Sequence[tuple[Path, int]], size: int, distance: float
) -> dict[str, NDArray[Any]]:
    """Draw characters as `draw_characters` does, and return the fields of the results as arrays by name."""
    drawn = draw_characters(wanted, typefaces, size, distance)
    return {
        "about": np.array([(one.code, len(one.pictures), one.missing, one.near) for one in drawn], np.int64),
        "pictures": np.concatenate([one.pictures.reshape(-1, size, size) for one in drawn]),
        "typefaces": np.concatenate([np.array(one.typefaces, np.int64) for one in drawn]),
    }


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Iterator[Drawn]:
    """Yield the characters that `draw_as_arrays` drew."""
    first = 0
    for code, count, missing, near in arrays["about"].tolist():
        part = slice(first, first := first + count)
        yield Drawn(code, arrays["pictures"][part], arrays["typefaces"][part].tolist(), missing, near)


def draw(path: Path, number: int, character: str, size: int) -> NDArray[np.uint8] | None:
    """Draw a character in the middle of a square, ink = 255 on 0.

    The em square is 6/7 of the picture, so that characters keep their relative sizes; a character that would not fit is
    made smaller.

    Args:
        path: The font file.
        number: Number of the typeface in the file.
        character: The character.
        size: Side of the picture, in pixels.

    Returns:
        uint8 [size, size], or None if the typeface has no glyph for it, an empty one, or one that cannot be drawn.
    """
    picture = _draw(path, number, character, size)
    notdef = _notdef(path, number, size)
    if picture is None or (notdef is not None and np.array_equal(picture, notdef)):
        return None
    return picture


def ink_distance(pictures: NDArray[np.uint8], picture: NDArray[np.uint8]) -> NDArray[np.floating]:
    """Return the distance of each of `pictures` [count, pixels] to a picture [pixels].

    It is the sum of the absolute differences, divided by the sum of all ink of both: 0 for equal pictures, 1 for pictures
    without a common pixel.
    """
    differences = (np.maximum(pictures, picture) - np.minimum(pictures, picture)).sum(1, dtype=np.int64)
    return differences / np.maximum(1, pictures.sum(1, dtype=np.int64) + picture.sum(dtype=np.int64))


def _distinct(code: int, asked: int, drawn: list[tuple[int, NDArray[np.uint8]]], size: int, distance: float) -> Drawn:
    """Keep of the pictures of a character, in the order of typefaces, those that are not close to one that is kept."""
    flat = np.zeros((len(drawn), size * size), np.uint8)
    typefaces: list[int] = []
    for number, picture in drawn:
        kept = len(typefaces)
        if not kept or ink_distance(flat[:kept], picture.ravel()).min() >= distance:
            flat[kept] = picture.ravel()
            typefaces.append(number)
    pictures = flat[: len(typefaces)].reshape(-1, size, size).copy()
    return Drawn(code, pictures, typefaces, asked - len(drawn), len(drawn) - len(typefaces))


def _draw(path: Path, number: int, character: str, size: int) -> NDArray[np.uint8] | None:
    try:
        mask = _font(path, number, round(size * FINER * EM)).getmask(character, mode="L")
    except OSError:  # its hinting program is faulty, for example
        return None
    width, height = mask.size
    ink = np.array(mask, np.uint8).reshape(height, width)
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows):
        return None
    image = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    side, room = size * FINER, (size - 2 * MARGIN) * FINER
    if (scale := room / max(image.size)) < 1:
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX
        )
    frame = Image.new("L", (side, side))
    frame.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(frame.resize((size, size), Image.Resampling.BOX))


@lru_cache(maxsize=128)  # each holds an open file
def _font(path: Path, number: int, pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), pixels, index=number, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4096)
def _notdef(path: Path, number: int, size: int) -> NDArray[np.uint8] | None:
    return _draw(path, number, UNASSIGNED, size)
