"""A shard set of features: what a frozen backbone makes of every image, once, in the place of the images."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.index.shard_index import FILE, Features, Index
from datamodules.reading.shard_set import Images, ShardSet
from datamodules.writing.shards import Written, check_out, let_go, scan, tar_writer
from lightning_meta.core import InputError
from lightning_meta.core.files import storage_errors, whole

Extract = Callable[[Images], NDArray[np.float32]]  # images [n, channels, size, size] -> features [n, d]


def write_features(source: ShardSet, out: Path, extract: Extract, features: Features) -> Index:
    """Write the features of every class of `source` to the folder `out`, a shard for each of its shards; return the index.

    A shard is written aside and renamed, all of them to `out.partial`, which is renamed at the end. So a
    writer that was killed goes on after its last whole shard, if `source` and `features` are the same; else it begins anew.
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
            job.unlink()
            partial.rename(out)
            return index
    except InputError as error:
        if any((partial / path).is_file() for path in paths):
            raise InputError(f"{error}. The same command goes on after its last whole shard, in {partial}") from error
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _index(images: Index, folder: Path, paths: list[str], features: Features) -> Index:
    """The index of the features in a folder, of which `images` is that of the images."""
    written = [
        Written(record.name, "", record.count, record.shard, (f"{number:06d}.features.npy",))
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
    """One tar: the records of the source's shard, under their numbers in the index."""
    writer = tar_writer(path)
    try:
        for number, record in enumerate(source.index.records):
            if record.shard == shard:
                z = extract(source.images(number, np.arange(record.count)))
                if z.shape != (record.count, size) or not np.isfinite(z).all():
                    raise InputError(
                        f"the backbone made {list(z.shape)} of class {record.name}, or what is not finite, where"
                        f" [{record.count}, {size}] was expected"
                    )
                buffer = io.BytesIO()
                np.save(buffer, z.astype("<f4"))
                about = {"name": record.name, "count": record.count}
                sample = {"__key__": f"{number:06d}", "features.npy": buffer.getvalue()}
                writer.write(sample | {"json": json.dumps(about).encode()})
        writer.close()
    finally:
        let_go(writer)
