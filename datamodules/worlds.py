"""Decision processes as a Lightning data module: meta-batches of tasks, each with a seed and a seed of its random numbers."""

from collections.abc import Iterator
from typing import Any

import torch

from datamodules.sampling.meta_batches import Key, MetaBatches
from datamodules.streamed_tasks import StreamedTasks
from datamodules.world_measure import fingerprint
from datamodules.world_settings import Settings
from lightning_meta.core import InputError, MDPs, World, numbered
from lightning_meta.core.world_checks import check_settings

FINGERPRINTED = 8  # validation tasks that are compared by what they do, besides the settings of their world


class WorldStream(MetaBatches[MDPs]):
    """A stream of meta-batches of tasks of a world.

    Tasks are new without end or, if `known` lists them, those in turn, in another order each round. A task that comes again
    has other random numbers.

    Args:
        family: the world.
        split: `train`, `val` or `test`.
        episodes: the number of tasks in an epoch.
        meta_batch: the number of tasks in a meta-batch.
        seed: the seed of the stream.
        rank: the number of this process; None if it is not known yet.
        world: the number of processes; None if it is not known yet.
        known: the seeds of the tasks, or None for new ones without end.
    """

    def __init__(
        self,
        family: World,
        split: str,
        episodes: int,
        meta_batch: int = 1,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        known: range | None = None,
    ):
        super().__init__(split, episodes, meta_batch, seed, rank, world)
        self.family, self.known = family, known

    def draw(self, number: int, indices: range) -> MDPs:  # noqa: ARG002  tasks have no size to draw
        places = torch.arange(indices.start, indices.stop)
        seeds = self.sequence("task", places) if self.known is None else self.in_turn(self.known, indices)
        return MDPs(self.family, seeds, self.sequence("luck", places))  # another name would give other random numbers

    def sequence(self, purpose: str, places: torch.Tensor) -> torch.Tensor:
        """Return the numbers [n] at these places of a sequence."""
        return numbered(int(Key(self.seed, self.split, self.epoch, 0).rng(purpose).integers(2**62)), places)

    def in_turn(self, known: range, indices: range) -> torch.Tensor:
        """Return the seeds [n] of known tasks, each once per round."""
        rounds = range(indices.start // len(known), (indices.stop - 1) // len(known) + 1)
        orders = {n: Key(self.seed, self.split, self.epoch, n).rng("order").permutation(len(known)) for n in rounds}
        return torch.tensor([known[orders[index // len(known)][index % len(known)]] for index in indices])


class Worlds(StreamedTasks):
    """Tasks of a world, for agents.

    If the number of tasks of the world is finite, each split has them all. Otherwise the splits have different tasks.

    Args:
        world: The world.
        meta_batch: The number of tasks in a meta-batch.
        epoch_batches: The number of meta-batches in a training epoch.
        train_tasks: The number of training tasks; None for new ones without end.
        val_tasks: The number of validation tasks.
        test_tasks: The number of test tasks.
        seed: The seed of tasks and their random numbers.
    """

    gives = "decision processes"

    def __init__(
        self,
        world: World,
        meta_batch: int = 40,
        epoch_batches: int = 50,
        train_tasks: int | None = None,
        val_tasks: int = 200,
        test_tasks: int = 1000,
        seed: int = 0,
    ):
        super().__init__(meta_batch, seed)
        check_settings(world)
        counts = {"meta_batch": meta_batch, "epoch_batches": epoch_batches}
        counts |= {"val_tasks": val_tasks, "test_tasks": test_tasks}
        for name, value in {**counts, "train_tasks": 1 if train_tasks is None else train_tasks}.items():
            if value < 1:
                raise InputError(f"{name} is {value}: give 1 or more")
        if train_tasks and world.tasks:
            raise InputError(
                f"train_tasks is {train_tasks}, but {type(world).__name__} has {world.tasks} tasks, which are in every"
                " split: leave train_tasks out"
            )
        self.world = world
        self.observations, self.actions, self.discrete = world.observations, world.actions, world.discrete
        self.tasks = train_tasks or world.tasks  # in training; None if they are without end
        self.episodes = {"train": epoch_batches * meta_batch, "val": val_tasks, "test": test_tasks}
        self.known: dict[str, range | None] = dict.fromkeys(self.episodes, range(world.tasks) if world.tasks else None)
        if train_tasks:
            first = train_tasks + val_tasks
            self.known = {
                "train": range(train_tasks),
                "val": range(train_tasks, first),
                "test": range(first, first + test_tasks),
            }

    def streams(self, stage: str) -> list[WorldStream]:
        rank, processes = self.place
        if processes and self.episodes[stage] % processes:
            name = {"train": "epoch_batches * meta_batch", "val": "val_tasks", "test": "test_tasks"}[stage]
            raise InputError(
                f"{name} is {self.episodes[stage]}, which {processes} processes cannot share evenly: make it a multiple of"
                f" {processes}"
            )
        stream = WorldStream(
            self.world, stage, self.episodes[stage], self.meta_batch, self.seed, rank, processes, self.known[stage]
        )
        return [stream]

    def samples(self, stage: str) -> Iterator[MDPs]:
        return (stream.draw(0, range(2)) for stream in self.streams(stage))

    def share(self, processes: int | None) -> MDPs:
        (stream,) = self.streams("train")
        return stream.draw(0, range(self.meta_batch // (processes or stream.world)))

    def test_sizes(self, ways: list[int] | None, shots: list[int] | None) -> list[Any]:
        if ways or shots:
            raise InputError(f"--ways and --shots set the size of episodes, which {type(self).__name__} has not")
        return []

    def resize_test(self, size: Any) -> None:
        raise AssertionError(f"a task of a world has no size {size}")

    def class_names(self, stage: str) -> None:  # noqa: ARG002  tasks of a world have no classes
        return None

    def check_checkpoint(self, path: str, checkpoint: dict[str, Any]) -> None: ...

    @property
    def trains_on_validation(self) -> bool:
        return False

    @property
    def source(self) -> str:
        return type(self.world).__name__

    @property
    def judged_on(self) -> str:
        settings = Settings(self.world)
        if settings.unknown:
            raise InputError(
                f"{self.source}.{settings.unknown[0]} cannot be compared with that of another {self.source}, so it is unknown"
                " whether both have the same tasks: store what it is made from instead, or give it a __reduce__"
            )
        stream = WorldStream(self.world, "val", FINGERPRINTED, seed=self.seed, rank=0, world=1, known=self.known["val"])
        does = fingerprint(stream.draw(0, range(min(FINGERPRINTED, self.episodes["val"]))))
        return repr((settings.value, does, self.known["val"], self.episodes["val"], self.seed))

    def protocol(self, stage: str) -> dict[str, Any]:
        settings = {"data": self.source, "split": stage, "tasks": self.episodes[stage], "seed": self.seed}
        return {**settings, "world": Settings(self.world).value}

    def state_dict(self) -> dict[str, Any]:
        """Return the settings of the world, which a checkpoint is compared with others by."""
        return {"world": Settings(self.world).value}
