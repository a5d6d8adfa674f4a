"""Few-shot image classification as a Lightning data module."""

from collections.abc import Sequence
from copy import copy
from typing import Any, Literal

from pytorch_lightning.utilities import rank_zero_info

from datamodules.augmentation.image_changes import Augmentation, check_augmentations
from datamodules.augmentation.new_classes import ClassAugmentation
from datamodules.episode_data import EpisodeData
from datamodules.index.opening import is_remote
from datamodules.reading.cache import ShardCache
from datamodules.reading.image_source import ImageSource, check_sources
from datamodules.reading.shard_set import OnError, ShardSet
from datamodules.sampling.composition import Sampler
from datamodules.sampling.episode_size import EpisodeSize, Range
from datamodules.sampling.episodes import Tasks
from datamodules.sampling.image_tasks import ImageTasks
from datamodules.sampling.mixture import Mix, MixedTasks
from datamodules.streamed_tasks import Workers
from lightning_meta.core import InputError
from lightning_meta.training.task_data import TaskData, mixture_name


class ImageEpisodes(EpisodeData):
    """Few-shot episodes of images from a shard set, which `lightning-meta shards write` makes.

    Args:
        root: Folder or fsspec URL of the shards; given unless `sources` are.
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
        sources: Several sets in place of `root`, by name, each with its `root` and its `weight` (by default 1). Validation and
            test draw their episodes from each, and score by the mean over sources.
        mix: What is drawn from the sources by weight: `episodes`, each of one source; or `classes`, so that an episode has
            classes of any source, in validation and test too.
        augment: Random changes of the images of training, in this order, each a class with its arguments, such as
            datamodules.Crop or datamodules.Flip. Validation and test are never augmented.
        augment_classes: Rule that makes new classes for training of those of the set, such as datamodules.RotateClasses.
    """

    def __init__(
        self,
        root: str | None = None,
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
        sources: dict[str, ImageSource] | None = None,
        mix: Mix = "episodes",
        augment: Augmentation | Sequence[Augmentation] | None = None,
        augment_classes: ClassAugmentation | None = None,
    ):
        check_given(root, roots, sources, mix, flat_batch)
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
            augment=[augment] if isinstance(augment, Augmentation) else augment or (),
            augment_classes=augment_classes,
            look_ahead=look_ahead,
        )
        self.root, self.sources = root, sources
        self.mix: Mix = mix
        self.on_error: OnError = on_error
        self.cache, self.roots = ShardCache(cache_gigabytes), roots

    @property
    def outputs(self) -> int:
        """The largest number of ways in training."""
        return self.size_of("train").largest()[0]

    @property
    def classes(self) -> int:
        """The number of classes in the training split, with those that augmentation makes."""
        versions = self.augment_classes.versions if self.augment_classes else 1
        return len(self._records("train")) * versions

    @property
    def trains_on_validation(self) -> bool:
        return bool(self._records("train") & self._records("val"))

    @property
    def source(self) -> str:
        return self.root or mixture_name(one.root for one in (self.sources or {}).values())

    @property
    def judged_on(self) -> str:
        return super().judged_on + (f" {self.described('val')}" if self.sources else "")

    def protocol(self, stage: str) -> dict[str, Any]:
        return {**super().protocol(stage), **({"sources": self.described(stage)} if self.sources else {})}

    def described(self, stage: str) -> str:
        """Return the sources for a report, with their weights where these matter."""
        is_each = self.mix == "episodes" and stage != "train"
        listed = " + ".join(
            f"{name} ({source.root}{'' if is_each else f', weight {source.weight:g}'})"
            for name, source in (self.sources or {}).items()
        )
        return f"{'each of' if is_each else f'{self.mix} mixed of'} {listed}"

    def open(self) -> ImageTasks:
        if self.root:
            return ImageTasks(self._open(self.root, self.roots))
        sources = self.sources or {}
        sets = {name: self._open(one.root, one.roots) for name, one in sources.items()}
        return MixedTasks(sets, [one.weight for one in sources.values()], self.mix)

    def parts(self) -> dict[str, Tasks]:
        return dict(self.tasks.parts) if isinstance(self.tasks, MixedTasks) and self.mix == "episodes" else {}

    def each_source(self) -> list[TaskData]:
        found: list[TaskData] = []
        for name, tasks in self.parts().items():
            source, alone = (self.sources or {})[name], copy(self)
            alone.root, alone.roots, alone.sources, alone._tasks = source.root, source.roots, None, tasks
            alone.sizes, alone.episodes = dict(self.sizes), dict(self.episodes)
            found.append(alone)
        return found or [self]

    def _open(self, root: str, roots: dict[str, str] | None) -> ShardSet:
        """Open a set, and say from where a remote one is read."""
        shards = ShardSet(root, self.on_error, self.cache, roots)
        if is_remote(root) or roots:
            rank_zero_info(shards.describe())
        check_augmentations(self.augment, shards.kind[1], bool(self.flat_batch))
        return shards

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


def check_given(
    root: str | None, roots: dict[str, str] | None, sources: dict[str, ImageSource] | None, mix: Mix, flat_batch: int
) -> None:
    """Raise InputError unless a single set or several are given, with the settings of one or of several."""
    if (root is None) == (sources is None):
        both = "root and sources are both" if sources else "neither root nor sources is"
        raise InputError(f"{both} given: give root, one set of images, or sources, several by name")
    if mix not in ("episodes", "classes"):
        raise InputError(f"mix is {mix!r}: choose episodes or classes")
    if sources is None:
        if mix != "episodes":
            raise InputError(f"mix is {mix}, but there is a single root to draw from: give sources, or leave mix out")
        return
    check_sources(sources)
    if roots:
        raise InputError("roots are those of a single set: give each source its own, --data.sources.NAME.roots")
    if flat_batch and len({one.weight for one in sources.values()}) > 1:
        raise InputError(
            f"flat_batch is {flat_batch}, and the sources have different weights, but flat batches pass over all images of"
            " all sources: leave the weights out, or set flat_batch to 0"
        )
