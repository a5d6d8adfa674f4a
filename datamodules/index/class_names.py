"""Comparison of classes by name, regardless of letter case and Unicode form."""

import unicodedata
from collections.abc import Iterable
from hashlib import blake2b

import torch
from torch import Tensor

from datamodules.index.joined_index import JoinedIndex
from datamodules.index.shard_index import Index


def folded(name: str) -> str:
    """Return the name in a form that does not depend on changes that a file system or an archive may make."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def fingerprints(names: Iterable[str]) -> Tensor:
    """Return names as numbers, int64 [n], which a checkpoint keeps: 8 bytes per class."""
    digests = (blake2b(folded(name).encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names)
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests], dtype=torch.int64)


def trained_on(index: Index | JoinedIndex, split: str) -> Tensor:
    """Return fingerprints of the classes of a training split, and of those that hold the same images under another name."""
    members = set(index.split(split).tolist())
    members |= {other for pair in index.same.tolist() for one, other in (pair, pair[::-1]) if one in members}
    return fingerprints(map(index.name, sorted(members)))


def met(index: Index | JoinedIndex, split: str, trained: Tensor) -> int:
    """Return the number of classes of a split whose fingerprints are among those of the training classes."""
    own = fingerprints(map(index.name, index.split(split).tolist()))
    return int(torch.isin(own, trained).sum())
