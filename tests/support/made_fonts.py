"""Small fonts whose characters are rectangles, made with fontTools."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import TTCollection, TTFont

EM = 700  # units of the em square: it has 24 pixels of a picture of 28, so a pixel is 29 and 1/6 units
BOX = (0, 0, 500, 700)  # the .notdef glyph
Rectangle = tuple[int, int, int, int]  # left, bottom, right, top


def make_font(
    path: Path,
    family: str,
    shapes: Mapping[str, Sequence[Rectangle]],
    style: str = "Regular",
    licence: str = "Free of any conditions",
) -> Path:
    """Write a font in which each character is a union of rectangles; none gives an empty glyph."""
    path.parent.mkdir(parents=True, exist_ok=True)
    built(family, shapes, style, licence).save(path)
    return path


def make_collection(path: Path, fonts: Sequence[TTFont], shared: bool) -> Path:
    """Write a collection of fonts, which share equal tables if `shared`."""
    collection = TTCollection()
    collection.fonts = list(fonts)
    collection.save(str(path), shareTables=shared)
    return path


def built(family: str, shapes: Mapping[str, Sequence[Rectangle]], style: str, licence: str) -> TTFont:
    """Return a font in memory."""
    names = {character: f"u{ord(character):04X}" for character in shapes}
    glyphs = {".notdef": [BOX], **{names[character]: rectangles for character, rectangles in shapes.items()}}
    font = FontBuilder(EM, isTTF=True)
    font.setupGlyphOrder(list(glyphs))
    font.setupCharacterMap({ord(character): name for character, name in names.items()})
    font.setupGlyf({name: _outline(rectangles) for name, rectangles in glyphs.items()})
    font.setupHorizontalMetrics(dict.fromkeys(glyphs, (EM, 0)))
    font.setupHorizontalHeader(ascent=EM, descent=0)
    font.setupNameTable(
        {"familyName": family, "styleName": style, "licenseDescription": licence, "copyright": f"{family} is ours"}
    )
    font.setupOS2()
    font.setupPost()
    font.font["head"].created = font.font["head"].modified = 0
    return font.font


def _outline(rectangles: Sequence[Rectangle]) -> object:
    pen = TTGlyphPen(None)
    for left, bottom, right, top in rectangles:
        pen.moveTo((left, bottom))
        for point in ((left, top), (right, top), (right, bottom)):
            pen.lineTo(point)
        pen.closePath()
    return pen.glyph()
