"""Inputs of an estimator: images of any kind become what a learner reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from datamodules.reading.image_files import class_folders, list_images
from datamodules.reading.preprocess import Preprocess
from lightning_meta.core import InputError

KINDS = "paths, PIL images, or arrays of bytes [height, width] or [height, width, channels]"


def is_folder(x: Any) -> bool:
    """Return whether an input names one place, which must be a folder, and not a list of images."""
    return isinstance(x, (str, Path))


def holds_images(x: Any) -> bool:
    """Return whether an input is a list with paths or PIL images in it."""
    return isinstance(x, list) and any(isinstance(one, (str, Path, Image.Image)) for one in x)


def labelled(folder: str | Path) -> tuple[list[Path], list[str]]:
    """Return the images of a folder with one sub-folder for each class, and the class of each.

    Raises:
        InputError: If there are fewer than two sub-folders, or one holds no image.
    """
    folders = class_folders(Path(folder))
    if len(folders) < 2:
        raise InputError(
            f"{folder} has {len(folders)} class folders: give two or more, a sub-folder of examples for each class"
        )
    pairs = [(path, each.name) for each in folders for path in list_images(each)]
    return [path for path, _ in pairs], [name for _, name in pairs]


def decode(
    images: Sequence[Any] | NDArray[Any], preprocess: Preprocess, skipped: list[str] | None = None
) -> dict[int, NDArray[np.uint8]]:
    """Return images as arrays of the shape that a learner reads, by their place in the sequence.

    Args:
        images: Paths, PIL images, arrays of bytes [height, width] or [height, width, 1, 3 or 4], or arrays that have the
            shape [channels, size, size] of `preprocess` already; one sequence may mix them.
        preprocess: The steps from an image to the array.
        skipped: Takes messages about the images that cannot be read or decoded, which are then left out.

    Raises:
        InputError: If an image cannot be read or decoded and `skipped` is None, or is of no such kind.
    """
    arrays = {}
    for place, image in enumerate(images):
        try:
            arrays[place] = one_image(image, preprocess, f"image {place}")
        except InputError as error:
            if skipped is None:
                remedy = (
                    ", or pass over all such images with skip=True (--skip true)"
                    if isinstance(image, (str, Path))
                    else ""
                )
                raise InputError(f"{error}{remedy}") from error
            skipped.append(str(error))
    return arrays


def one_image(image: Any, preprocess: Preprocess, name: str) -> NDArray[np.uint8]:
    """Return an image as uint8 [channels, size, size]. Raises InputError, which calls an image without a path `name`."""
    if isinstance(image, (str, Path)):
        return preprocess(Path(image))
    if isinstance(image, Image.Image):
        try:
            return preprocess.array(image)
        except Exception as error:  # Pillow decodes an open file only now, and fails in many ways
            raise InputError(f"{name} does not decode ({error}): mend or remove it") from error
    values = np.asarray(image)
    if values.dtype != np.uint8:
        raise InputError(f"{name} is an array of {values.dtype}: give bytes (uint8, 0 to 255), {KINDS}")
    if values.shape == preprocess.shape:
        return values
    if values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (1, 3, 4)):
        grey = values.ndim == 3 and values.shape[2] == 1
        return preprocess.array(Image.fromarray(values[..., 0] if grey else values))
    raise InputError(f"{name} is an array of shape {list(values.shape)}: give {KINDS}")


def floats(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Return images as a tensor [1, n, channels, size, size] in 0..1."""
    return torch.from_numpy(np.stack(images)).unsqueeze(0).float() / 255
