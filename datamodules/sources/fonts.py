"""A shard set of the characters of fonts: each character is a class, and each typeface that has it gives an example."""

from pathlib import Path

from datamodules.reading.preprocess import Preprocess
from datamodules.sources.class_splits import check_fractions
from datamodules.sources.font_classes import FontClasses
from datamodules.sources.font_files import find_fonts, read_fonts, state_of_font
from datamodules.sources.font_licences import LICENCES, licence_text
from datamodules.writing.chunks import keep_chunks
from datamodules.writing.shards import check_out, write_shards
from datamodules.writing.written_set import WrittenSet
from lightning_meta.core import InputError
from lightning_meta.core.errors import check_at_least


def write_fonts(
    out: Path = Path("shards/fonts"),
    fonts: Path | list[Path] | None = None,
    characters: str | None = None,
    examples: int = 10,
    distance: float = 0.25,
    size: int = 28,
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2),
    seed: int = 0,
    processes: int | None = None,
) -> WrittenSet:
    """Write the characters of fonts, white on black: each character is a class, each typeface that has it an example.

    With the fonts of Chinese, Japanese and Korean that Linux distributions package, these are more than 10,000 classes. What is
    drawn is kept in OUT.chunks.partial until the set is whole: after a kill the same command continues.

    Args:
        out: Folder to write. `fonts.txt` in it lists the typefaces with their licences.
        fonts: Font files (.ttf, .otf, .ttc, .otc) and folders of them, one or several; by default those of the system.
        characters: Characters to draw, separated by commas: ranges (U+4E00-U+9FFF), Unicode blocks (Hangul Syllables) and
            scripts (Han); by default all letters, digits and symbols that are not compatibility forms of others.
        examples: Least number of pictures of a character; characters with fewer are left out.
        distance: Least distance between two pictures of a character, from 0 to 1: the sum of their absolute differences
            divided by the sum of all ink. Of pictures that are closer, such as two weights of one typeface, the first is
            kept; 0 keeps everything.
        size: Side of the pictures, in pixels.
        fractions: Shares of the characters for train, val and test.
        seed: Seed of the split. The split of a character depends on the seed and the fractions only, not on the fonts.
        processes: Processes that draw; by default one for each core. The set is the same for any number.

    Returns:
        The written set, with notes about what was left out.

    Raises:
        InputError: If there are no fonts, or they have too few characters.
    """
    check_at_least(2, examples=examples)
    check_at_least(0, seed=seed)
    check_at_least(8, size=size)
    check_at_least(1, processes=1 if processes is None else processes)
    check_fractions(fractions)
    if not 0 <= distance < 1:
        raise InputError(f"distance is {distance}: give 0 or more, and less than 1")
    preprocess = Preprocess(size, 1, invert=True).check()
    check_out(out)
    files = find_fonts([fonts] if isinstance(fonts, Path) else fonts)
    library = read_fonts(files, characters, processes)
    with keep_chunks(
        out, set="fonts", fonts=[state_of_font(path) for path in files], examples=examples, distance=distance, size=size
    ) as folder:
        classes = FontClasses(library, examples, distance, size, fractions, seed, processes, folder)

        def texts() -> dict[str, str]:
            return {LICENCES: licence_text(library.typefaces, classes.pictures_of)}

        index = write_shards(out, "fonts", preprocess, classes, texts=texts)
    return WrittenSet(out, index, (*library.notes(), *classes.notes(), f"typefaces and licences: {out / LICENCES}"))
