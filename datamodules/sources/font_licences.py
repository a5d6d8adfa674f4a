"""The list of typefaces that a set was drawn with and of their licences, for whoever passes the set on."""

from collections import Counter
from collections.abc import Sequence

from datamodules.sources.typefaces import Typeface

LICENCES = "fonts.txt"
TITLE = """\
The pictures of this set were drawn with the typefaces below. Their licences and copyright notices, as the font files state
them, are given for each; whoever passes the pictures on needs to respect them.
"""


def licence_text(typefaces: Sequence[Typeface], pictures_of: Counter[int]) -> str:
    """Return the typefaces that gave pictures, grouped by licence.

    Args:
        typefaces: The typefaces.
        pictures_of: The number of pictures that each gave, by its place in `typefaces`.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for number, face in enumerate(typefaces):
        if pictures_of[number]:
            groups.setdefault((face.licence, face.licence_url), []).append(number)
    parts = [TITLE]
    for (licence, url), numbers in groups.items():
        lines = [f"{'=' * 80}", licence or "These font files state no licence; the package that they came with may."]
        lines += [url] if url else []
        lines += ["-" * 80]
        for number in numbers:
            face = typefaces[number]
            collection = f", typeface {face.number}" if face.number else ""
            lines.append(f"{face.family} {face.style} ({face.path.name}{collection}): {pictures_of[number]} pictures")
        notices = dict.fromkeys(typefaces[number].notice for number in numbers)
        parts.append("\n".join([*lines, *(f"    {notice}" for notice in notices if notice)]) + "\n")
    return "\n".join(parts)
