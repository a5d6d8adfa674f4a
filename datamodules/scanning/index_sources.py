"""An index of images that stay where they are: in tars, parquet files, folders, and at the paths of CSV lists."""

from pathlib import Path

from datamodules.index.opening import read_index
from datamodules.reading.preprocess import Preprocess
from datamodules.scanning.addresses import find_sources
from datamodules.scanning.class_division import Division, read_pairs
from datamodules.scanning.combine import combine
from datamodules.scanning.detection import find_rules
from datamodules.scanning.index_contents import index_contents
from datamodules.scanning.listing import list_units
from datamodules.scanning.roots import choose_roots
from datamodules.scanning.scan_run import default_workers, scan_all
from datamodules.writing.kept import keep_parts
from datamodules.writing.shards import check_out
from datamodules.writing.task_file import write_task_file
from datamodules.writing.written_set import WrittenSet
from lightning_meta.core.errors import check_at_least


def index_sources(
    sources: list[str],
    out: Path = Path("shards/indexed"),
    label: str | None = None,
    split: Path | None = None,
    group: str | None = None,
    image: str | None = None,
    size: int = 84,
    channels: int = 3,
    invert: bool = False,
    scaled: bool = False,
    fractions: tuple[float, float, float] = (0.64, 0.16, 0.2),
    seed: int = 0,
    min_images: int | None = None,
    only_listed: bool = False,
    shared_classes: bool = False,
    workers: int | None = None,
    title: str | None = None,
) -> WrittenSet:
    """Index images where they are, in WebDataset tars, parquet files, folders and CSV lists, without copying one.

    Every source is read once. What has been read is kept in OUT.partial until the index is complete: after a kill or a mistake
    the same command continues after the last source that was read whole.

    Args:
        sources: Tars and parquet files, here or at any URL, with patterns such as 'train-{000..099}.tar' or '*.tar'; folders
            with one sub-folder per class; and CSV lists with the columns path and label, and perhaps split and group.
        out: Folder to write.
        label: Place of the labels, by default as the first samples show it. In tars: cls, json:KEY (a.b for nested keys),
            folder (name of the member's folder), path (whole path of that folder) or tar (name of the tar). In parquet files
            and CSV lists: a column.
        split: CSV list with the columns class and split; by default ready-made folders train, val and test or the column
            split of a list divide the classes, or else chance.
        group: What the classes belong to, such as the alphabet of a character: a CSV list with the columns class and group,
            json:KEY in tars, or a column in parquet files and CSV lists.
        image: Ending of the images in tars, or their column in parquet files, if there are several.
        size: Side of the square that images are fitted to when they are read, in pixels.
        channels: 3 for RGB, 1 for grey.
        invert: Read 255 - value, so that dark ink on white paper becomes bright on black.
        scaled: Decode JPEG files at the smallest of the scales 1/8, 2/8, ... whose sides are not below `size`: several times
            faster for large photographs, with slightly other pixels.
        fractions: Shares of the classes for train, val and test, if chance divides them.
        seed: Seed of the random division, which the order of the sources does not change.
        min_images: Smallest number of images of a class; classes with fewer are dropped and counted. By default a class with
            fewer than 2 images is an error.
        only_listed: Leave out the classes that the list of --split does not name.
        shared_classes: Allow classes of the same name, or with the same images, in two of train, val and test; reports then
            say how many of the test classes were trained on.
        workers: Number of processes that scan; by default as many as are useful on this machine.
        title: Name of the set in messages and reports; by default the name of the folder OUT.

    Returns:
        The written index, with notes about what was passed over, dropped and found twice.

    Raises:
        InputError: If a source cannot be read or is damaged, has no images or no labels, or classes cannot be divided.
    """
    check_at_least(0, seed=seed)
    check_at_least(
        1, **{name: value for name, value in (("workers", workers), ("min_images", min_images)) if value is not None}
    )
    preprocess = Preprocess(size, channels, invert, scaled).check()
    check_out(out)
    listed = Path(group) if group and group.endswith(".csv") else None
    choices = Division(split, listed, fractions, seed, min_images, only_listed, shared_classes)
    check_lists(choices)
    addresses = find_sources(sources)
    rules, notes = find_rules(addresses, label or "", "" if listed else group or "", image or "")
    for line in notes:
        print(line)
    units, lines = list_units(addresses, rules)
    places = choose_roots(address.folder for address in addresses)
    with keep_parts(out, out.with_name(f"{out.name}.partial"), "scans", "index") as partial:
        scan_all(units, partial / "scans", workers or default_workers(units))
        together = combine(units, partial / "scans", places, label or "")
        contents, more = index_contents(together, choices, title or out.name, preprocess)
        (partial / "index").mkdir()
        contents.write(partial / "index")
        roots = {place.name: place.place for place in places}
        write_task_file(partial / "index", out, read_index(str(partial / "index")), roots)
        (partial / "index").rename(out)
    passed = [
        f"passed over: {count} {kind} (the first: {first})" for kind, (count, first) in sorted(together.passed.items())
    ]
    return WrittenSet(out, read_index(str(out)), (*lines, *passed, *more))


def check_lists(choices: Division) -> None:
    """Raise InputError if a CSV list of splits or groups is missing or cannot be used, before anything is scanned."""
    for path, column in ((choices.split, "split"), (choices.group, "group")):
        if path:
            read_pairs(path, column)
