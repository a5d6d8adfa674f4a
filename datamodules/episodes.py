"""Tasks as a Lightning data module: train, validation and test loaders over one distribution."""

from abc import abstractmethod

from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import rank_zero_warn

from datamodules.stream import EpisodeLoader, EpisodeSize, EpisodeStream, Tasks
from lightning_meta.core import InputError

STAGES: tuple[str, ...] = ("train", "val", "test")


class EpisodeData(LightningDataModule):
    """The loaders of a task distribution. A concrete data module's signature is its configuration; it writes `tasks`.

    Validation and test episodes are a frozen sequence: the same for every run and learner with the same `seed`.
    `meta_batch` counts tasks over all devices. With `flat_batch` > 0 training reads flat batches of as many examples in
    the place of tasks, `meta_batch` of them a step.
    """

    def __init__(
        self,
        train: EpisodeSize,
        evaluation: EpisodeSize,
        splits: tuple[str, str, str],
        meta_batch: int,
        epoch_batches: int,
        val_episodes: int,
        test_episodes: int,
        seed: int,
        num_workers: int,
        flat_batch: int = 0,
    ):
        super().__init__()
        if min(meta_batch, epoch_batches, val_episodes, test_episodes) < 1:
            raise InputError("meta_batch, epoch_batches, val_episodes and test_episodes must be 1 or more")
        self.sizes = dict(zip(STAGES, (train, evaluation, evaluation), strict=True))
        self.splits = dict(zip(STAGES, splits, strict=True))
        self.meta_batch, self.seed, self.num_workers = meta_batch, seed, num_workers
        self.flat_batch = flat_batch
        self.episodes = {"train": epoch_batches * meta_batch, "val": val_episodes, "test": test_episodes}
        self._tasks: Tasks | None = None

    @abstractmethod
    def open(self) -> Tasks:
        """Open the task distribution, in the process that reads it."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """What a learner with a head of fixed width gives for an example: its logits, or dimensions of the target."""

    @property
    def classes(self) -> int:
        """Width of a head over all that flat batches ask for: the classes of the training split, or the target's dimensions."""
        return self.outputs

    @property
    def tasks(self) -> Tasks:
        """The task distribution, opened once."""
        if self._tasks is None:
            self._tasks = self.open()
        return self._tasks

    def stream(self, stage: str) -> EpisodeStream:
        """The episodes of `train`, `val` or `test` that this process reads."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (None, None)
        return EpisodeStream(
            self.tasks,
            self.splits[stage],
            self.sizes[stage],
            self.episodes[stage],
            self.meta_batch,
            self.seed,
            rank,
            world,
            self.flat_batch if stage == "train" else 0,
        )

    def setup(self, stage: str) -> None:
        """Every stream that the stage will need is checked before anything starts."""
        for name in {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ()):
            self.stream(name)

    def train_dataloader(self) -> EpisodeLoader:
        # Lightning gives a loader its state back in mid-epoch only, so the epoch is the trainer's.
        trainer = self.trainer
        return EpisodeLoader(self.stream("train"), self.num_workers, trainer and (lambda: trainer.current_epoch))

    def val_dataloader(self) -> EpisodeLoader:
        return EpisodeLoader(self.stream("val"), self.num_workers, epoch=lambda: 0)

    def test_dataloader(self) -> EpisodeLoader:
        return EpisodeLoader(self.stream("test"), self.num_workers, epoch=lambda: 0)

    def teardown(self, stage: str) -> None:  # noqa: ARG002  the same after every stage
        if self._tasks is not None and (skipped := self._tasks.report()):
            rank_zero_warn(skipped)
