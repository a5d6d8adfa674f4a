"""A task distribution of classes whose tasks differ in size; run as a script, it trains on them in one or more processes:

    python uneven_tasks.py DEVICES OUT

writes the final theta and what was measured to OUT.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch

from datamodules.episodes import Episodes
from datamodules.sampling.episodes import Tasks
from datamodules.sampling.meta_batches import Key
from lightning_meta.core import Episode, Examples, FewShotLearner
from lightning_meta.learners import MANN, ProtoNet
from lightning_meta.nn import MLP
from lightning_meta.training import MetaTraining
from support.trainer import SILENT

EPISODES = {"meta_batch": 4, "epoch_batches": 3, "val_episodes": 8, "test_episodes": 10}
COSTS = ("seconds", "memory")
TWO_WAYS = [([1, 4], 3), ([2, 2], 2), ([2, 2], 2), ([5, 1], 1), ([1, 1], 5)]
SIZES = [([1, 4, 2], 3), ([2, 2], 2), ([2, 2], 2), ([3, 1, 1, 6], 1), ([1, 1], 5)]  # shots of each class, and queries


class UnevenTasks(Tasks):
    """Noisy copies of a pattern for each class, in tasks whose size depends on their number alone.

    Args:
        sizes: for each number in turn, the shots of each class, and the queries per class.
    """

    def __init__(self, sizes: list[tuple[list[int], int]]):
        self.sizes = sizes

    def draw(self, key: Key, ways: int, shots: int, queries: int) -> Episode:  # noqa: ARG002  it has sizes of its own
        own, asked = self.sizes[key.index % len(self.sizes)]
        rng = key.rng()
        patterns = rng.normal(size=(len(own), 4))
        y = torch.arange(len(own)).repeat_interleave(torch.tensor(own))
        query_y = torch.arange(len(own)).repeat_interleave(asked)

        def examples(y: torch.Tensor) -> Examples:
            x = patterns[y.numpy()] + rng.normal(size=(len(y), 4))
            return Examples(torch.from_numpy(x).float().unsqueeze(0), y.unsqueeze(0))

        return Episode(examples(y), examples(query_y))


def data(sizes: list[tuple[list[int], int]] = SIZES) -> Episodes:
    return Episodes(UnevenTasks(sizes), **EPISODES)


def module(learner: Callable[[], FewShotLearner] = lambda: ProtoNet(MLP([4, 8, 8]))) -> MetaTraining:
    torch.manual_seed(0)
    return MetaTraining(learner(), partial(torch.optim.SGD, lr=0.05))


def train(devices: int, trained: MetaTraining, sizes: list[tuple[list[int], int]]) -> dict[str, Any]:
    strategy = "ddp" if devices > 1 else "auto"
    trainer = pl.Trainer(
        **{**SILENT, "devices": devices, "strategy": strategy, "max_epochs": 2, "precision": "64-true"}
    )
    trainer.fit(trained, datamodule=data(sizes))
    losses = {name: float(value) for name, value in trainer.callback_metrics.items() if "val" in name}
    trainer.test(trained, datamodule=data(sizes), verbose=False)
    scores = {one.quantity.tag: one.mean for one in trained.measurements if not any(c in one.metric for c in COSTS)}
    return {"theta": dict(trained.learner.state_dict()), "validated": losses, "tested": scores}


if __name__ == "__main__":
    processes = int(sys.argv[1])
    results = {
        "protonet": train(processes, module(), SIZES),
        "mann": train(processes, module(lambda: MANN(MLP([4, 8]), 2, hidden=8, rows=8)), TWO_WAYS),
    }
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        torch.save(results, sys.argv[2])
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
