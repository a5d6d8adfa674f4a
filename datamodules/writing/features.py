"""Write a shard set of features: the output of a frozen backbone for every image, computed once, in place of the images."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.index.contents import Classes, Contents
from datamodules.index.header import FeatureInfo
from datamodules.index.opening import read_index
from datamodules.index.shard_index import Index
from datamodules.reading.shard_set import Images, ShardSet
from datamodules.writing.scan import Member, scan
from datamodules.writing.shards import (
    check_out,
    images_in_array,
    images_per_checksum,
    npy,
    release,
    tar_writer,
)
from datamodules.writing.task_file import write_task_file
from lightning_meta.core import InputError
from lightning_meta.core.files import storage_errors, whole

Extract = Callable[[Images], NDArray[np.float32]]  # images [n, channels, size, size] -> features [n, d]
SHARD = 64 * 2**20  # bytes of features after which a shard is closed


def write_features(source: ShardSet, out: Path, extract: Extract, features: FeatureInfo) -> Index:
    """Write the features of every image of a set, one shard for each of its shards or, if it was not written, for about 64 MB.

    A shard is written aside and renamed; all of them go to `out.partial`, which is renamed at the end. So a writer that was
    killed continues after its last whole shard if `source` and `features` are the same, and otherwise begins anew.

    Args:
        source: The set of the images.
        out: Folder to write, which must not exist.
        extract: Maps images [n, channels, size, size] of one class to float32 features [n, d].
        features: The number d of features, and a description of the backbone that made them.

    Returns:
        The index of the set of features.

    Raises:
        InputError: If `source` holds features already, `out` exists or cannot be written, or features are not finite or not
            [n, d].
    """
    check_out(out)
    if source.index.features:
        raise InputError(f"{source.root} holds features already: give the shard set of the images")
    partial = out.with_name(out.name + ".partial")
    job, plan = partial / "job.json", json.dumps([source.index.header.to_json(), features])
    shards = _divide(source, 4 * features.size)
    paths = [f"features-{number:06d}.tar" for number in range(len(shards))]
    try:
        with storage_errors(out):
            if not job.is_file() or job.read_text() != plan:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                job.write_text(plan)
            for records, path in zip(shards, paths, strict=True):
                if not (partial / path).is_file():
                    with whole(partial / path) as aside:
                        _write_shard(source, records, aside, extract, features.size)
            _contents(source.index, partial, shards, paths, features).write(partial)
            write_task_file(partial, out, read_index(str(partial)))
            job.unlink()
            partial.rename(out)
            return read_index(str(out))
    except InputError as error:
        if any((partial / path).is_file() for path in paths):
            raise InputError(f"{error}. The same command continues after its last whole shard, in {partial}") from error
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _divide(source: ShardSet, each: int) -> list[list[int]]:
    """Divide the classes of a set into shards, given the bytes of the features of an image.

    Those of a written set are divided as they are there; those of another in their order, about 64 MB in a shard.
    """
    classes = np.arange(len(source.index.records))
    if source.index.is_written:
        number = source.index.sources_of(classes)
    else:
        ends = np.cumsum(source.index.counts(classes)) * each
        number = np.maximum(ends - 1, 0) // SHARD
    return [classes[number == shard].tolist() for shard in np.unique(number).tolist()]


def _chunks(count: int, size: int) -> list[NDArray[np.integer]]:
    """Return the images of each array of a class that has this many, given the number of features."""
    in_array = images_in_array(4 * size)
    return [np.arange(first, min(first + in_array, count)) for first in range(0, count, in_array)]


def _contents(
    images: Index, folder: Path, shards: list[list[int]], paths: list[str], features: FeatureInfo
) -> Contents:
    """Return the index of the features in a folder, given the index of the images."""
    every = np.arange(len(images.records))
    counts, groups = images.counts(every), images.groups(every)
    shard_of = {record: shard for shard, records in enumerate(shards) for record in records}
    written = [
        Member(shard_of[record], f"{record:06d}.{number:04d}.features.npy", len(chunk))
        for record in every.tolist()
        for number, chunk in enumerate(_chunks(int(counts[record]), features.size))
    ]
    sources, blobs = scan(folder, paths, written, images_per_checksum(4 * features.size))
    names = [] if groups is None else [images.group_name(group) for group in range(int(groups.max(initial=-1)) + 1)]
    classes = Classes([record.name for record in images.records], counts, groups, names, images.same.tolist())
    return Contents(
        title=f"{images.title}, features",
        preprocess=images.preprocess,
        encoded=False,
        sources=sources,
        blobs=blobs,
        classes=classes,
        splits=images.splits,
        images_per_blob=images_per_checksum(4 * features.size),
        features=features,
    )


def _write_shard(source: ShardSet, records: list[int], path: Path, extract: Extract, size: int) -> None:
    """Write one tar: the features of some classes, under their numbers in the index."""
    writer = tar_writer(path)
    try:
        for record in records:
            name, count = source.index.name(record), source.count(record)
            writer.write({"__key__": f"{record:06d}", "json": json.dumps({"name": name, "count": count}).encode()})
            for number, which in enumerate(_chunks(count, size)):
                z = extract(source.images(record, which))
                if z.shape != (len(which), size) or not np.isfinite(z).all():
                    raise InputError(
                        f"the backbone made features {list(z.shape)} of class {name}, or values that are not finite, where"
                        f" [{len(which)}, {size}] was expected: give a backbone that makes such features"
                    )
                writer.write({"__key__": f"{record:06d}", f"{number:04d}.features.npy": npy(z.astype("<f4"))})
        writer.close()
    finally:
        release(writer)
