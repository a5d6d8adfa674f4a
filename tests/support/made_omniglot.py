"""A small Omniglot in the layout of the official files: two zip files, class lists, and runs of one-shot classification."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ANGLES = (0, 90, 180, 270)
CHARACTERS = {
    "images_background": ["Greek/character01", "Greek/character02", "Latin/character01"],
    "images_evaluation": ["Angelic/character01", "Angelic/character02"],
}
SPLITS = {
    "train": ["Greek/character01", "Angelic/character01"],
    "val": ["Greek/character02"],
    "test": ["Latin/character01", "Angelic/character02"],
}
DRAWINGS = 3
# For each class of a run, the number of its character and of the drawing that is the query; that of the support set is the
# first. Character 7 is in no zip file.
RUNS = {"run01": [(0, 2), (1, 1)], "run02": [(0, 1), (7, 1)]}


def make_omniglot(folder: Path) -> Path:
    """Write the files into a folder."""
    (folder / "splits_vinyals").mkdir(parents=True)
    for name, characters in CHARACTERS.items():
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.mkdir(name)
            for i, character in enumerate(characters):
                archive.mkdir(f"{name}/{character}")
                for j in range(DRAWINGS):
                    archive.writestr(f"{name}/{character}/{100 + i:04d}_{j + 1:02d}.png", drawing(i, j))
    for split, characters in SPLITS.items():
        (folder / "splits_vinyals" / f"{split}.txt").write_text("\n".join(rotations(characters)) + "\n")
    make_runs(folder / "all_runs.zip", RUNS)
    return folder


def make_runs(path: Path, runs: Mapping[str, Sequence[tuple[int, int]]]) -> None:
    """Write runs of one-shot classification, whose queries are in another order than the classes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, classes in runs.items():
            lines = []
            for label, (character, asked) in enumerate(classes):
                training, test = f"training/class{label + 1:02d}.png", f"test/item{len(classes) - label:02d}.png"
                archive.writestr(f"{name}/{training}", drawing(character, 0))
                archive.writestr(f"{name}/{test}", drawing(character, asked))
                lines.append(f"{name}/{test} {name}/{training}")
            archive.writestr(f"{name}/class_labels.txt", "\n".join(sorted(lines)) + "\n")


def rotations(characters: list[str]) -> list[str]:
    """Return the names of the four classes of each character."""
    return [f"{character}/rot{angle:03d}" for character in characters for angle in ANGLES]


def drawing(character: int, number: int) -> bytes:
    """Return a PNG of 105x105 black or white points: a lying L, black on white."""
    paper = np.full((105, 105), 255, np.uint8)
    paper[15 : 23 + character, 15:75] = 0
    paper[15 : 60 + number, 15:23] = 0
    buffer = io.BytesIO()
    Image.fromarray(paper).convert("1").save(buffer, "PNG")
    return buffer.getvalue()
