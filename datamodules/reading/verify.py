"""Verification of a whole set: every byte of its sources is compared with the index."""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from datamodules.index.consistency import check_consistency
from datamodules.reading.damage import DamageError
from datamodules.reading.shard_file import REMEDY
from datamodules.reading.tar_members import is_member
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
        intact = _is_intact(shards, source)
        store = shards.stores[index.source(source).root]
        if not intact and store.discard(index.source(source)):
            intact = _is_intact(shards, source)
    except DamageError as error:
        return [str(error)]
    for number in blobs:
        record = index.record_of(number)
        try:
            blob = index.blob(number, index.images_in(record, number - index.blobs(record)[0]))
            index.check_place(blob)
            if index.source(source).sha256 and not is_member(
                shards.open(source), blob.offset, blob.bytes, f"{record:06d}."
            ):
                damage[record] = (
                    f"the index disagrees with {shards.where(source)}: class {index.name(record)} is not where it says, so they"
                    f" do not belong to one set. {REMEDY}"
                )
            elif not shards.is_intact(blob):
                damage[record] = str(shards.damage(record, blob))
        except (DamageError, InputError) as error:
            damage[record] = str(error)
    if not intact and not damage:
        return [f"shard {shards.where(source)} is damaged, except its images. {REMEDY}"]
    return list(damage.values())


def _is_intact(shards: "ShardSet", source: int) -> bool:
    """Return whether a source has the checksum that the index says, if it says one."""
    about, digest = shards.index.source(source), hashlib.sha256()
    file = shards.open(source)
    if about.sha256 is None:
        return True
    for piece in file.pieces(0, about.bytes):
        digest.update(piece)
    return digest.hexdigest() == about.sha256
