"""Episodes as a Lightning data module."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from datamodules.index.trained_on import classes_of
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream, Range, Tasks
from datamodules.sampling.meta_batches import Key, MetaLoader
from datamodules.task_data import StreamedTasks
from lightning_meta.core import Episode, InputError

STAGES: tuple[str, ...] = ("train", "val", "test")


class EpisodeData(StreamedTasks):
    """Episodes of a task distribution, which a concrete data module opens.

    With `flat_batch` > 0 training reads flat batches of as many examples in the place of tasks, `meta_batch` of them a
    step. With `val_shots`, each validation has `val_episodes` at every one of these numbers of shots, and its score is
    their mean.
    """

    gives = "labelled examples"

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
        val_shots: Sequence[int] | None = None,
    ):
        super().__init__(meta_batch, seed, num_workers)
        if val_shots is not None and (not val_shots or min(val_shots) < 1 or len(set(val_shots)) < len(val_shots)):
            raise InputError(f"val_shots is {list(val_shots)}: give different numbers of 1 or more")
        if min(meta_batch, epoch_batches, val_episodes, test_episodes) < 1:
            raise InputError("meta_batch, epoch_batches, val_episodes and test_episodes must be 1 or more")
        self.sizes = dict(zip(STAGES, (train, evaluation, evaluation), strict=True))
        self.splits = dict(zip(STAGES, splits, strict=True))
        self.flat_batch, self.val_shots = flat_batch, val_shots
        self.episodes = {"train": epoch_batches * meta_batch, "val": val_episodes, "test": test_episodes}
        self.trained: Tensor | None = None  # fingerprints of the classes that a checkpoint under test was trained on
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
    def trains_on_validation(self) -> bool:
        """Whether the validation split is trained on too, so that its score chooses no checkpoint."""
        return False

    @property
    def tasks(self) -> Tasks:
        """The task distribution, opened once."""
        if self._tasks is None:
            self._tasks = self.open()
        return self._tasks

    def stream(self, stage: str, shots: Range | None = None) -> EpisodeStream:
        """The episodes of `train`, `val` or `test` that this process reads, with so many shots if they are given."""
        return EpisodeStream(
            self.tasks,
            self.splits[stage],
            self.sizes[stage].replaced(None, shots, None),
            self.episodes[stage],
            self.meta_batch,
            self.seed,
            *self.place,
            self.flat_batch if stage == "train" else 0,
        )

    def streams(self, stage: str) -> list[EpisodeStream]:
        """All that a stage reads: of validation, a stream for each of `val_shots`."""
        return [self.stream(stage, shots) for shots in (self.val_shots if stage == "val" else None) or [None]]

    def samples(self, stage: str) -> Iterator[Episode]:
        for stream in self.streams(stage):
            key = Key(stream.seed, stream.split, 0, 0)
            if stream.flat:
                yield stream.tasks.draw_flat(key, stream.flat)
                continue
            for size in dict.fromkeys((stream.size.smallest(), stream.size.largest())):
                yield stream.tasks.draw(key, *size)

    def share(self, processes: int | None) -> Episode:
        (stream,) = self.streams("train")
        return stream.draw(0, range(self.meta_batch // (processes or stream.world)))

    def test_sizes(self, ways: list[int] | None, shots: list[int] | None) -> list[EpisodeSize]:
        own = self.sizes["test"]
        if ways and self.regression:
            listed = "-".join(map(str, ways))
            raise InputError(
                f"--ways is {listed}, but {type(self).__name__} is regression, which has no ways: give --shots"
            )
        sizes = product(ways or [own.ways], shots or [own.shots])
        return [own._replace(ways=w, shots=s) for w, s in dict.fromkeys(sizes)]

    def resize_test(self, size: EpisodeSize) -> None:
        self.sizes["test"] = size

    def check_checkpoint(self, path: str, checkpoint: dict[str, Any]) -> None:
        self.trained = classes_of(checkpoint)
        self.tasks.check_checkpoint(path, checkpoint)

    @property
    def regression(self) -> bool:
        """Whether targets are numbers and not classes."""
        smallest = self.sizes["test"].smallest()
        return self.tasks.draw(Key(self.seed, self.splits["test"], 0, 0), *smallest).query.y.is_floating_point()

    @property
    def source(self) -> str:
        return getattr(self, "root", type(self).__name__)

    @property
    def judged_on(self) -> str:
        streams = [(stream.split, stream.size, stream.episodes, stream.seed) for stream in self.streams("val")]
        return repr((self.source, streams))

    def protocol(self, stage: str) -> dict[str, Any]:
        met = 0 if self.trained is None else self.tasks.met(self.splits[stage], self.trained)
        return {
            "data": self.source,
            "split": self.splits[stage],
            **self.sizes[stage]._asdict(),
            "episodes": self.episodes[stage],
            "seed": self.seed,
            **({"classes_trained_on": met} if met else {}),
        }

    def val_dataloader(self) -> MetaLoader[Any] | list[MetaLoader[Any]]:
        loaders = [self.frozen(stream) for stream in self.streams("val")]
        return loaders if self.val_shots else loaders[0]

    def teardown(self, stage: str) -> None:  # noqa: ARG002  the same after every stage
        if self._tasks is not None and (skipped := self._tasks.report()):
            rank_zero_warn(skipped)
