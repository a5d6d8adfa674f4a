"""lightning-meta adapt: put a meta-trained model to use on new classes."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from datamodules.index.header import FeatureInfo
from datamodules.index.trained_on import images_of
from datamodules.reading.image_files import class_folders, list_images
from datamodules.reading.preprocess import Preprocess
from lightning_meta.config.links import few_shot
from lightning_meta.config.parser_errors import Complaining, add_trust
from lightning_meta.core import Episode, Examples, InputError
from lightning_meta.core.files import whole
from lightning_meta.evaluation.rehearsal import try_task
from lightning_meta.training.checkpoint import load, read
from lightning_meta.training.evaluation import observe


def adapt(
    ckpt: Path,
    support: Path,
    query: Path,
    out: Path = Path("predictions.csv"),
    batch: int = 256,
    skip: bool = False,
    trust: list[str] | None = None,
) -> None:
    """Adapt to new classes from a folder of labelled examples, and classify other images.

    Writes a CSV, in UTF-8, with a row for each query image: its path, the predicted class, the probability of that class.

    Args:
        ckpt: checkpoint of `fit` on images.
        support: folder with one sub-folder of examples for each class; a class may have any number of them.
        query: folder of images to classify, sub-folders included.
        out: CSV file to write.
        batch: images classified at a time; a transductive learner takes all at once.
        skip: pass over images that cannot be read or do not decode, and count them; a query image keeps its row, without a
            class.
        trust: packages whose classes the checkpoint may name.
    """
    if batch < 1:
        raise InputError(f"--batch is {batch}: give 1 or more")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder: give the name of a CSV file")
    learner = few_shot(ckpt, load(ckpt, trust=trust or ()), "adapt")
    preprocess = image_preprocess(ckpt)
    skipped: list[str] | None = [] if skip else None
    names, examples = read_support(support, preprocess, skipped)
    paths = list_images(query)
    try_task(learner, Episode(examples, Examples(examples.x[:, :2], examples.y[:, :2])))
    with whole(out) as aside, aside.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "class", "probability"))
        file.flush()  # a disk that is full ends it here, before the work
        observe(learner, Episode(examples, repeated(examples, min(batch, len(paths)))))
        if learner.noisy:
            print("predictions change from call to call: the backbone draws random numbers")
        if learner.transductive:
            print("transductive: a prediction depends on the other query images, which are classified all at once")
            batch = len(paths)
        phi = learner.adapt(examples)
        for start in track(range(0, len(paths), batch), "images"):
            part = paths[start : start + batch]
            images = decode(part, preprocess, skipped)
            found = iter(classify(phi, list(images.values())))
            for path in part:
                label, probability = next(found) if path in images else (None, 0.0)
                cells = ("", "") if label is None else (names[label], f"{probability:.6f}")
                writer.writerow((written(path), *map(written, cells)))
    for message in (skipped or [])[:10]:
        print(f"skipped: {message}")
    if skipped:
        print(f"{len(skipped)} images cannot be read or decoded and were skipped")
    print(f"{out}: {len(paths)} images, {len(names)} classes")


def repeated(examples: Examples, n: int) -> Examples:
    """So many examples, and two or more: the same over and over where there are fewer."""
    index = torch.arange(max(n, 2)) % examples.x.shape[1]
    return Examples(examples.x[:, index], examples.y[:, index])


def image_preprocess(ckpt: Path) -> Preprocess:
    """Return the preprocessing of the checkpoint's training images. Raise InputError if it was not trained on images."""
    made = images_of(ckpt, read(ckpt))
    if isinstance(made, FeatureInfo):
        raise InputError(
            f"{ckpt} was trained on features of {made.backbone}, written by `shards features`, and adapt reads images: train"
            " on the images themselves, with lightning_meta.nn.Frozen for a backbone around this one, and adapt that checkpoint"
        )
    if made is None:
        raise InputError(
            f"{ckpt} was not trained on images (by datamodules.images.ImageEpisodes), so it cannot read yours"
        )
    return made


def read_support(folder: Path, preprocess: Preprocess, skipped: list[str] | None = None) -> tuple[list[str], Examples]:
    """Class names and the support set, a tasks axis of 1, of a folder with one sub-folder a class. See `decode`."""
    folders = class_folders(folder)
    if len(folders) < 2:
        raise InputError(f"{folder} has {len(folders)} class folders: give two or more, a sub-folder of examples each")
    classes = [list(decode(list_images(path), preprocess, skipped).values()) for path in folders]
    if bare := [path for path, images in zip(folders, classes, strict=True) if not images]:
        raise InputError(f"no image of {bare[0]} decodes: give each class an example")
    labels = torch.cat([torch.full((1, len(images)), i) for i, images in enumerate(classes)], dim=1)
    x = tensor([image for images in classes for image in images])
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))  # as the streams, no class in a row
    return [path.name for path in folders], Examples(x[:, order], labels[:, order])


def decode(
    paths: list[Path], preprocess: Preprocess, skipped: list[str] | None = None
) -> dict[Path, NDArray[np.uint8]]:
    """The images at `paths`. What cannot be read or decoded raises InputError or, given a list to tell of them, is left
    out."""
    found = {}
    for path in paths:
        try:
            found[path] = preprocess(path)
        except InputError as error:
            if skipped is None:
                raise InputError(f"{error}, or pass over all such images with --skip true") from error
            skipped.append(str(error))
    return found


def tensor(images: list[NDArray[np.uint8]]) -> torch.Tensor:
    """Images [1, n, channels, size, size] in 0..1."""
    return torch.from_numpy(np.stack(images)).unsqueeze(0).float() / 255


def classify(phi: Callable[[Tensor], Tensor], images: list[NDArray[np.uint8]]) -> list[tuple[int, float]]:
    """The most probable class of each image, and its probability."""
    if not images:
        return []
    with torch.no_grad():
        probability, label = phi(tensor(images))[0].softmax(-1).max(-1)
    return list(zip(label.tolist(), probability.tolist(), strict=True))


def written(text: Path | str) -> str:
    """A name for a file in UTF-8: the very bytes that the file system has, whatever the locale."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def run(argv: list[str]) -> None:
    parser = Complaining(prog="lightning-meta adapt", description=(adapt.__doc__ or "").split("Args:")[0].strip())
    parser.add_function_arguments(adapt, as_positional=False, skip={"trust"})
    add_trust(parser)
    adapt(**parser.parse_args(argv).as_dict())
