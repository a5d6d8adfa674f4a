"""Fixed episodes of images as a Lightning data module, for tests that a publication prescribes."""

from datamodules.episode_data import EpisodeData
from datamodules.index.fixed_episodes import read_episodes
from datamodules.reading.cache import ShardCache
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.episode_size import EpisodeSize
from datamodules.sampling.fixed_tasks import FixedTasks
from lightning_meta.core import InputError


class FixedEpisodes(EpisodeData):
    """Fixed episodes of images for `test`, such as Lake's one-shot task that `lightning-meta shards write omniglot` writes.

    They are neither drawn nor shuffled: the episodes, their classes and images are those of `episodes.json` in the set.

    Args:
        root: Folder or fsspec URL of the set.
        ways: Classes per episode, as in the set.
        shots: Support examples per class, as in the set.
        queries: Query examples per class, as in the set.
        test_episodes: Episodes of the test, the first of the set.
        meta_batch: Tasks per meta-batch, over all devices.
        num_workers: Processes that load data beside the testing process.
        cache_gigabytes: Room for copies of remote files on this machine.
        roots: For each root that an index of images elsewhere names, the folder or URL where it is.
    """

    def __init__(
        self,
        root: str,
        ways: int = 20,
        shots: int = 1,
        queries: int = 1,
        test_episodes: int = 20,
        meta_batch: int = 1,
        num_workers: int = 0,
        cache_gigabytes: float = 16.0,
        roots: dict[str, str] | None = None,
    ):
        size = EpisodeSize(ways, shots, queries)
        super().__init__(
            train=size,
            evaluation=size,
            splits=("train", "val", "test"),
            meta_batch=meta_batch,
            epoch_batches=1,
            val_episodes=1,
            test_episodes=test_episodes,
            seed=0,
            num_workers=num_workers,
            flat_batch=0,
            val_shots=None,
        )
        self.root, self.cache, self.roots = root, ShardCache(cache_gigabytes), roots

    @property
    def outputs(self) -> int:
        """The number of ways."""
        return self.sizes["test"].largest()[0]

    @property
    def source(self) -> str:
        return self.root

    def open(self) -> FixedTasks:
        shards = ShardSet(self.root, cache=self.cache, roots=self.roots)
        fixed = read_episodes(self.root, shards.index)
        if self.test_count > len(fixed.episodes):
            raise InputError(
                f"test_episodes is {self.test_count}, but {self.root} holds {len(fixed.episodes)} fixed episodes: give"
                f" {len(fixed.episodes)} or fewer"
            )
        return FixedTasks(shards, fixed)
