"""Verification that the parts of an index agree with each other."""

import numpy as np

from datamodules.index.contents import images_in_blobs
from datamodules.index.shard_index import Index


def check_consistency(index: Index) -> None:
    """Read the whole index; raise InputError if any of it is damaged, or contradicts another part."""
    index.columns["class_first"].file.check()
    every = np.arange(len(index.records))
    counts, first = index.counts(every), index.columns["class_blob"].values.astype(np.int64)
    if (wrong := np.flatnonzero(np.diff(first) != -(-counts // index.header.images_per_blob))).size:
        raise index.damage(
            f"class {int(wrong[0])} has another number of places than its {counts[wrong[0]]} images need"
        )
    if first[0] or first[-1] != index.blob_count or int(index.columns["class_first"].values[0]):
        raise index.damage("its classes begin or end elsewhere than its places")
    lengths = np.array([index.source(number).bytes for number in range(len(index.sources))], np.uint64)
    for number in every.tolist():
        index.name(number)
    for split in index.header.splits:
        index.split(split)
    index.groups(every)
    table = index.columns["blob"].values
    source, offset, size = (table[name] for name in ("source", "offset", "bytes"))
    if index.blob_count and int(source.max()) >= len(lengths):
        raise index.damage(f"an image is in source {source.max()} of {len(lengths)}")
    in_place = np.array([root.format == "bytes" for root in index.roots])[index.columns["source_root"].values]
    if (table["images"] != (images := images_in_blobs(counts, index.header.images_per_blob))).any():
        raise index.damage("a place has another number of images than its class")
    if (each := index.header.bytes_per_image) and (wrong := np.flatnonzero(size != each * images)).size:
        raise index.damage(f"an array of images of {each} bytes has {size[wrong[0]]} bytes")
    room = lengths[source] - np.minimum(offset, lengths[source])
    outside = in_place[source] & ((size > room) | (offset > lengths[source]))
    if outside.any():
        raise index.damage(f"an image lies outside of {index.source(int(source[outside][0])).path}")
    assert index.same is not None
