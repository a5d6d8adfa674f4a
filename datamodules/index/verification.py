"""Verification of an index, which may come from a stranger or be damaged, before any file is read by it."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_meta.core import InputError

if TYPE_CHECKING:
    from datamodules.index.shard_index import FeatureInfo, Index, Record, Shard

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# With one of these, the name of a shard could lead out of the folder of the set.
BESIDE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\\:?#%*]|(^|/)\.{0,2}(/|$)"
)  # with one of these, the name of a shard could lead out of its folder


def check_index(index: "Index") -> None:
    """Raise ValueError if a part of the index has a wrong type, lies outside of its set or shard, or contradicts another."""
    if not is_text(index.title) or type(index.encoded) is not bool:
        raise ValueError("its title is not text, or `encoded` is not true or false")
    index.preprocess.check()
    check_shards(index.shards)
    each = 4 * check_features(index.features).size if index.features else math.prod(index.preprocess.shape)
    for record in index.records:
        check_record(record, index.shards, 0 if index.encoded and not index.features else each)
    if not isinstance(index.splits, dict) or not all(map(is_text, index.splits)):
        raise ValueError("the names of its splits are not text")
    many = len(index.records)
    for name, numbers in index.splits.items():
        if not isinstance(numbers, list) or not all(is_number(n) and n < many for n in numbers):
            raise ValueError(f"split {name} lists a record that does not exist")
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"split {name} lists a record twice")
    for pair in index.same:
        if len(pair) != 2 or not all(is_number(n) and n < many for n in pair):
            raise ValueError("its pairs of same classes list a record that does not exist")


def check_shards(shards: Sequence["Shard"]) -> None:
    """Raise ValueError if the name, length or checksum of a shard is not valid, or two shards have one name."""
    for shard in shards:
        if not is_text(shard.path) or BESIDE.search(shard.path):
            raise ValueError(f"a shard is at {shard.path!r}, not below the set's own folder")
        if not is_number(shard.bytes) or not re.fullmatch("[0-9a-f]{64}", str(shard.sha256)):
            raise ValueError(f"the length or checksum of {shard.path} is not valid")
    if len({shard.path for shard in shards}) < len(shards):
        raise ValueError("two shards have the same name")


def check_record(record: "Record", shards: Sequence["Shard"], each: int) -> None:
    """Raise ValueError if a record is not valid, lies outside of its shard, or has another size than its count requires.

    Args:
        record: The record.
        shards: The shards of the set.
        each: Number of bytes of an image or vector; 0 for encoded files.
    """
    name, number, count, blobs = record
    if not (is_text(name) and name not in ("", ".", "..") and is_number(number) and is_number(count)):
        raise ValueError(f"a record is {name!r} in shard {number!r} with {count!r} images")
    if number >= len(shards):
        raise ValueError(f"record {name} is in no shard")
    for blob in blobs:
        if not all(map(is_number, blob)) or blob.offset + blob.bytes > shards[number].bytes:
            raise ValueError(f"record {name} lies outside of its shard")
    if len(blobs) != (1 if each else count) or (each and blobs[0].bytes != count * each):
        raise ValueError(f"record {name} has another size than {count} images")


def check_features(features: "FeatureInfo") -> "FeatureInfo":
    """Return the description of features unchanged; raise ValueError if it is not valid."""
    if not (is_number(features.size) and features.size >= 1 and is_text(features.backbone)):
        raise ValueError("features need a size of 1 or more and a backbone that made them")
    return features


def check_links(root: Path, paths: Sequence[str]) -> None:
    """Raise InputError if a shard of a local set is a link that leads out of the folder of the set."""
    home = root.resolve()
    for path in paths:
        if not (place := Path(home, path).resolve()).is_relative_to(home):
            raise InputError(
                f"shard {root}/{path} is a link to {place}, outside of {home}: copy it there, or link the whole folder"
            )


def is_number(value: Any) -> bool:
    """Return whether a value is an integer of 0 or more, as lengths and offsets are."""
    return type(value) is int and 0 <= value < 2**63


def is_text(value: Any) -> bool:
    """Return whether a value is text in one line, safe to print and to write into a YAML file."""
    return isinstance(value, str) and not CONTROL.search(value)
