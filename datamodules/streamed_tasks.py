"""Loaders of meta-batches for a data module of tasks."""

from collections.abc import Callable
from typing import Any, Literal

from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.utilities import rank_zero_info

from datamodules.sampling.loader import MetaLoader
from datamodules.sampling.meta_batches import MetaBatches
from lightning_meta.core import InputError
from lightning_meta.core.cores import usable_cores
from lightning_meta.training.task_data import STAGES, TaskData

Workers = int | Literal["auto"]
MOST = 8  # processes that load data for one training process; more add memory rather than speed


def spare_cores(processes: int) -> int:
    """Return the cores beside each of `processes` training processes of this node, 0 to MOST."""
    return max(0, min(MOST, usable_cores() // max(1, processes) - 1))


class StreamedTasks(TaskData):
    """Tasks whose meta-batches are read as streams. The signature of a concrete data module is its configuration.

    Args:
        meta_batch: Tasks per meta-batch, over all devices.
        seed: Seed of the sequence of tasks.
        num_workers: Processes that load data beside the training process; `auto` for as many as help.
    """

    episodes: dict[str, int]  # tasks per epoch of training, per validation and per test

    def __init__(self, meta_batch: int, seed: int, num_workers: Workers = 0):
        super().__init__()
        if isinstance(num_workers, str) and num_workers != "auto":
            raise InputError(f"num_workers is {num_workers!r}: give auto, or a number of 0 or more")
        if not isinstance(num_workers, str) and num_workers < 0:
            raise InputError(f"num_workers is {num_workers}: give 0 or more")
        self.meta_batch, self.seed, self.num_workers = meta_batch, seed, num_workers
        self._chosen_workers: int | None = None
        self.overfits = False

    def setup(self, stage: str) -> None:
        """Check every stream that the stage will need before anything starts.

        With `overfit_batches` every epoch repeats the meta-batches of the first. Lightning has shortened the epochs by
        now, and would later put a sampler into the loaders, whose tasks are named by their number only; so the option is
        reset here.
        """
        if self.trainer and self.trainer.overfit_batches:  # type: ignore[attr-defined]
            self.overfits, self.trainer.overfit_batches = True, 0  # type: ignore[attr-defined]
        for name in STAGES.get(stage, ()):
            self.streams(name)

    def train_dataloader(self) -> MetaLoader[Any]:
        # Lightning restores the state of a loader only in the middle of an epoch, so the trainer gives the epoch.
        trainer = self.trainer
        (stream,) = self.streams("train")
        return self._loader(stream, trainer and (lambda: 0 if self.overfits else trainer.current_epoch))

    def val_dataloader(self) -> MetaLoader[Any] | list[MetaLoader[Any]]:
        (stream,) = self.streams("val")
        return self.frozen(stream)

    def test_dataloader(self) -> MetaLoader[Any] | list[MetaLoader[Any]]:
        (stream,) = self.streams("test")
        return self.frozen(stream)

    @property
    def test_count(self) -> int:
        return self.episodes["test"]

    @test_count.setter
    def test_count(self, count: int) -> None:
        if count < 1:
            raise InputError(f"episodes is {count}: give 1 or more")
        self.episodes["test"] = count

    def frozen(self, stream: MetaBatches[Any]) -> MetaLoader[Any]:
        """Return a loader that gives the same tasks in every pass."""
        return self._loader(stream, lambda: 0)

    def _loader(self, stream: MetaBatches[Any], epoch: Callable[[], int] | None) -> MetaLoader[Any]:
        """Return a loader. A trainer that runs prepares its batches on the device; anyone else gets them prepared."""
        return MetaLoader(stream, self.workers(), epoch, prepare=self._prepare_outside)

    def workers(self) -> int:
        """Return the number of processes that load data, and say once which `auto` has chosen."""
        if isinstance(self.num_workers, int):
            return self.num_workers
        if self._chosen_workers is None:
            reason = self.without_workers()
            self._chosen_workers = 0 if reason else spare_cores(self.trainer.num_devices if self.trainer else 1)
            beside = "the cores beside the training processes of this node, of which LIGHTNING_META_CORES is the number"
            rank_zero_info(f"num_workers is {self._chosen_workers}: {reason or beside}")
        return self._chosen_workers

    def without_workers(self) -> str:
        """Return why the training process loads this data best by itself, as a phrase; empty if other processes help it."""
        return "its tasks are made faster than handed over"

    def _prepare_outside(self, batch: Any) -> Any:
        """Prepare a batch unless a trainer is running, as after a fit."""
        is_running = self.trainer is not None and self.trainer.state.status == TrainerStatus.RUNNING
        return batch if is_running else self.prepare(batch)
