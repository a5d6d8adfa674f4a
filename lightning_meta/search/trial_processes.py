"""A trial of several processes: the trial's own is rank 0, the others are tasks in its placement group."""

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from lightning_meta.search.plan import Plan, train
from lightning_meta.search.reporter import CHECKPOINT, Reporter

Address = tuple[str, int]


class Ranks:
    """The other processes of a trial, which run while this is open. To Lightning each rank is a node with one device."""

    def __init__(self, plan: Plan, config: dict[str, Any], checkpoint: tune.Checkpoint | None):
        self.plan, self.trial_config, self.checkpoint = plan, config, checkpoint
        self.address = (ray.util.get_node_ip_address(), free_port())

    def __enter__(self) -> "Ranks":
        group = ray.util.get_current_placement_group()
        assert group is not None
        self.tasks = [
            join.options(
                num_cpus=self.plan.cpus,
                num_gpus=self.plan.gpus,
                max_retries=0,
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, rank),
            ).remote(self.plan, self.config(rank), self.checkpoint, rank, self.address)
            for rank in range(1, self.plan.workers)
        ]
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for task in self.tasks:
            ray.cancel(task, force=True)

    def config(self, rank: int) -> dict[str, Any]:
        """The trial's configuration for a rank, whose place is in the environment of its process."""
        if rank == 0:
            take_place(rank, self.plan.workers, self.address)
        trainer = self.trial_config["trainer"]
        strategy = trainer["strategy"] if trainer.get("strategy") not in (None, "auto") else "ddp"
        return {
            **self.trial_config,
            "trainer": trainer | {"devices": 1, "num_nodes": self.plan.workers, "strategy": strategy},
        }

    def cause(self) -> Exception | None:
        """Return the reason that a process ended, if one has: its own error, or that of the worker or node that died."""
        done, _ = ray.wait(self.tasks, num_returns=len(self.tasks), timeout=10)
        for task in done:
            try:
                ray.get(task)
            except RayTaskError as error:
                return error.cause if isinstance(error.cause, Exception) else error
            except Exception as error:
                return error
        return None


@ray.remote
def join(plan: Plan, config: dict[str, Any], checkpoint: tune.Checkpoint | None, rank: int, address: Address) -> None:
    """Take part as `rank`."""
    take_place(rank, plan.workers, address)
    with ExitStack() as stack:
        path = Path(stack.enter_context(checkpoint.as_directory()), CHECKPOINT) if checkpoint else None
        train(plan, config, [Reporter(plan.objectives, {}, None)], path)


def take_place(rank: int, world: int, address: Address) -> None:
    """Set the environment variables from which Lightning and torch read a process's rank."""
    host, port = address
    os.environ.pop(
        "SLURM_NTASKS", None
    )  # of a cluster inside a job of Slurm's: Lightning would take us for a task of srun's
    os.environ |= {
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(world),
        "NODE_RANK": str(rank),
        "LOCAL_RANK": "0",
    }


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("", 0))
        return server.getsockname()[1]
