"""lightning-meta adapt: put a meta-trained model to use on new classes."""

import csv
from pathlib import Path

import numpy as np
import torch
from jsonargparse import auto_cli
from rich.progress import track

from datamodules.preprocess import Preprocess, list_images
from lightning_meta.cli.checks import images_of
from lightning_meta.cli.complaints import Complaining
from lightning_meta.core.files import whole
from lightning_meta.cli.halves import few_shot
from lightning_meta.core import Examples, InputError
from lightning_meta.training.checkpoint import load, read


def adapt(ckpt: Path, support: Path, query: Path, out: Path = Path("predictions.csv"), batch: int = 256) -> None:
    """Adapt to new classes from a folder of labelled examples, and classify other images.

    Writes a CSV with a row for each query image: its path, the predicted class, the probability of that class.

    Args:
        ckpt: checkpoint of `fit` on images.
        support: folder with one sub-folder of examples for each class; a class may have any number of them.
        query: folder of images to classify, sub-folders included.
        out: CSV file to write.
        batch: images classified at a time; a transductive learner takes all at once.
    """
    if batch < 1:
        raise InputError(f"--batch is {batch}: give 1 or more")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder: give the name of a CSV file")
    learner = few_shot(ckpt, load(ckpt), "adapt")
    preprocess = image_preprocess(ckpt)
    names, examples = read_support(support, preprocess)
    paths = list_images(query)
    if learner.transductive:
        print("transductive: a prediction depends on the other query images, which are classified all at once")
        batch = len(paths)
    phi = learner.adapt(examples)
    rows = []
    with torch.no_grad():
        for start in track(range(0, len(paths), batch), "images"):
            part = paths[start : start + batch]
            probability, label = phi(tensor(part, preprocess))[0].softmax(-1).max(-1)
            rows += zip(map(str, part), (names[i] for i in label.tolist()), probability.tolist(), strict=True)
    with whole(out) as aside, aside.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "class", "probability"))
        writer.writerows((path, name, f"{p:.6f}") for path, name, p in rows)
    print(f"{out}: {len(rows)} images, {len(names)} classes")


def image_preprocess(ckpt: Path) -> Preprocess:
    """How the checkpoint's training images were made; InputError where it was not trained on images."""
    preprocess = images_of(read(ckpt))
    if not isinstance(preprocess, Preprocess):
        raise InputError(
            f"{ckpt} was not trained on images (by datamodules.images.ImageEpisodes), so it cannot read yours"
        )
    return preprocess


def read_support(folder: Path, preprocess: Preprocess) -> tuple[list[str], Examples]:
    """Class names and the support set, a tasks axis of 1, of a folder with one sub-folder a class."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a folder with one sub-folder of examples for each class")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise InputError(f"{folder} has {len(classes)} class folders: give two or more, a sub-folder of examples each")
    paths = [list_images(path) for path in classes]
    labels = torch.cat([torch.full((1, len(p)), i) for i, p in enumerate(paths)], dim=1)
    x = tensor([path for p in paths for path in p], preprocess)
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))  # as the streams, no class in a row
    return [path.name for path in classes], Examples(x[:, order], labels[:, order])


def tensor(paths: list[Path], preprocess: Preprocess) -> torch.Tensor:
    """Images [1, n, channels, size, size] in 0..1."""
    return torch.from_numpy(np.stack([preprocess(path) for path in paths])).unsqueeze(0).float() / 255


def run(argv: list[str]) -> None:
    auto_cli(adapt, args=argv, prog="lightning-meta adapt", parser_class=Complaining, as_positional=False)
