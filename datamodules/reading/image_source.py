"""One of several sets of images that episodes are drawn from, as a configuration names it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from datamodules.index.trained_on import times
from datamodules.reading.shard_set import ShardSet
from lightning_meta.core import InputError


@dataclass(frozen=True)
class ImageSource:
    """One of several sets of images.

    Args:
        root: Folder or fsspec URL of the shards.
        weight: Share of the episodes (or of the classes) that are drawn from it, relative to the weights of the others.
        roots: For each root that an index of images elsewhere names, the folder or URL where it is.
    """

    root: str
    weight: float | int = 1.0
    roots: dict[str, str] | None = None


def check_sources(sources: Mapping[str, ImageSource]) -> None:
    """Raise InputError if there is no source, the name or weight of one is not legal, or two are of the same set."""
    if not sources:
        raise InputError("sources is empty: give at least one source, --data.sources '{NAME: {root: FOLDER_OR_URL}}'")
    for name, source in sources.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise InputError(f"a source is called {name!r}: name it with letters, digits, - and _")
        if not (math.isfinite(source.weight) and source.weight > 0):
            raise InputError(
                f"the weight of source {name} is {source.weight}: give a number above 0, or leave the source out"
            )
    names: dict[str, str] = {}
    for name, source in sources.items():
        if (other := names.setdefault(source.root.rstrip("/"), name)) != name:
            raise InputError(
                f"sources {other} and {name} are both {source.root}: give a set once, with the sum of the weights"
            )


def check_alike(sets: Mapping[str, ShardSet]) -> None:
    """Raise InputError unless all sets have images of one shape, or features of one backbone."""
    (first, one), *others = sets.items()
    for name, other in others:
        if one.index.features != other.index.features:
            raise InputError(
                f"source {first} ({one.root}) holds {_contents(one)}, and source {name} ({other.root}) {_contents(other)}:"
                " mix sets of images, or features of all by the same `lightning-meta shards features`"
            )
        if one.kind != other.kind:
            raise InputError(
                f"the images of source {first} ({one.root}) are {times(one.kind[1])} (channels x height x width), those of"
                f" source {name} ({other.root}) {times(other.kind[1])}: write or index one of them again with the --size and"
                " --channels of the other"
            )


def _contents(shards: ShardSet) -> str:
    """Return what a set holds, in words."""
    return f"features of {shards.index.features.backbone}" if shards.index.features else "images"
