"""Font files of the system or of given folders, and the characters that their typefaces have."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.font_manager import findSystemFonts
from numpy.typing import NDArray

from datamodules.reading.image_files import is_clutter
from datamodules.reading.processes import in_processes
from datamodules.sources.characters import chosen
from datamodules.sources.typefaces import ENDINGS, Typeface, read_typefaces
from lightning_meta.core import InputError

INSTALL = "apt-get install fonts-nanum fonts-nanum-extra fonts-unfonts-core"  # 11,172 characters of Korean


class Library(NamedTuple):
    """The typefaces to draw with, and which of them have which character.

    typefaces: the typefaces, in the order of their names.
    codes: the characters, sorted, as code points [characters].
    starts: for each character the place of its first typeface in `which`, and the length of that [characters + 1].
    which: the numbers of the typefaces of all characters, one character after another.
    shared: number of glyphs that are left out, since another typeface of the same file has the same.
    unusable: lines about the files without a typeface that can be drawn.
    files: number of the font files.
    """

    typefaces: list[Typeface]
    codes: NDArray[np.int64]
    starts: NDArray[np.int64]
    which: NDArray[np.int32]
    shared: int
    unusable: list[str]
    files: int

    def counts(self) -> NDArray[np.int64]:
        """Return the number of typefaces of each character."""
        return np.diff(self.starts)

    def notes(self) -> list[str]:
        """Return lines about the fonts."""
        lines = [f"{len(self.typefaces)} typefaces in {self.files} font files, {len(self.which)} glyphs"]
        if self.shared:
            lines[0] += f" ({self.shared} more are shared by typefaces of one file)"
        if self.unusable:
            more = f" and {len(self.unusable) - 5} more" if len(self.unusable) > 5 else ""
            lines.append(f"fonts that were passed over: {'; '.join(self.unusable[:5])}{more}")
        return lines


def find_fonts(given: Sequence[Path] | None) -> list[Path]:
    """Return the font files among files and folders, by default those of the system; each once, sorted.

    Raises:
        InputError: If one of the given paths does not exist, or there are no font files.
    """
    if given is None:
        files = [Path(path) for path in findSystemFonts()]
    else:
        files = []
        for path in given:
            if not path.exists():
                raise InputError(f"{path} does not exist: give font files, or folders that hold some, with --fonts")
            files += [path] if path.is_file() else [file for file in path.rglob("*") if _is_font(file)]
    if not files:
        where = "on this system" if given is None else f"in {', '.join(map(str, given))}"
        raise InputError(
            f"there are no fonts {where} ({', '.join(ENDINGS)}): give --fonts FOLDER, or install some, on Debian and Ubuntu"
            f" with {INSTALL}"
        )
    return sorted({file.resolve(): file for file in sorted(files)}.values())


def state_of_font(path: Path) -> list[str | int]:
    """Return the path, length and time of a font file, by which another one is known."""
    about = path.stat()
    return [str(path.resolve()), about.st_size, about.st_mtime_ns]


def read_fonts(files: Sequence[Path], characters: str | None, processes: int | None) -> Library:
    """Read which typefaces have which of the chosen characters.

    Glyphs that several typefaces of one file share, as in a collection for several regions, are counted once.

    Args:
        files: The font files.
        characters: The choice of characters (see `datamodules.sources.characters.chosen`).
        processes: Processes that read; by default one for each core.

    Raises:
        InputError: If the choice is not legal, or no typeface has such a character.
    """
    is_chosen = chosen(characters)
    typefaces, unusable = list[Typeface](), list[str]()
    for path, (read, reason) in zip(files, in_processes(read_typefaces, files, processes, "fonts"), strict=True):
        typefaces += read
        if not read:
            unusable.append(f"{path} ({reason})")
    typefaces.sort(key=lambda face: (face.family, face.style, face.path.name, face.number, str(face.path)))
    empty = np.zeros(0, np.int64)
    codes = np.concatenate([empty, *(face.characters for face in typefaces)])
    glyphs = np.concatenate([empty, *(face.glyphs for face in typefaces)])
    which = np.repeat(np.arange(len(typefaces), dtype=np.int32), [len(face.characters) for face in typefaces])
    taken = np.isin(codes, [code for code in np.unique(codes).tolist() if is_chosen(code)])
    codes, glyphs, which = codes[taken], glyphs[taken], which[taken]
    if not len(codes):
        raise InputError(
            f"no font has a character of {characters or 'any script'}: {len(files)} files were read"
            f"{f', of which {unusable[0]}, for example, was passed over' if unusable else ''}. Give other --fonts or"
            " --characters"
        )
    places = {place: n for n, place in enumerate(dict.fromkeys((face.path, face.outlines) for face in typefaces))}
    outlines = np.array([places[face.path, face.outlines] for face in typefaces])[which]
    # 21 bits hold any code point, and more than the glyphs of a font or the fonts of a system.
    _, first = np.unique(codes << 42 | outlines << 21 | glyphs, return_index=True)
    first = first[np.lexsort((which[first], codes[first]))]
    unique, starts = np.unique(codes[first], return_index=True)
    return Library(
        typefaces=[face._replace(characters=empty, glyphs=empty) for face in typefaces],
        codes=unique.astype(np.int64),
        starts=np.append(starts, len(first)),
        which=which[first],
        shared=len(codes) - len(first),
        unusable=unusable,
        files=len(files),
    )


def _is_font(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS and not is_clutter(path.name) and path.is_file()
