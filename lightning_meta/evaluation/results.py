"""From what a module measured to the result of an evaluation."""

import math

from pytorch_lightning import LightningDataModule, Trainer

from lightning_meta.core import FewShotLearner, MetaRLLearner
from lightning_meta.reports.few_shot import COSTS, Cost, FewShotResult, OtherProtocol, Predictions
from lightning_meta.reports.results import Result
from lightning_meta.reports.returns import ReturnsResult
from lightning_meta.training import MetaTraining
from lightning_meta.training.base import MetaModule
from lightning_meta.training.checkpoint import Origin
from lightning_meta.training.evaluation import peak_memory
from lightning_meta.training.measurements import Measurement, Stage
from lightning_meta.training.task_data import TaskData


def result_of(module: MetaModule, stage: Stage, trainer: Trainer, data: LightningDataModule, origin: Origin) -> Result:
    """Return the result of the validation or test that a module has just been through.

    Args:
        module: The module, which holds what was measured.
        stage: Meta-validation or meta-test.
        trainer: The trainer that ran it.
        data: The data module of its tasks.
        origin: What the checkpoint tells of its making.
    """
    protocol = data.protocol("test" if stage.name == "meta_test" else "val") if isinstance(data, TaskData) else {}
    learner, measured = module.learner, [one for one in module.measurements if one.metric != "error"]
    name = type(learner).__name__
    own = tuple(one for one in measured if one.quantity.protocol is None and one.metric not in COSTS)
    if isinstance(learner, MetaRLLearner):
        updates, envs, episodes = learner.evaluation_budget()
        actions = "the likeliest" if learner.greedy else "drawn"
        protocol = {**protocol, "updates": updates, "envs": envs, "episodes": episodes, "actions": actions}
        return ReturnsResult(stage, name, protocol, origin, own, learner.score)
    ways = module.ways if isinstance(module, MetaTraining) else {}
    others = [other_protocol(way, other, measured) for way, other in ways.items() if other is not learner]
    costs = {one.metric: one.mean for one in measured if one.metric in COSTS and one.quantity.protocol is None}
    cost = None
    if costs:
        tasks = tasks_at_a_time(data, own, measured, trainer.world_size) if isinstance(data, TaskData) else None
        of = peak_memory(trainer.strategy.root_device)[1]
        cost = Cost(costs["adapt_seconds"], tasks, costs["query_seconds"], costs["peak_memory"], of)
    other = next(filter(None, others), None)
    return FewShotResult(stage, name, protocol, origin, own, Predictions.of(learner), other, cost)


def tasks_at_a_time(
    data: TaskData, own: tuple[Measurement, ...], measured: list[Measurement], processes: int
) -> int | float:
    """The number of tasks that adapt together: those of a meta-batch or, where they differ in size, the mean number of those
    of one size."""
    tasks = max(one.episodes or 0 for one in own)
    timed = max(one.episodes or 0 for one in measured if one.metric == "adapt_seconds")
    lists = len(data.points("test"))
    if timed <= processes * lists * math.ceil(tasks / lists / data.meta_batch):
        return data.meta_batch // processes
    mean = round(tasks / timed, 1)
    return int(mean) if mean.is_integer() else mean


def other_protocol(way: str, learner: FewShotLearner, measured: list[Measurement]) -> OtherProtocol | None:
    """Return the scores under a protocol by its name, None if they were not measured."""
    own = [one for one in measured if one.quantity.protocol == way]
    seconds = [one.mean for one in own if one.metric == "adapt_seconds"]
    scores = tuple(one for one in own if one.metric not in COSTS)
    return OtherProtocol(Predictions.of(learner), scores, seconds[0]) if scores else None
