"""The choice of characters by range, block or script, and facts about a character from the Unicode database."""

import re
import unicodedata
from collections.abc import Callable
from hashlib import blake2b

from fontTools import unicodedata as blocks_and_scripts
from fontTools.unicodedata import Blocks

from lightning_meta.core import InputError

KINDS = ("Lu", "Ll", "Lt", "Lo", "Nd", "Nl", "Sm", "Sc", "So")  # letters, digits and symbols, by general category
RANGE = re.compile(r"(?:U\+)?([0-9A-F]{4,6})(?:-(?:U\+)?([0-9A-F]{4,6}))?", re.IGNORECASE)
SPLITS = ("train", "val", "test")

Chooses = Callable[[int], bool]


def chosen(characters: str | None) -> Chooses:
    """Return a function that tells whether a code point is chosen.

    Args:
        characters: Ranges (`U+4E00-U+9FFF`), names of blocks (`Hangul Syllables`) and of scripts (`Han`), separated by
            commas; by default all. A range is taken as it is. Of blocks, scripts and all, letters, digits and symbols are
            taken, without compatibility forms, which look like other characters.

    Raises:
        InputError: If a part is none of these.
    """
    if characters is None:
        return is_usual
    parts = [_part(part.strip()) for part in characters.split(",")]
    return lambda code: any(part(code) for part in parts)


def is_usual(code: int) -> bool:
    """Return whether a code point is a letter, digit or symbol, and not a compatibility form of another character."""
    character = chr(code)
    return unicodedata.category(character) in KINDS and unicodedata.normalize("NFKC", character) == character


def block_of(code: int) -> str:
    """Return the name of the Unicode block of a code point."""
    return blocks_and_scripts.block(chr(code))


def split_of(code: int, fractions: tuple[float, float, float], seed: int) -> str:
    """Return the split of a character, which depends on nothing but these arguments.

    So a character is in the same split of every set of the same seed and fractions, whatever fonts it is drawn with.
    """
    digest = blake2b(f"{seed} {code}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    return SPLITS[(place >= fractions[0]) + (place >= fractions[0] + fractions[1])]


def _part(part: str) -> Chooses:
    if match := RANGE.fullmatch(part):
        first = int(match[1], 16)
        last = int(match[2], 16) if match[2] else first
        if first > last or last > 0x10FFFF:
            raise InputError(f"characters {part}: give a range from a lower to a higher code point, up to U+10FFFF")
        return lambda code: first <= code <= last
    if part.casefold() in {name.casefold() for name in Blocks.VALUES}:
        return lambda code: block_of(code).casefold() == part.casefold() and is_usual(code)
    try:
        script = blocks_and_scripts.script_code(part)
    except KeyError as error:
        raise InputError(
            f"characters {part!r}: give ranges such as U+4E00-U+9FFF, names of Unicode blocks such as Hangul Syllables or of"
            " scripts such as Han, separated by commas"
        ) from error
    return lambda code: blocks_and_scripts.script(chr(code)) == script and is_usual(code)
