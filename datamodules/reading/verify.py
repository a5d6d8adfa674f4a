"""Verification of a whole set: every byte of its sources is compared with the index."""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from datamodules.index.consistency import check_consistency
from datamodules.reading.damage import DamageError
from datamodules.reading.ranges import Ranges
from datamodules.reading.shard_file import REMEDY, ShardFile
from datamodules.reading.stores import ByteRange
from lightning_meta.core import InputError

if TYPE_CHECKING:
    from datamodules.reading.shard_set import ShardSet


def verify(shards: "ShardSet") -> list[str]:
    """Read everything and compare it with the index; return a line for every damaged class or source."""
    try:
        check_consistency(shards.index)
    except InputError as error:
        return [str(error)]
    return [line for source, blobs in _by_source(shards) for line in _verify(shards, source, blobs)]


def _by_source(shards: "ShardSet") -> Iterator[tuple[int, list[int]]]:
    """Yield the number of each source with the numbers of the blobs in it."""
    of_blob = shards.index.blob_sources()
    order = np.argsort(of_blob, kind="stable")
    ends = np.searchsorted(of_blob[order], np.arange(len(shards.index.sources) + 1))
    for source in range(len(shards.index.sources)):
        yield source, order[ends[source] : ends[source + 1]].tolist()


def _verify(shards: "ShardSet", source: int, blobs: list[int]) -> list[str]:
    """Return a line for every damaged class in a source, or one for the source itself."""
    index, damage = shards.index, dict[int, str]()
    try:
        shards.open(source)
        intact = _is_intact(shards, source)
        about = index.source(source)
        if not intact and shards.stores[about.root].refresh([ByteRange(about, 0, 0, 0)]):
            intact = _is_intact(shards, source)
    except DamageError as error:
        return [str(error)]
    for number in blobs:
        record = index.record_of(number)
        try:
            (blob,) = index.blob_table(np.array([number]))
            shards.read(record, number, blob)
        except (DamageError, InputError) as error:
            damage[record] = str(error)
    if not intact and not damage:
        return [f"shard {shards.where(source)} is damaged, except its images. {REMEDY}"]
    return list(damage.values())


def _is_intact(shards: "ShardSet", source: int) -> bool:
    """Return whether a source has the checksum that the index says, if it says one."""
    about, digest = shards.index.source(source), hashlib.sha256()
    if about.sha256 is None or isinstance(shards.stores[about.root], Ranges):
        return True
    file = shards.open(source)
    assert isinstance(file, ShardFile), "checksums of whole sources are those of shards"
    for piece in file.pieces(0, about.bytes):
        digest.update(piece)
    return digest.hexdigest() == about.sha256
