"""Few-shot image classification as a Lightning data module."""

from collections.abc import Sequence
from typing import Literal

from pytorch_lightning.utilities import rank_zero_info

from datamodules.episode_data import EpisodeData
from datamodules.index.opening import is_remote
from datamodules.reading.cache import ShardCache
from datamodules.reading.shard_set import OnError, ShardSet
from datamodules.sampling.composition import Sampler
from datamodules.sampling.episode_size import EpisodeSize, Range
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.streamed_tasks import Workers


class ImageEpisodes(EpisodeData):
    """Few-shot episodes of images from a shard set, which `lightning-meta shards write` makes.

    Args:
        root: Folder or fsspec URL of the shards.
        ways: Classes per training episode, a number or a range [first, last].
        shots: Support examples per class in a training episode, a number or a range.
        queries: Query examples per class in a training episode, a number or a range.
        eval_ways: Classes per validation or test episode; by default as in training.
        eval_shots: Support examples per class in validation and test; by default as in training.
        eval_queries: Query examples per class in validation and test; by default as in training.
        meta_batch: Tasks per meta-batch, over all devices.
        epoch_batches: Meta-batches per epoch.
        val_episodes: Episodes per validation.
        test_episodes: Episodes of the test.
        splits: Names of the meta-train, meta-validation and meta-test splits.
        seed: Seed of the sequence of episodes, including the fixed ones of validation and test.
        on_error: What to do about damaged records: `raise` ends the run, `skip` passes over them and counts them.
        cache_gigabytes: Room for copies of remote files on this machine. A set that fits is copied whole, shard by shard; of a
            larger one, only the ranges of bytes are fetched that hold the images drawn.
        roots: For each root that an index of images elsewhere names, the folder or URL where it is.
        num_workers: Processes that load data beside the training process. With `auto`, as many as there are cores beside the
            training processes of a node, up to 8, for encoded or remote images; none for arrays on this machine, which are read
            faster than handed over. The sequence of episodes is the same.
        look_ahead: Meta-batches after the one in use whose remote images each process that reads them fetches beforehand, in
            a thread; 0 for none. The sequence of episodes is the same.
        flat_batch: Images per flat batch, for pretraining: training then reads `meta_batch` flat batches per step, of all
            classes of the split, in place of episodes, in passes over its images; 0 for episodes.
        val_shots: Validate at each of these numbers of shots, with `val_episodes` episodes each, and score by the mean.
        sampler: Choice of the classes of a training episode and of the number of images of each, as a class with its
            arguments, such as datamodules.MetaDataset or datamodules.ConfiguredSize; by default uniform, with the
            configured ways, shots and queries.
        eval_sampler: The same for validation and test; by default as in training, and `uniform` for the choice without a
            sampler.
    """

    def __init__(
        self,
        root: str,
        ways: Range = 5,
        shots: Range = 1,
        queries: Range = 15,
        eval_ways: Range | None = None,
        eval_shots: Range | None = None,
        eval_queries: Range | None = None,
        meta_batch: int = 4,
        epoch_batches: int = 500,
        val_episodes: int = 600,
        test_episodes: int = 600,
        splits: tuple[str, str, str] = ("train", "val", "test"),
        seed: int = 0,
        on_error: OnError = "raise",
        cache_gigabytes: float = 16.0,
        roots: dict[str, str] | None = None,
        num_workers: Workers = "auto",
        look_ahead: int = 4,
        flat_batch: int = 0,
        val_shots: Sequence[int] | None = None,
        sampler: Sampler | None = None,
        eval_sampler: Sampler | Literal["uniform"] | None = None,
    ):
        train = EpisodeSize(ways, shots, queries)
        super().__init__(
            train=train,
            evaluation=train.replaced(eval_ways, eval_shots, eval_queries),
            splits=splits,
            meta_batch=meta_batch,
            epoch_batches=epoch_batches,
            val_episodes=val_episodes,
            test_episodes=test_episodes,
            seed=seed,
            num_workers=num_workers,
            flat_batch=flat_batch,
            val_shots=val_shots,
            sampler=sampler,
            eval_sampler=None if isinstance(eval_sampler, str) else eval_sampler or sampler,
            look_ahead=look_ahead,
        )
        self.root = root
        self.on_error: OnError = on_error
        self.cache, self.roots = ShardCache(cache_gigabytes), roots

    @property
    def outputs(self) -> int:
        """The largest number of ways in training."""
        return self.size_of("train").largest()[0]

    @property
    def classes(self) -> int:
        """The number of classes in the training split."""
        return len(self._records("train"))

    @property
    def trains_on_validation(self) -> bool:
        return bool(self._records("train") & self._records("val"))

    @property
    def source(self) -> str:
        return self.root

    def open(self) -> ImageTasks:
        shards = ShardSet(self.root, self.on_error, self.cache, self.roots)
        if is_remote(self.root) or self.roots:
            rank_zero_info(shards.describe())
        return ImageTasks(shards)

    def without_workers(self) -> str:
        assert isinstance(self.tasks, ImageTasks)
        shards = self.tasks.shards
        is_at_hand = shards.cache is None and not shards.index.encoded
        return "the images are arrays on this machine, which are read faster than handed over" if is_at_hand else ""

    def state_dict(self) -> dict[str, object]:
        """Return the facts about the training images that a checkpoint keeps.

        They are the preprocessing, so that `adapt` reads a user's images in the same way, or the origin of the features;
        and the fingerprints of the classes, so that a test can tell whether it has others.
        """
        assert isinstance(self.tasks, ImageTasks)
        index = self.tasks.shards.index
        made = {"features": index.features._asdict()} if index.features else {"preprocess": index.preprocess._asdict()}
        return {**made, "classes": self.tasks.trained_on(self.splits["train"])}

    def _records(self, stage: str) -> set[int]:
        """Return the numbers of the records in the split of a stage."""
        assert isinstance(self.tasks, ImageTasks)
        return set(self.tasks.shards.index.split(self.splits[stage]).tolist())
