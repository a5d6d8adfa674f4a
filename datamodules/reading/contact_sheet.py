"""A picture of a shard set: some classes, one row each."""

from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.reading.shard_set import ShardSet, open_images
from lightning_meta.core.errors import check_at_least
from lightning_meta.core.files import check_writable, whole


def write_sheet(
    root: str, out: Path = Path("sheet.png"), split: str = "test", classes: int = 20, images: int = 12
) -> Path:
    """Draw a picture of a shard set: some classes, one row each.

    Args:
        root: Folder or URL of the set, or its task file if the index names roots.
        out: PNG file to write.
        split: Name of the split to show.
        classes: Number of rows, one class each.
        images: Number of columns, one image each.

    Returns:
        The file that was written.
    """
    check_at_least(1, classes=classes, images=images)
    check_writable(out)
    picture = contact_sheet(open_images(root), split, classes, images)
    with whole(out) as aside:
        picture.resize((picture.width * 2, picture.height * 2)).save(aside, "PNG")
    return out


def contact_sheet(shards: ShardSet, split: str, classes: int, images: int) -> Image.Image:
    """Return a picture of the first classes of a split, one row each, with their first images side by side."""
    rows = []
    for record in shards.index.split(split)[:classes].tolist():
        row = shards.images(record, np.arange(min(images, shards.count(record))))
        blank = np.zeros((images - len(row), *row.shape[1:]), np.uint8)
        rows.append(np.concatenate([row, blank]).transpose(1, 2, 0, 3).reshape(row.shape[1], row.shape[2], -1))
    picture = np.concatenate(rows, axis=1).transpose(1, 2, 0)
    if shards.index.preprocess.invert:
        picture = 255 - picture
    return Image.fromarray(picture.squeeze())
