"""Characters of fonts as classes: known pictures, near-duplicates, what is left out, and the same set from the same fonts."""

import io
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from matplotlib import get_data_path

from datamodules import Preprocess, ShardSet, write_fonts
from datamodules.sources.drawing import draw, draw_characters, ink_distance
from datamodules.sources.font_files import read_fonts
from datamodules.sources.typefaces import read_typefaces
from lightning_meta.core import InputError
from support.made_fonts import BOX, Rectangle, built, make_collection, make_font

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SHARES = (0.5, 0.25, 0.25)


def bars(numbers: range | list[int], across: bool) -> list[Rectangle]:
    """A bar for each number, side by side, or on top of each other if `across`, in a frame that all letters share."""
    places = [(0, 100 * n, 700, 100 * n + 60) if across else (100 * n, 0, 100 * n + 60, 700) for n in numbers]
    return [(0, 0, 20, 20), (680, 680, 700, 700), *places]


def shapes(across: bool, letters: str = LETTERS) -> dict[str, list[Rectangle]]:
    """A pattern of bars for each letter: the digits of its number in base 2."""
    numbers = {letter: [n for n in range(6) if (ord(letter) - 95) >> n & 1] for letter in letters}
    return {letter: bars(which, across) for letter, which in numbers.items()}


@pytest.fixture
def fonts(tmp_path: Path) -> Path:
    """Three fonts: Down, the same in a style with hardly thicker bars, and Across."""
    folder = tmp_path / "fonts"
    make_font(folder / "down.ttf", "Down", shapes(False))
    thicker = {
        letter: [(left, bottom, right + 2, top) for left, bottom, right, top in bars]
        for letter, bars in shapes(False).items()
    }
    make_font(folder / "down-bold.ttf", "Down", thicker, style="Thick")
    make_font(folder / "across.otf", "Across", shapes(True), licence="Name the maker.\nSell no copies.")
    return folder


def test_a_picture_is_the_glyph_in_the_middle(tmp_path: Path) -> None:
    font = make_font(
        tmp_path / "f.ttf",
        "F",
        {"a": [(100, 50, 450, 400)], "b": [(0, 0, 1400, 700)], "c": [], "d": [BOX], "e": [(9, 9, 9, 9)]},
    )
    expected = np.zeros((28, 28), np.uint8)
    expected[8:20, 8:20] = 255  # 350 units are 12 of 28 pixels, since the em square of 700 has 24
    picture = draw(font, 0, "a", 28)
    assert picture is not None
    assert np.array_equal(picture, expected)
    wide = draw(font, 0, "b", 28)
    assert wide is not None
    assert wide[:, 1:-1].any(0).all(), "it is made smaller until it fits"
    assert not wide[:, [0, -1]].any()
    assert [draw(font, 0, character, 28) for character in "cdez"] == [None] * 4, (
        "empty, as .notdef, empty, and not there"
    )


def test_the_distance_is_the_share_of_ink_that_differs() -> None:
    left, right = np.zeros((2, 4, 4), np.uint8)
    left[:, :2], right[:, 2:] = 200, 100
    pictures = np.stack([left, right, left // 2]).reshape(3, 16)
    assert ink_distance(pictures, left.ravel()).tolist() == [0, 1, pytest.approx(1 / 3)]


def test_of_pictures_that_are_close_the_first_is_kept(fonts: Path) -> None:
    faces = [(fonts / name, 0) for name in ("down.ttf", "down-bold.ttf", "across.otf")]
    (close,) = draw_characters([(ord("k"), [0, 1, 2])], faces, 28, 0.25)
    assert (close.typefaces, close.near, close.missing, close.pictures.shape) == ([0, 2], 1, 0, (2, 28, 28))
    (everything,) = draw_characters([(ord("k"), [0, 1, 2])], faces, 28, 0.0)
    assert everything.typefaces == [0, 1, 2]
    assert np.array_equal(everything.pictures[[0, 2]], close.pictures)


def test_a_set_holds_each_character_once_per_typeface(fonts: Path, tmp_path: Path) -> None:
    (fonts / "broken.ttf").write_bytes(b"no font")
    (fonts / "readme.txt").write_text("no font either")
    written = write_fonts(tmp_path / "out", fonts, examples=2, fractions=SHARES, processes=1)
    shards = ShardSet(str(tmp_path / "out"))
    names = [record.name for record in shards.index.records]
    assert names == [f"U+{ord(letter):04X}" for letter in LETTERS]
    assert {shards.count(record) for record in range(26)} == {2}
    assert sorted(n for numbers in shards.index.splits.values() for n in numbers) == list(range(26))
    assert shards.index.preprocess == Preprocess(28, 1, invert=True)
    assert shards.verify() == []
    images = shards.images(0, np.arange(2))
    faces = [draw(fonts / name, 0, "a", 28) for name in ("across.otf", "down.ttf")]
    assert np.array_equal(images[:, 0], np.stack([face for face in faces if face is not None])), (
        "in the order of families"
    )
    report = written.summary()
    assert "3 typefaces in 4 font files, 78 glyphs" in report
    assert "broken.ttf (it is damaged" in report
    assert "pictures that were left out: 26 nearly the same as one of another typeface" in report
    licences = (tmp_path / "out" / "fonts.txt").read_text()
    assert "Name the maker.\nSell no copies." in licences
    assert "Down Regular (down.ttf): 26 pictures" in licences
    assert "Thick" not in licences, "it gave no picture"
    assert "Down is ours" in licences
    groups = shards.index.groups(np.arange(26))
    assert groups is not None
    assert {shards.index.group_name(group) for group in groups.tolist()} == {"Basic Latin"}


def test_the_same_fonts_give_the_same_bytes_wherever_they_are(fonts: Path, tmp_path: Path) -> None:
    write_fonts(tmp_path / "one", fonts, examples=2, fractions=SHARES, processes=1)
    moved = tmp_path / "elsewhere" / "z"
    shutil.copytree(fonts, moved)
    (moved / "across.otf").rename(moved.parent / "across.otf")
    given = [moved.parent / "across.otf", moved]
    write_fonts(tmp_path / "two", given, examples=2, fractions=SHARES, processes=1)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same_bytes(fonts: Path, tmp_path: Path) -> None:
    given = [fonts, Path(get_data_path()) / "fonts" / "ttf"]
    for processes in (1, 2):
        out = tmp_path / str(processes)
        write_fonts(out, given, "Latin", examples=2, distance=0.1, fractions=SHARES, processes=processes)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "task.yaml"}


def test_glyphs_that_typefaces_of_a_collection_share_are_counted_once(tmp_path: Path) -> None:
    pair = [built(family, shapes(False), "Regular", "none") for family in ("East", "West")]
    shared = make_collection(tmp_path / "shared.ttc", pair, shared=True)
    assert [face.number for face in read_typefaces(shared)[0]] == [0, 1]
    library = read_fonts([shared], None, 1)
    assert (library.counts().tolist(), library.shared) == ([1] * 26, 26)
    apart = make_collection(tmp_path / "apart.ttc", pair, shared=False)
    library = read_fonts([apart], None, 1)
    assert (library.counts().tolist(), library.shared) == ([2] * 26, 0)
    assert draw(apart, 1, "c", 28) is not None


def test_a_character_that_looks_like_an_earlier_one_is_left_out(fonts: Path, tmp_path: Path) -> None:
    accented = {"\u00e0": "a", "\u00e8": "~"}  # the first looks like another letter, the second like none
    for name, family, across in (("down.ttf", "Down", False), ("across.otf", "Across", True)):
        more = {letter: shapes(across, like)[like] for letter, like in accented.items()}
        make_font(fonts / name, family, {**shapes(across), **more})
    written = write_fonts(tmp_path / "out", fonts, examples=2, fractions=SHARES, processes=1)
    names = [record.name for record in written.index.records]
    assert "U+00E0" not in names
    assert "U+00E8" in names
    assert "1 characters look the same as an earlier one" in written.summary()


def test_a_glyph_of_very_many_characters_is_a_placeholder(tmp_path: Path) -> None:
    same = dict.fromkeys(LETTERS[:20], (*BOX[:2], 300, 300))
    font = built("F", {**{letter: [box] for letter, box in same.items()}, "z": [(0, 0, 9, 9)]}, "Regular", "none")
    cmap = font["cmap"]
    for table in cmap.tables:
        table.cmap = {code: "u0061" if code != ord("z") else name for code, name in table.cmap.items()}
    font.save(tmp_path / "f.ttf")
    ((face,), _) = read_typefaces(tmp_path / "f.ttf")
    assert face.characters.tolist() == [ord("z")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fonts": Path("nowhere")}, r"nowhere does not exist: give font files, or folders"),
        (
            {"fonts": Path("empty")},
            r"there are no fonts in empty \(.*\): give --fonts FOLDER, or install .* apt-get install f",
        ),
        (
            {"characters": "Klingon"},
            r"characters 'Klingon': give ranges such as U\+4E00-U\+9FFF, names of Unicode blocks",
        ),
        (
            {"characters": "U+0062-U+0061"},
            r"characters U\+0062-U\+0061: give a range from a lower to a higher code point",
        ),
        (
            {"characters": "Hangul"},
            r"no font has a character of Hangul: 4 files were read, of which \S*broken\.ttf \(it is",
        ),
        (
            {"examples": 5},
            r"0 characters have 5 pictures or more in these fonts, which leaves 0 for train: ask for fewer",
        ),
        ({"examples": 3, "distance": 0.25}, r"0 characters have 3 pictures or more in these fonts"),
        ({"examples": 1}, r"examples is 1: give 2 or more"),
        ({"distance": 1.0}, r"distance is 1\.0: give 0 or more, and less than 1"),
        ({"fractions": (1.0, 1.0, 1.0)}, r"fractions \(1\.0, 1\.0, 1\.0\): give three positive numbers that sum to 1"),
        ({"size": 5000}, r"size is 5000"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(
    fonts: Path, tmp_path: Path, options: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (fonts / "broken.ttf").write_bytes(b"no font")
    Path("empty").mkdir()
    with pytest.raises(InputError, match=message) as raised:
        write_fonts(Path("out"), **{"fonts": fonts, "processes": 1, "fractions": SHARES, **options})
    assert "\n" not in str(raised.value)
    drawn = ["out.chunks.partial"] if "is kept in out.chunks.partial" in str(raised.value) else []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "fonts", *drawn]


def test_real_typefaces_give_letters_that_differ() -> None:
    """The fonts that come with matplotlib: the weights of one family are nearer to each other than its serif face."""
    folder = Path(get_data_path()) / "fonts" / "ttf"
    faces = [(folder / f"DejaVu{name}.ttf", 0) for name in ("Sans", "Sans-Oblique", "Serif", "SansMono")]
    pictures = {(n, c): draw(*face, c, 28) for n, face in enumerate(faces) for c in "Rgk3"}
    assert all(picture is not None and picture.max() > 200 for picture in pictures.values())
    drawn = draw_characters([(ord(c), [0, 0, 1, 2, 3]) for c in "Rgk3"], faces, 28, 0.05)
    assert Counter(len(item.pictures) for item in drawn) == {4: 4}
    buffer = io.BytesIO()
    np.save(buffer, np.stack([item.pictures for item in drawn]))
    assert len(np.unique(np.concatenate([item.pictures for item in drawn]).reshape(16, -1), axis=0)) == 16
