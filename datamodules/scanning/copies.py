"""Images that occur more than once in an index, known by their lengths and CRC-32, and classes that share them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from datamodules.index.contents import Blobs
from datamodules.scanning.scanned import ClassKey
from lightning_meta.core import InputError


def find_copies(
    keys: Sequence[ClassKey],
    number: NDArray[np.int64],
    blobs: Blobs,
    shared_classes: bool,
    name_of: Callable[[int], str],
) -> tuple[list[tuple[int, int]], str | None]:
    """Look for images that are byte-for-byte copies of others, as far as length and CRC-32 tell.

    Args:
        keys: The classes.
        number: For each image its class.
        blobs: Where the images lie, in the same order.
        shared_classes: Allow a class whose images are in a class of another split.
        name_of: Returns the name of an image in messages, by its number.

    Returns:
        Pairs of classes of different splits of which one holds half of the other's images or more; and a line about how many
        images are copies, or None.

    Raises:
        InputError: If there is such a pair and `shared_classes` is false.
    """
    kinds = blobs.bytes.astype(np.uint64) << np.uint64(32) | blobs.crc32.astype(np.uint64)
    order = np.argsort(kinds, kind="stable")
    ordered = kinds[order]
    again = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
    if not len(again):
        return [], None
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    first = order[begins[np.searchsorted(begins, again, "right") - 1]]
    copies: Counter[str] = Counter()
    shared: dict[int, Counter[int]] = defaultdict(Counter)
    for one, other in zip(first.tolist(), order[again].tolist(), strict=True):
        here, there = int(number[one]), int(number[other])
        same_split = keys[here].split == keys[there].split
        copies[
            "in the same class"
            if here == there
            else "in another class"
            if same_split
            else "in a class of another split"
        ] += 1
        if not same_split:
            shared[there][here] += 1
            shared[here][there] += 1
    counts = np.bincount(number, minlength=len(keys))
    pairs = sorted(
        {
            (min(one, other), max(one, other))
            for one, others in shared.items()
            for other, count in others.items()
            if 2 * count >= counts[one]
        }
    )
    if pairs and not shared_classes:
        one, other = pairs[0]
        raise InputError(
            f"{shared[one][other]} images of class {keys[one].label} ({keys[one].split}) are in class {keys[other].label}"
            f" ({keys[other].split}) too, byte for byte, so that the test would use images of the training: remove"
            " one of the two, or give --shared_classes true"
        )
    parts = ", ".join(f"{count} {where}" for where, count in sorted(copies.items()))
    example = f"{name_of(int(order[again[0]]))}, of {name_of(int(first[0]))}"
    return pairs, f"{copies.total()} images are byte-for-byte copies of others: {parts} (the first: {example})"
