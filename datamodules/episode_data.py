"""Episodes as a Lightning data module."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from datamodules.augmentation.image_changes import Augmentation, NamedTasks, augment
from datamodules.augmentation.new_classes import ClassAugmentation
from datamodules.index.trained_on import classes_of
from datamodules.sampling.composition import Sampler
from datamodules.sampling.episode_size import EpisodeSize, Range
from datamodules.sampling.episodes import EpisodeStream, Tasks
from datamodules.sampling.loader import MetaLoader
from datamodules.sampling.meta_batches import Key
from datamodules.streamed_tasks import StreamedTasks, Workers
from lightning_meta.core import Episode, InputError, MDPs, MetaBatch, to_floats
from lightning_meta.training.task_data import Point

STAGES: tuple[str, ...] = ("train", "val", "test")


class EpisodeData(StreamedTasks):
    """Episodes of a task distribution, which a concrete data module opens.

    `datamodules.episodes.Episodes` takes any task distribution as an argument; derive from this class only if yours has
    to be opened, as files are, or has other arguments.

    Args:
        train: Size of a training episode.
        evaluation: Size of a validation or test episode.
        splits: Names of the meta-train, meta-validation and meta-test splits.
        meta_batch: Tasks per meta-batch, over all devices.
        epoch_batches: Meta-batches per epoch.
        val_episodes: Episodes per validation.
        test_episodes: Episodes of the test.
        seed: Seed of the sequence of episodes.
        num_workers: Processes that load data beside the training process; `auto` for as many as help.
        flat_batch: Examples per flat batch: with more than 0, training reads flat batches in place of tasks, `meta_batch`
            of them per step.
        val_shots: Numbers of shots to validate at, with `val_episodes` episodes each; the score is their mean.
        sampler: Sampler of the training episodes; None for those of the task distribution.
        eval_sampler: Sampler of the validation and test episodes; None for those of the task distribution.
        augment: Random changes of the images of training, in this order.
        augment_classes: Rule that makes new classes for training; None for no new ones.
        look_ahead: Meta-batches after the one in use whose remote data each process fetches beforehand.

    Raises:
        InputError: If a number is too small, or `val_shots` repeats one.
    """

    gives = "labelled examples"

    def __init__(
        self,
        *,
        train: EpisodeSize,
        evaluation: EpisodeSize,
        splits: tuple[str, str, str],
        meta_batch: int,
        epoch_batches: int,
        val_episodes: int,
        test_episodes: int,
        seed: int,
        num_workers: Workers,
        flat_batch: int,
        val_shots: Sequence[int] | None,
        sampler: Sampler | None = None,
        eval_sampler: Sampler | None = None,
        augment: Sequence[Augmentation] = (),
        augment_classes: ClassAugmentation | None = None,
        look_ahead: int = 4,
    ):
        super().__init__(meta_batch, seed, num_workers)
        if val_shots is not None and eval_sampler is not None and eval_sampler.has_own_sizes:
            raise InputError(
                f"val_shots is {list(val_shots)}, but {type(eval_sampler).__name__} draws the shots of validation itself: leave"
                " val_shots out, or set eval_sampler to another one"
            )
        if val_shots is not None and (not val_shots or min(val_shots) < 1 or len(set(val_shots)) < len(val_shots)):
            raise InputError(f"val_shots is {list(val_shots)}: give different numbers of 1 or more")
        if min(meta_batch, epoch_batches, val_episodes, test_episodes) < 1:
            raise InputError("meta_batch, epoch_batches, val_episodes and test_episodes must be 1 or more")
        if look_ahead < 0:
            raise InputError(f"look_ahead is {look_ahead}: give 0 or more")
        self.sizes = dict(zip(STAGES, (train, evaluation, evaluation), strict=True))
        self.samplers = dict(zip(STAGES, (sampler, eval_sampler, eval_sampler), strict=True))
        self.splits = dict(zip(STAGES, splits, strict=True))
        self.flat_batch, self.val_shots, self.look_ahead = flat_batch, val_shots, look_ahead
        self.episodes = {"train": epoch_batches * meta_batch, "val": val_episodes, "test": test_episodes}
        self.trained: Tensor | None = None  # fingerprints of the classes that a checkpoint under test was trained on
        self.augment, self.augment_classes = list(augment), augment_classes
        self._tasks: Tasks | None = None
        self._training_tasks: Tasks | None = None

    @abstractmethod
    def open(self) -> Tasks:
        """Open the task distribution, in the process that reads it."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Number of values that a learner with a head of fixed width predicts per example: logits, or target dimensions."""

    @property
    def classes(self) -> int:
        """Width of a head for flat batches: the number of classes in the training split, or of target dimensions."""
        return self.outputs

    @property
    def trains_on_validation(self) -> bool:
        """True if training also uses the validation split, so that its score cannot choose a checkpoint."""
        return False

    @property
    def tasks(self) -> Tasks:
        """The task distribution, opened once."""
        if self._tasks is None:
            self._tasks = self.open()
        return self._tasks

    def parts(self) -> dict[str, Tasks]:
        """Return the task distributions that validation and test score one by one, by name; none if all tasks are of one."""
        return {}

    def tasks_of(self, stage: str) -> Tasks:
        """Return the task distribution of a stage, which has new classes in training if they are configured."""
        if stage != "train" or self.augment_classes is None:
            return self.tasks
        if self._training_tasks is None:
            self._training_tasks = self.tasks.augmented(self.augment_classes)
        return self._training_tasks

    def stream(self, stage: str, shots: Range | None = None, tasks: Tasks | None = None) -> EpisodeStream:
        """Return the episodes that this process reads.

        Args:
            stage: `train`, `val` or `test`.
            shots: Support examples per class; by default those of the stage.
            tasks: One of the `parts`; by default the whole task distribution.
        """
        rank, processes = self.place
        return EpisodeStream(
            self.tasks_of(stage) if tasks is None else tasks,
            self.splits[stage],
            self.sizes[stage].replaced(None, shots, None),
            episodes=self.episodes[stage],
            meta_batch=self.meta_batch,
            seed=self.seed,
            rank=rank,
            world=processes,
            flat=self.flat_batch if stage == "train" else 0,
            sampler=self.samplers[stage],
            named=stage == "train" and bool(self.augment),
            look_ahead=self.look_ahead,
        )

    def streams(self, stage: str) -> list[EpisodeStream]:
        """Return all streams of a stage: for validation and test one per part, for validation one per number of shots."""
        parts = self.parts()
        return [
            self.stream(stage, point.get("shots"), parts[point["source"]] if "source" in point else None)
            for point in self.points(stage)
        ]

    def points(self, stage: str) -> list[Point]:
        names: list[Point] = [{"source": name} for name in (self.parts() if stage != "train" else ())]
        shots: list[Point] = [{"shots": n} for n in (self.val_shots or () if stage == "val" else ())]
        return [{**name, **n} for name, n in product(names or [Point()], shots or [Point()])]

    def samples(self, stage: str) -> Iterator[Episode]:
        for stream in self.streams(stage):
            key = Key(stream.seed, stream.split, 0, 0)
            if stream.flat:
                yield to_floats(stream.tasks.draw_flat(key, stream.flat))
                continue
            if stream.composer is not None:
                extremes = stream.composer.extremes()
                for episode in stream.tasks.draw_composed([key] * len(extremes), extremes):
                    yield to_floats(episode)
                continue
            for size in dict.fromkeys((stream.size.smallest(), stream.size.largest())):
                yield to_floats(stream.tasks.draw(key, *size))

    def prepare(self, batch: MetaBatch | MDPs | NamedTasks) -> MetaBatch | MDPs:
        """Return a batch of a stream as learners take it: images as floats, and augmented if they are those of training."""
        if not isinstance(batch, NamedTasks):
            return super().prepare(batch)
        floats = super().prepare(batch.tasks)
        assert not isinstance(floats, MDPs)
        return augment(NamedTasks(floats, batch.names), self.augment)

    def share(self, processes: int | None) -> MetaBatch:
        (stream,) = self.streams("train")
        batch = self.prepare(stream.draw(0, range(self.meta_batch // (processes or stream.world))))
        assert not isinstance(batch, MDPs)
        return batch

    def size_of(self, stage: str) -> EpisodeSize:
        """Return the ways, shots and queries that can be drawn in a stage."""
        sampler = self.samplers[stage]
        return self.stream(stage).size if sampler and sampler.has_own_sizes else self.sizes[stage]

    def test_sizes(self, ways: list[int] | None, shots: list[int] | None) -> list[EpisodeSize]:
        own, sampler = self.size_of("test"), self.samplers["test"]
        if sampler and sampler.has_own_sizes and (ways or shots):
            raise InputError(
                f"--ways and --shots set the size of test episodes, but {type(sampler).__name__} draws it itself: leave them"
                " out, or set data.eval_sampler to uniform"
            )
        if ways and self.target_dimensions("test"):
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

    def class_names(self, stage: str) -> list[str] | None:
        return self.streams(stage)[0].class_names()

    def target_dimensions(self, stage: str) -> int:
        """Return the dimensions of a regression target, as the first task of a stage shows them; 0 for classes."""
        first = Key(self.seed, self.splits[stage], 0, 0)
        target = self.tasks.draw(first, *self.sizes[stage].smallest()).query.y
        return target.shape[-1] if target.is_floating_point() else 0

    @property
    def judged_on(self) -> str:
        streams = [(stream.split, stream.size, stream.episodes, stream.seed) for stream in self.streams("val")]
        sampler = self.samplers["val"]
        return repr((self.source, streams, *([str(sampler)] if sampler else [])))

    def protocol(self, stage: str) -> dict[str, Any]:
        met = 0 if self.trained is None else self.tasks.met(self.splits[stage], self.trained)
        return {
            "data": self.source,
            "split": self.splits[stage],
            **({"sampler": str(sampler)} if (sampler := self.samplers[stage]) else {}),
            **self.size_of(stage)._asdict(),
            "episodes": self.episodes[stage],
            "seed": self.seed,
            **({"classes_trained_on": met} if met else {}),
        }

    def val_dataloader(self) -> MetaLoader[Any] | list[MetaLoader[Any]]:
        return self._loaders("val")

    def test_dataloader(self) -> MetaLoader[Any] | list[MetaLoader[Any]]:
        return self._loaders("test")

    def _loaders(self, stage: str) -> MetaLoader[Any] | list[MetaLoader[Any]]:
        """Return the loader of a stage, or one for each of its points."""
        loaders = [self.frozen(stream) for stream in self.streams(stage)]
        return loaders if any(self.points(stage)) else loaders[0]

    def teardown(self, stage: str) -> None:  # noqa: ARG002  the same after every stage
        if self._tasks is not None and (skipped := self._tasks.report()):
            rank_zero_warn(skipped)
