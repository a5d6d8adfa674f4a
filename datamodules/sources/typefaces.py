"""Typefaces in font files: their names, licences and character maps, read with fontTools."""

import logging
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from fontTools.ttLib import TTFont
from numpy.typing import NDArray

ENDINGS = (".ttf", ".otf", ".ttc", ".otc")
OUTLINES = ("glyf", "CFF ", "CFF2")  # tables of outlines; a font without one holds only bitmaps
SHARED = 16  # a glyph of more characters than this is a placeholder, as in fonts of last resort


class Typeface(NamedTuple):
    """A typeface in a font file.

    path: the font file.
    number: number of the typeface in a collection (.ttc, .otc); 0 in other files.
    family, style: its names, such as `Noto Sans CJK JP` and `Bold`.
    licence, licence_url, notice: the licence, its address and the copyright notice that the font states, or empty.
    outlines: place of the table of outlines in the file; typefaces of a collection may share it.
    characters: the characters that it has, sorted, as Unicode code points.
    glyphs: the number of the glyph of each character.
    """

    path: Path
    number: int
    family: str
    style: str
    licence: str
    licence_url: str
    notice: str
    outlines: int
    characters: NDArray[np.integer]
    glyphs: NDArray[np.integer]


def read_typefaces(path: Path) -> tuple[list[Typeface], str]:
    """Read the typefaces of a font file.

    Returns:
        The typefaces that can be drawn, and the reason if there are none: it is a damaged file or a bitmap font, for
        example.
    """
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns about names of glyphs, which are not used here
    try:
        with path.open("rb") as file:
            each = (_typeface(path, n, TTFont(file, fontNumber=n, lazy=True)) for n in range(_count(file)))
            typefaces = [typeface for typeface in each if typeface]
    except Exception as error:  # damaged bytes make fontTools fail in many ways
        return [], f"it is damaged: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    return typefaces, "" if typefaces else "it has no outlines of Unicode characters"


def _count(file: BinaryIO) -> int:
    """Return the number of typefaces in an open font file."""
    head = file.read(12)
    return int.from_bytes(head[8:12], "big") if head[:4] == b"ttcf" else 1


def _typeface(path: Path, number: int, font: TTFont) -> Typeface | None:
    """Return the typeface of an open font, or None if it has no outlines or no characters."""
    tables = [table for table in OUTLINES if table in font]
    if not tables or "cmap" not in font or font.reader is None:
        return None
    # Names of glyphs would take long to read. These keep the numbers.
    names = [f"glyph{glyph}" for glyph in range(font["maxp"].numGlyphs)]
    font.setGlyphOrder(names)
    number_of = {name: glyph for glyph, name in enumerate(names)}
    pairs = sorted((code, number_of.get(name, 0)) for code, name in (font.getBestCmap() or {}).items())
    characters, glyphs = np.array(pairs, np.int32).reshape(-1, 2).T
    uses = np.bincount(glyphs, minlength=1)
    real = (glyphs > 0) & (uses[glyphs] <= SHARED)  # glyph 0 is .notdef
    if not real.any():
        return None
    text = {key: _text(font, *keys) for key, keys in NAMES.items()}
    text["family"] = text["family"] or path.stem
    outlines = int(font.reader.tables[tables[0]].offset)  # type: ignore  # fontTools' stubs lack what its entries have
    return Typeface(path, number, **text, outlines=outlines, characters=characters[real], glyphs=glyphs[real])


# Numbers of the entries of a font's name table, the best first.
NAMES = {"family": (16, 1), "style": (17, 2), "licence": (13,), "licence_url": (14,), "notice": (0,)}


def _text(font: TTFont, *keys: int) -> str:
    """Return the first of the entries of a font's name table that is not empty."""
    entries = (font["name"].getDebugName(key) for key in keys) if "name" in font else ()
    return next((entry.strip() for entry in entries if entry and entry.strip()), "")
