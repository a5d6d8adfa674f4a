"""A file of fixed episodes beside an index: which images of which classes each episode consists of."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.index.opening import is_remote
from datamodules.index.shard_index import Index
from datamodules.index.verification import is_number
from datamodules.reading import remote
from lightning_meta.core import InputError

FILE, VERSION = "episodes.json", 1


class Item(NamedTuple):
    """An image of an episode: the number of its class in the index, its number within that class, and its label."""

    record: int
    image: int
    label: int


class FixedEpisode(NamedTuple):
    """An episode: the images of the support set and the queries, in order."""

    support: list[Item]
    query: list[Item]


class EpisodeFile(NamedTuple):
    """The episodes of a set, all of one size.

    split: the split that their classes are in.
    ways, shots, queries: the number of classes of an episode, and of support and query images per class.
    episodes: the episodes.
    """

    split: str
    ways: int
    shots: int
    queries: int
    episodes: list[FixedEpisode]


def episodes_text(split: str, episodes: Sequence[FixedEpisode]) -> str:
    """Return the text of a file of episodes, each with the same number of classes and of images per class."""
    lines = ",\n".join(json.dumps([episode.support, episode.query]) for episode in episodes)
    return sealed(f'"split": {json.dumps(split)}, "episodes": [\n{lines}\n]}}\n')


def sealed(body: str) -> str:
    """Return the text of a file with this body, whose first line holds the version and the checksum of the rest."""
    return f'{{"version": {VERSION}, "sha256": "{hashlib.sha256(body.encode()).hexdigest()}",\n{body}'


def read_episodes(root: str, index: Index) -> EpisodeFile:
    """Read `episodes.json` in a folder or at any fsspec URL.

    Args:
        root: Folder or URL of the set.
        index: The index of the set.

    Raises:
        InputError: If there is none, or it does not fit the index.
    """
    where = f"{root.rstrip('/')}/{FILE}"
    if not is_remote(root) and not Path(where).is_file():
        raise InputError(
            f"no fixed episodes at {root!r}: there is no {FILE}. `lightning-meta shards write omniglot` writes such a set"
        )
    text = remote.read(where) if is_remote(root) else Path(where).read_bytes()
    try:
        content = json.loads(text)
        if content["version"] != VERSION:
            raise ValueError(f"it is of version {content['version']!r:.20}, not {VERSION}")
        if content["sha256"] != hashlib.sha256(text.partition(b"\n")[2]).hexdigest():
            raise ValueError("its checksum does not match")
        return _checked(content, index)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{where} is damaged ({str(error)[:200]!r}): write the set again") from error


def _checked(content: dict[str, Any], index: Index) -> EpisodeFile:
    """Return the episodes of a file; raise ValueError if one does not fit the index or differs from the others in size."""
    members, sizes = set(map(int, index.split(content["split"]))), set[tuple[int, int, int]]()
    episodes = [
        FixedEpisode(*([Item(*item) for item in part] for part in (support, query)))
        for support, query in content["episodes"]
    ]
    for number, episode in enumerate(episodes):
        for item in (*episode.support, *episode.query):
            inside = all(map(is_number, item)) and item.record in members
            if not inside or item.image >= index.count(item.record):
                raise ValueError(f"episode {number} has an image that does not exist")
        labels, asked = [[item.label for item in part] for part in episode]
        ways = len(set(labels))
        shots, queries = labels.count(0), asked.count(0)
        if sorted(labels) != sorted([*range(ways)] * shots) or sorted(asked) != sorted([*range(ways)] * queries):
            raise ValueError(f"episode {number} does not have as many images of one class as of another")
        sizes.add((ways, shots, queries))
    if len(sizes) != 1 or not all(sizes.copy().pop()):
        raise ValueError("its episodes differ in size, or there are none")
    return EpisodeFile(content["split"], *sizes.pop(), episodes)
