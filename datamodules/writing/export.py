"""Images of a shard set as PNG files, to try `lightning-meta adapt` on."""

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.reading.image_files import is_clutter
from datamodules.reading.shard_set import open_images
from datamodules.writing.shards import check_out
from lightning_meta.core import InputError
from lightning_meta.core.errors import check_at_least
from lightning_meta.core.files import whole


def export_images(
    root: str,
    out: Path = Path("export"),
    split: str = "test",
    classes: int = 5,
    support: int = 1,
    query: int = 5,
    seed: int = 0,
) -> tuple[Path, Path]:
    """Write images of some classes as PNG files, to try `adapt` on: OUT/support/CLASS/*.png and OUT/query/*.png.

    Args:
        root: Folder or URL of the set, or its task file if the index names roots.
        out: Folder to write.
        split: Name of the split to draw from.
        classes: Number of classes.
        support: Number of labelled examples per class.
        query: Number of images to classify per class; their file names tell the true class.
        seed: Seed of the random draw.

    Returns:
        The folders of support and query images.
    """
    check_at_least(1, classes=classes, support=support, query=query)
    check_at_least(0, seed=seed)
    check_out(out)
    shards, rng = open_images(root), np.random.default_rng(seed)
    records = shards.index.split(split)
    fewest = int(shards.index.counts(records).min()) if len(records) else 0
    if classes > len(records) or support + query > fewest:
        raise InputError(
            f"{classes} classes of {support} + {query} images were asked of split {split!r} of {root}, which has {len(records)}"
            f" classes of {fewest} images or more: ask for as many or fewer"
        )
    drawn = rng.choice(records, classes, replace=False).tolist()
    with whole(out) as aside:
        for record, name in zip(drawn, file_names([shards.index.name(i) for i in drawn]), strict=True):
            pictures = shards.images(record, rng.permutation(shards.count(record))[: support + query])
            pictures = pictures.astype(np.uint8, copy=False)
            for i, picture in enumerate(255 - pictures if shards.index.preprocess.invert else pictures):
                path = aside / "support" / name / f"{i}.png" if i < support else aside / "query" / f"{name}-{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture.transpose(1, 2, 0).squeeze()).save(path)
    return out / "support", out / "query"


def file_names(names: list[str]) -> list[str]:
    """Return a file name for each class: all different, in one folder, not hidden, and not too long for a disk."""
    chosen: list[str] = []
    for name in names:
        safe = re.sub(r"[/\\\0]", "_", name).encode("utf-8", "surrogateescape")[:150]
        text = os.fsdecode(safe)
        text = f"_{text}" if not text or is_clutter(text) else text
        chosen.append(text if text not in chosen else f"{text}_{len(chosen)}")
    return chosen
