"""The contract between data modules of tasks and training, rehearsal, evaluation and reports."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, TypedDict

from pytorch_lightning import LightningDataModule

from lightning_meta.core import Episode, MDPs, MetaBatch, to_floats

STAGES = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}  # what each command of a run reads


class Point(TypedDict, total=False):
    """The points of the curves of scores that the tasks of a stream count for.

    shots: number of support examples, where there are several.
    source: name of the source of the tasks, where there are several.
    """

    shots: int
    source: str


class TaskData(LightningDataModule, ABC):
    """A distribution of tasks with training, validation and test loaders.

    Validation and test tasks are a frozen sequence: the same for every run and learner with the same `seed`.

    Attributes:
        gives: what a task is made of.
        meta_batch: tasks in a meta-batch, over all devices.
        seed: seed of the sequence of tasks.
        trains_on_validation: the validation split is trained on too, so that its score chooses no checkpoint.
    """

    gives: ClassVar[Literal["labelled examples", "decision processes"]]
    meta_batch: int
    seed: int

    @abstractmethod
    def streams(self, stage: str) -> list[Any]:
        """The sequences of meta-batches that this process reads in a stage, `train`, `val` or `test`."""

    def points(self, stage: str) -> list[Point]:
        """For each of the streams of a stage, the points of curves that its scores count for."""
        return [Point() for _ in self.streams(stage)]

    def each_source(self) -> list["TaskData"]:
        """Data modules of the sources that a test scores one by one; by default this one alone."""
        return [self]

    @abstractmethod
    def samples(self, stage: str) -> Iterator[Episode | MDPs]:
        """Small batches that are like those of a stage: of each stream one of the smallest and one of the largest size."""

    @abstractmethod
    def share(self, processes: int | None) -> MetaBatch | MDPs:
        """The first training batch of one of `processes` processes; by default, of as many as the trainer has."""

    @property
    @abstractmethod
    def trains_on_validation(self) -> bool: ...

    @property
    @abstractmethod
    def judged_on(self) -> str:
        """A description of the validation tasks. Scores are comparable only where it is equal."""

    @property
    @abstractmethod
    def source(self) -> str:
        """The name or the place of the data that the tasks are made from."""

    @abstractmethod
    def protocol(self, stage: str) -> dict[str, Any]:
        """The tasks of a stage for a report: their source, size, number and seed."""

    @abstractmethod
    def test_sizes(self, ways: list[int] | None, shots: list[int] | None) -> list[Any]:
        """The sizes of test episodes: every one of `ways` with every one of `shots`, by default the configured ones.
        Empty where tasks have no size. Raises InputError where such sizes cannot be had."""

    @abstractmethod
    def resize_test(self, size: Any) -> None:
        """Test with episodes of one of the `test_sizes` from now on."""

    @abstractmethod
    def class_names(self, stage: str) -> list[str] | None:
        """The names of the classes of the first task of a stage, by label; None if classes have no names."""

    @property
    @abstractmethod
    def test_count(self) -> int:
        """The number of test tasks. Setting it raises InputError below 1."""

    @test_count.setter
    @abstractmethod
    def test_count(self, count: int) -> None: ...

    @abstractmethod
    def check_checkpoint(self, path: str, checkpoint: dict[str, Any]) -> None:
        """Raise InputError where a checkpoint was trained on data of another kind than these, and note the classes that it
        was trained on, so that a report can tell which of the classes tested on are held out."""

    def prepare(self, batch: MetaBatch | MDPs) -> MetaBatch | MDPs:
        """Return a batch of a stream as learners take it: images as floats. It does so on the device of the batch."""
        if isinstance(batch, MDPs):
            return batch
        return [to_floats(part) for part in batch] if isinstance(batch, list) else to_floats(batch)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:  # noqa: ARG002  Lightning's signature
        """Prepare a batch. Lightning has converted floats to the run's precision before, when images were still bytes."""
        ready = self.prepare(batch)
        return self.trainer.precision_plugin.convert_input(ready) if self.trainer else ready

    @property
    def place(self) -> tuple[int | None, int | None]:
        """The rank of this process and the number of all; None without a trainer."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (None, None)


def mixture_name(roots: Iterable[str]) -> str:
    """Return the name of a mixture of sets: that of each, the last part of its folder or URL, joined by +."""
    return "+".join(Path(root).name for root in roots)
