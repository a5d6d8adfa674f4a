"""Lake's one-shot classification task of Omniglot: 20 fixed runs within an alphabet.

Brenden Lake, Ruslan Salakhutdinov, Joshua Tenenbaum. Human-level concept learning through probabilistic program induction.
Science 2015; and The Omniglot challenge: a 3-year progress report. 2019 (arXiv:1902.03477). A run has 20 characters of one
alphabet: one drawing of each as support, and one of each by another drawer as query. The runs are in `all_runs.zip` of the
official repository: a folder per run with `training/class01.png` to `class20.png`, `test/item01.png` to `item20.png`, and
`class_labels.txt`, whose lines name a query and the support image of its class.
"""

import io
import zipfile
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from datamodules.index.fixed_episodes import FixedEpisode, Item
from datamodules.sources.picture_archive import intact
from lightning_meta.core import InputError

ARCHIVE, LABELS = "all_runs.zip", "class_labels.txt"


class Run(NamedTuple):
    """A run: the drawings of the support set, one per class, and the queries, each with the number of its class."""

    name: str
    support: list[Image.Image]
    queries: list[tuple[Image.Image, int]]


def read_runs(path: Path) -> list[Run]:
    """Read the runs of `all_runs.zip`, in order; classes are numbered in the order of their files.

    Raises:
        InputError: If the file is damaged, or is not of this form.
    """
    with intact(path), zipfile.ZipFile(path) as archive:
        lists = sorted(name for name in archive.namelist() if name.rpartition("/")[2] == LABELS)
        runs = [_run(path, archive, name) for name in lists]
    if not runs:
        raise InputError(f"{path} holds no {LABELS}: fetch all_runs.zip of the Omniglot repository again")
    if len({(len(run.support), len(run.queries)) for run in runs}) > 1:
        raise InputError(f"the runs of {path} differ in size: fetch all_runs.zip of the Omniglot repository again")
    return runs


def ink_digest(drawing: Image.Image) -> bytes:
    """Return a digest of the ink of a drawing, which tells whether two are the same."""
    return blake2b(np.packbits(np.asarray(drawing.convert("L")) < 128).tobytes(), digest_size=16).digest()


class OneShotSet(NamedTuple):
    """The runs as classes and episodes: the drawings of each character by its name, and the episodes that refer to them."""

    drawings: dict[str, list[Image.Image]]
    episodes: list[FixedEpisode]


def one_shot_set(runs: Iterable[Run], names: dict[bytes, str]) -> OneShotSet:
    """Return the runs as classes and episodes.

    A character whose drawings are among those with known names gets that name, so that a report can tell whether it was
    trained on; any other is named after its run, such as `run01/class07`.

    Args:
        runs: The runs.
        names: The name of the character by the `ink_digest` of each known drawing.
    """
    drawings: dict[str, list[Image.Image]] = {}
    episodes = []
    for run in runs:
        own = [names.get(ink_digest(drawing)) for drawing in run.support]
        known = len(set(own) - {None}) == len(own)
        labels = [str(name) if known else f"{run.name}/class{i + 1:02d}" for i, name in enumerate(own)]

        def add(drawing: Image.Image, label: int, labels: list[str] = labels) -> Item:
            group = drawings.setdefault(labels[label], [])
            group.append(drawing)
            return Item(list(drawings).index(labels[label]), len(group) - 1, label)

        support = [add(drawing, label) for label, drawing in enumerate(run.support)]
        queries = [add(drawing, label) for drawing, label in run.queries]
        episodes.append(FixedEpisode(support, sorted(queries, key=lambda item: item.label)))
    return OneShotSet(drawings, episodes)


def _run(path: Path, archive: zipfile.ZipFile, labels: str) -> Run:
    """Read the run of a list of labels. Its lines name files relative to the folder that holds the run."""
    folder = labels.rpartition("/")[0]
    base = folder.rpartition("/")[0]
    pairs = [line.split() for line in archive.read(labels).decode().splitlines() if line.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise InputError(f"{labels} in {path} has a line that is not a query and a class: fetch {path.name} again")
    classes = sorted({training for _, training in pairs})
    present = set(archive.namelist())

    def drawing(name: str) -> Image.Image:
        inside = f"{base}/{name}".lstrip("/")
        if inside not in present:
            raise InputError(f"{path} lacks {inside}, which {labels} names: fetch {path.name} again")
        return Image.open(io.BytesIO(archive.read(inside))).convert("L")

    queries = [(drawing(query), classes.index(training)) for query, training in sorted(pairs)]
    return Run(folder.rpartition("/")[2], [drawing(name) for name in classes], queries)
