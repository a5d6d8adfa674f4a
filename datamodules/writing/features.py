"""Write a shard set of features: the output of a frozen backbone for every image, computed once, in place of the images."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.index.shard_index import FILE, FeatureInfo, Index
from datamodules.reading.shard_set import Images, ShardSet
from datamodules.writing.scan import WrittenRecord, scan
from datamodules.writing.shards import check_out, release, tar_writer
from datamodules.writing.task_file import write_task_file
from lightning_meta.core import InputError
from lightning_meta.core.files import storage_errors, whole

Extract = Callable[[Images], NDArray[np.float32]]  # images [n, channels, size, size] -> features [n, d]


def write_features(source: ShardSet, out: Path, extract: Extract, features: FeatureInfo) -> Index:
    """Write the features of every class of a shard set, one shard for each of its shards.

    A shard is written aside and renamed; all of them go to `out.partial`, which is renamed at the end. So a writer that was
    killed continues after its last whole shard if `source` and `features` are the same, and otherwise begins anew.

    Args:
        source: The shard set of the images.
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
    job, plan = partial / "job.json", json.dumps([source.index.to_json(), features])
    paths = [f"features-{number:06d}.tar" for number in range(len(source.index.shards))]
    try:
        with storage_errors(out):
            if not job.is_file() or job.read_text() != plan:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                job.write_text(plan)
            for number, path in enumerate(paths):
                if not (partial / path).is_file():
                    with whole(partial / path) as aside:
                        _write_shard(source, number, aside, extract, features.size)
            index = _index(source.index, partial, paths, features)
            (partial / FILE).write_text(index.to_json())
            write_task_file(partial, out, index)
            job.unlink()
            partial.rename(out)
            return index
    except InputError as error:
        if any((partial / path).is_file() for path in paths):
            raise InputError(f"{error}. The same command continues after its last whole shard, in {partial}") from error
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _index(images: Index, folder: Path, paths: list[str], features: FeatureInfo) -> Index:
    """Return the index of the features in a folder, given the index of the images."""
    written = [
        WrittenRecord(record.name, "", record.count, record.shard, (f"{number:06d}.features.npy",))
        for number, record in enumerate(images.records)
    ]
    shards, records = scan(folder, paths, written)
    return images._replace(
        title=f"{images.title}, features",
        encoded=False,
        shards=tuple(shards),
        records=tuple(records),
        features=features,
    )


def _write_shard(source: ShardSet, shard: int, path: Path, extract: Extract, size: int) -> None:
    """Write one tar: the records of the source's shard, under their numbers in the index."""
    writer = tar_writer(path)
    try:
        for number, record in enumerate(source.index.records):
            if record.shard == shard:
                z = extract(source.images(number, np.arange(record.count)))
                if z.shape != (record.count, size) or not np.isfinite(z).all():
                    raise InputError(
                        f"the backbone made features {list(z.shape)} of class {record.name}, or values that are not finite,"
                        f" where [{record.count}, {size}] was expected: give a backbone that makes such features"
                    )
                buffer = io.BytesIO()
                np.save(buffer, z.astype("<f4"))
                about = {"name": record.name, "count": record.count}
                sample = {"__key__": f"{number:06d}", "features.npy": buffer.getvalue()}
                writer.write(sample | {"json": json.dumps(about).encode()})
        writer.close()
    finally:
        release(writer)
