"""Verification of a whole set: every byte of its sources is compared with the index."""

import hashlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from datamodules.index.consistency import check_consistency
from datamodules.reading.damage import DamageError
from datamodules.reading.processes import in_processes
from datamodules.reading.ranges import Ranges
from datamodules.reading.shard_file import REMEDY, ShardFile
from datamodules.reading.stores import ByteRange
from lightning_meta.core import InputError
from lightning_meta.core.cores import usable_cores

if TYPE_CHECKING:
    from datamodules.reading.shard_set import ShardSet


LITTLE = 2**26  # bytes of a local set that one process reads at once
ITEMS = 64  # parts of a set, of which a process reads one at a time


def verify(shards: "ShardSet", processes: int | None = None) -> list[str]:
    """Read everything and compare it with the index; return a line for every damaged class or source.

    Args:
        shards: The set.
        processes: Processes that read; by default one for each core, four for a remote set, and one for a little local set.

    Raises:
        InputError: If a process ended before its work was done.
    """
    try:
        check_consistency(shards.index)
    except InputError as error:
        return [str(error)]
    is_little = shards.cache is None and shards.index.source_bytes < LITTLE
    if processes is None:
        processes = 1 if is_little else usable_cores() * (1 if shards.cache is None else 4)
    count = len(shards.index.sources)
    parts = [part for part in np.array_split(np.arange(count), min(count, ITEMS)) if len(part)]
    damage = in_processes(partial(_verify_sources, shards), parts, processes, None if is_little else "parts of the set")
    return [line for lines in damage for line in lines]


def _verify_sources(shards: "ShardSet", sources: NDArray[np.integer]) -> list[str]:
    """Return a line for every damaged class in some consecutive sources, or for a source itself."""
    of_blob = shards.index.blob_sources()
    blobs = np.flatnonzero((of_blob >= sources[0]) & (of_blob <= sources[-1]))
    blobs = blobs[np.argsort(of_blob[blobs], kind="stable")]
    of_each = np.split(blobs, np.searchsorted(of_blob[blobs], sources[1:]))
    return [
        line
        for source, own in zip(sources.tolist(), of_each, strict=True)
        for line in _verify(shards, source, own.tolist())
    ]


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
