"""A user's own images: one sub-folder per class."""

from pathlib import Path

from datamodules.reading.preprocess import Preprocess
from datamodules.sources.class_splits import outside_classes, split_classes
from datamodules.sources.folder_classes import FolderClasses
from datamodules.writing.chunks import keep_chunks
from datamodules.writing.shards import check_out, write_shards
from datamodules.writing.written_set import WrittenSet
from lightning_meta.core.errors import check_at_least

SHOWN = 10  # images that could not be decoded and are listed by name


def write_folder(
    images: Path,
    out: Path = Path("shards/images"),
    size: int = 84,
    channels: int = 3,
    invert: bool = False,
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2),
    seed: int = 0,
    encoded: bool = False,
    skip: bool = False,
    shared_classes: bool = False,
    processes: int | None = None,
) -> WrittenSet:
    """Write your own images: one sub-folder per class, with JPEG, PNG or WebP files of any size.

    What is decoded is kept in OUT.chunks.partial until the set is whole: after a kill or a mistake the same command continues.

    Args:
        images: The folder; its classes are divided at random, unless it holds folders train, val and test.
        out: Folder to write.
        size: Side of the square that images are fitted to, in pixels.
        channels: 3 for RGB, 1 for grey.
        invert: Store 255 - value, so that dark ink on white paper becomes bright on black.
        fractions: Shares of the classes for train, val and test.
        seed: Seed of the random division.
        encoded: Keep the image files unchanged and decode them when they are read: smaller shards, slower episodes.
        skip: Pass over images that cannot be read or decoded, and count them.
        shared_classes: Allow classes of the same name, or with the same images, in two of train, val and test; reports then
            say how many of the test classes were trained on.
        processes: Processes that decode; by default one for each core. The set is the same for any number.

    Returns:
        The written set, with notes about files outside the class folders, skipped images and duplicates.

    Raises:
        InputError: If there are too few classes or images, an image cannot be read, or a class is in two splits.
    """
    check_at_least(0, seed=seed)
    check_at_least(1, processes=1 if processes is None else processes)
    check_out(out)
    splits = split_classes(images, fractions, seed, shared_classes)
    preprocess = Preprocess(size, channels, invert).check()
    outside = outside_classes(images, splits)
    with keep_chunks(
        out, set="folder", images=images.resolve(), preprocess=preprocess, encoded=encoded, skip=skip
    ) as folder:
        classes = FolderClasses(splits, preprocess, encoded, skip, shared_classes, folder, processes)
        index = write_shards(out, images.resolve().name, preprocess, classes)
    notes = [f"in no class folder, and passed over: {first_few(outside)}"] if outside else []
    notes += [f"skipped: {message}" for message in classes.skipped[:SHOWN]]
    if classes.skipped:
        notes.append(f"{len(classes.skipped)} images could not be decoded and were skipped")
    if duplicates := classes.duplicates.report():
        notes.append(duplicates)
    return WrittenSet(out, index, tuple(notes))


def first_few(names: list[str]) -> str:
    """Return the first five names, and the number of the others."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
