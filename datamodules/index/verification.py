"""Verification of an index, which may come from a stranger or be damaged, before any file is read by it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_meta.core import InputError

if TYPE_CHECKING:
    from datamodules.index.header import FeatureInfo, Header

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# With one of these, the path of a source could lead out of the folder that it is below: in a set's own folder or at a URL ...
BESIDE = re.compile(r"[\x00-\x1f\x7f-\x9f\\:?#%*]|(^|/)\.{0,2}(/|$)")
OUTSIDE = re.compile(r"\x00|(^|/)\.{0,2}(/|$)")  # ... and in a folder that the user's configuration names
FORMATS = ("bytes", "parquet")


def check_header(header: "Header") -> None:
    """Raise ValueError if a part of the head of an index has a wrong type or contradicts another."""
    if not is_text(header.title) or type(header.encoded) is not bool:
        raise ValueError("its title is not text, or `encoded` is not true or false")
    header.preprocess.check()
    if header.features:
        check_features(header.features)
    if not is_number(header.images_per_blob) or header.images_per_blob < 1:
        raise ValueError(f"it has {header.images_per_blob!r} images per blob")
    if header.encoded and header.images_per_blob != 1:
        raise ValueError("it has several encoded images per blob")
    if not header.roots or not all(is_text(part) for root in header.roots for part in root):
        raise ValueError("it has no roots, or one is not text")
    if any(root.format not in FORMATS or "/" in root.name for root in header.roots):
        raise ValueError("it has a root of another kind")
    if not all(map(is_text, header.splits)) or len(set(header.splits)) < len(header.splits):
        raise ValueError("the names of its splits are not text, or two are the same")
    if set(header.columns) != set(header.kinds):
        raise ValueError("it has other columns than an index has")
    if not all(
        isinstance(fact, list) and len(fact) == 2 and all(map(is_number, fact)) for fact in header.columns.values()
    ):
        raise ValueError("the places of its columns are not valid")
    if not is_number(header.size) or not re.fullmatch("[0-9a-f]{64}", str(header.checksums)):
        raise ValueError("the length or checksum of its columns is not valid")


def check_features(features: "FeatureInfo") -> "FeatureInfo":
    """Return the description of features unchanged; raise ValueError if it is not valid."""
    if not (is_number(features.size) and features.size >= 1 and is_text(features.backbone)):
        raise ValueError("features need a size of 1 or more and a backbone that made them")
    return features


def check_link(root: Path, path: str) -> None:
    """Raise InputError if a shard of a local set is a link that leads out of the folder of the set."""
    home = root.resolve()
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
