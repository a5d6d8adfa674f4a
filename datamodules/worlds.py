"""Decision processes as a Lightning data module: meta-batches of tasks, each named by a seed, and the luck of meeting them."""

from collections.abc import Iterator
from typing import Any

import torch

from datamodules.sampling.meta_batches import Key, MetaBatches
from datamodules.streamed_tasks import StreamedTasks
from datamodules.world_measure import measured
from datamodules.world_settings import Settings
from lightning_meta.core import InputError, MDPs, World, numbered
from lightning_meta.core.world_shapes import check_settings

MEASURED = 8  # validation tasks of which what they are is compared, beside how their world is set


class WorldStream(MetaBatches[MDPs]):
    """Meta-batches of tasks of a world: new ones without end or, where `known` says which there are, those in turn, each
    time round in another order. A task that comes again has other luck."""

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
        return MDPs(self.family, seeds, self.sequence("luck", places))

    def sequence(self, purpose: str, places: torch.Tensor) -> torch.Tensor:
        """The numbers [n] at these places."""
        return numbered(int(Key(self.seed, self.split, self.epoch, 0).rng(purpose).integers(2**62)), places)

    def in_turn(self, known: range, indices: range) -> torch.Tensor:
        """Each known task once before any comes again: [n]."""
        rounds = range(indices.start // len(known), (indices.stop - 1) // len(known) + 1)
        orders = {n: Key(self.seed, self.split, self.epoch, n).rng("order").permutation(len(known)) for n in rounds}
        return torch.tensor([known[orders[index // len(known)][index % len(known)]] for index in indices])


class Worlds(StreamedTasks):
    """Tasks of a world. Training draws new ones without end or, with `train_tasks`, from so many; validation and test have
    `val_tasks` and `test_tasks` others. Of a world whose tasks can be counted each split has them all.

    `epoch_batches`: meta-batches of `meta_batch` tasks in an epoch.
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
                f"train_tasks is {train_tasks}, but {type(world).__name__} has {world.tasks} tasks in all, which every split"
                " takes: leave train_tasks out"
            )
        self.world = world
        self.observations, self.actions, self.discrete = world.observations, world.actions, world.discrete
        self.tasks = train_tasks or world.tasks  # how many training has; None: without end
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
                f"{self.source}.{settings.unknown[0]} cannot be compared with that of another {self.source}, so nobody can"
                " tell whether both pose the same tasks: keep what it is made from in its place, or give it a __reduce__"
            )
        stream = WorldStream(self.world, "val", MEASURED, seed=self.seed, rank=0, world=1, known=self.known["val"])
        does = measured(stream.draw(0, range(min(MEASURED, self.episodes["val"]))))
        return repr((settings.value, does, self.known["val"], self.episodes["val"], self.seed))

    def protocol(self, stage: str) -> dict[str, Any]:
        settings = {"data": self.source, "split": stage, "tasks": self.episodes[stage], "seed": self.seed}
        return {**settings, "world": Settings(self.world).value}

    def state_dict(self) -> dict[str, Any]:
        """The world that a checkpoint was trained in, to be compared with others."""
        return {"world": Settings(self.world).value}
