"""Tasks as a Lightning data module: train, validation and test loaders over one distribution."""

from abc import ABC, abstractmethod
from typing import Any

from pytorch_lightning import LightningDataModule

from datamodules.sampling.meta_batches import MetaBatches, MetaLoader
from lightning_meta.core import InputError


class TaskData(LightningDataModule, ABC):
    """The loaders of a task distribution. A concrete data module's signature is its configuration.

    Validation and test tasks are a frozen sequence: the same for every run and learner with the same `seed`.
    `meta_batch` counts tasks over all devices.
    """

    def __init__(self, meta_batch: int, seed: int, num_workers: int = 0):
        super().__init__()
        if num_workers < 0:
            raise InputError(f"num_workers is {num_workers}: give 0 or more")
        self.meta_batch, self.seed, self.num_workers = meta_batch, seed, num_workers
        self.overfits = False

    @abstractmethod
    def streams(self, stage: str) -> list[Any]:
        """All that this process reads in a stage, `train`, `val` or `test`: a MetaBatches or, of validation, several."""

    @property
    @abstractmethod
    def judged_on(self) -> str:
        """What the validation tasks are a function of: scores on others cannot be compared."""

    @property
    @abstractmethod
    def source(self) -> str:
        """What the tasks are made from."""

    @abstractmethod
    def protocol(self, stage: str) -> dict[str, Any]:
        """What the tasks of a stage are, for a report: their source, size, number and seed."""

    @property
    def place(self) -> tuple[int | None, int | None]:
        """The rank of this process and the number of all; unknown without a trainer."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (None, None)

    def setup(self, stage: str) -> None:
        """Every stream that the stage will need is checked before anything starts.

        With `overfit_batches` every epoch has the meta-batches of the first. The trainer has limited its epochs by then, and
        would put a sampler into the loaders, whose tasks are named by their number alone.
        """
        if self.trainer and self.trainer.overfit_batches:  # type: ignore[attr-defined]
            self.overfits, self.trainer.overfit_batches = True, 0  # type: ignore[attr-defined]
        for name in {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ()):
            self.streams(name)

    def train_dataloader(self) -> MetaLoader[Any]:
        # Lightning gives a loader its state back in mid-epoch only, so the epoch is the trainer's.
        trainer = self.trainer
        (stream,) = self.streams("train")
        return MetaLoader(stream, self.num_workers, trainer and (lambda: 0 if self.overfits else trainer.current_epoch))

    def val_dataloader(self) -> MetaLoader[Any] | list[MetaLoader[Any]]:
        (stream,) = self.streams("val")
        return self.frozen(stream)

    def test_dataloader(self) -> MetaLoader[Any]:
        (stream,) = self.streams("test")
        return self.frozen(stream)

    def frozen(self, stream: MetaBatches[Any]) -> MetaLoader[Any]:
        """The same tasks in every pass."""
        return MetaLoader(stream, self.num_workers, epoch=lambda: 0)
