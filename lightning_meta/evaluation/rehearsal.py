"""Rehearse a run, to find what would fail before it begins."""

import copy
import re
from collections.abc import Callable
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_info
from pytorch_lightning import LightningDataModule, Trainer

from lightning_meta.core import (
    Episode,
    FewShotLearner,
    InputError,
    MDPs,
    MetaRLLearner,
    rehearse_world,
)
from lightning_meta.core.world_rehearsal import LATER_STEPS
from lightning_meta.nn.undisturbed import loadable, undisturbed
from lightning_meta.training.base import MetaModule
from lightning_meta.training.evaluation import observe
from lightning_meta.training.task_data import STAGES, TaskData


def rehearse(
    command: str, model: MetaModule, data: LightningDataModule, trainer: Trainer, processes: int | None = None
) -> None:
    """Adapt to one task of the smallest and the largest size that each stage draws, take a training step on one, or live
    through a short trial: a learner that does not fit the data, or data that are not there, end here and not in the middle
    of the training. What is measured of predictions is said. The learner stays as it was. `processes` will share a
    meta-batch, where that is not known to `trainer`."""
    if command == "fit":
        model.configure_optimizers()
    if not isinstance(data, TaskData):
        return
    data.trainer = trainer
    with undisturbed(model.learner), loadable(model.learner):
        rehearse_tasks(command, model.learner.eval(), data, processes)
    if isinstance(model.learner, FewShotLearner):
        for line in remarks(model.learner):
            rank_zero_info(line)


def rehearse_tasks(
    command: str, learner: FewShotLearner | MetaRLLearner, data: TaskData, processes: int | None
) -> None:
    for stage in STAGES[command]:
        for batch in data.samples(stage):
            if isinstance(batch, MDPs):
                assert isinstance(learner, MetaRLLearner)  # the configuration was asked
                try_trial(learner, batch, long=stage == STAGES[command][0])
            else:
                assert isinstance(learner, FewShotLearner)
                try_episode(learner, batch, stage)
        if stage == "train" and isinstance(learner, MetaRLLearner):
            share = data.share(processes)
            assert isinstance(share, MDPs)
            learner.train().check_batch(share)
            learner.eval()


def try_episode(learner: FewShotLearner, batch: Episode, stage: str) -> None:
    if not batch.support.x.shape[1]:  # a flat batch
        try_step(learner, batch)
        return
    try_task(learner, batch)
    if stage == "train":
        try_step(learner, batch)
    else:
        attempt("predict a query twice", learner, lambda e: observe(learner, e), batch)


def remarks(learner: FewShotLearner) -> list[str]:
    """Return remarks about properties of predictions that were measured and not configured."""
    backbone, found = backbone_name(learner), []
    chosen = learner.batch_statistics() == "transductive"
    if learner.transductive and not chosen:
        found.append(
            f"transductive: a prediction depends on the other queries, for {backbone} mixes the rows of a batch"
        )
    if learner.noisy:
        found.append(f"predictions change from call to call: {backbone} draws random numbers in evaluation mode")
    return found


def try_trial(agent: MetaRLLearner, some: MDPs, long: bool) -> None:
    """The world by itself, over many steps if `long`, then a trial of two tasks, its episodes cut off after two steps;
    InputError where the world does not do what it should, or the agent does not fit it."""
    rehearse_world(some.world, some, LATER_STEPS if long else 0)
    agent.check(some.world)
    world = copy.copy(some.world)
    world.horizon = min(world.horizon, 2)
    try:
        with torch.no_grad():
            agent.returns(MDPs(world, some.seeds, some.noise_seeds))
    except InputError:
        raise
    except (RuntimeError, ValueError) as error:
        kind = "discrete" if world.discrete else "continuous"
        raise InputError(
            f"{type(agent).__name__} as configured cannot act in {type(world).__name__}, which shows {world.observations}"
            f" numbers and has {world.actions} {kind} actions: {error}"
        ) from error


def try_step(learner: FewShotLearner, batch: Episode) -> None:
    """One training step; InputError where the learner cannot learn from such batches."""
    learner.train().check_batch(batch)
    attempt("take a training step", learner, lambda each: learner.loss(each).loss.backward(), batch, graph=True)
    learner.eval()


def try_task(learner: FewShotLearner, episode: Episode) -> None:
    """Adapt and predict once; InputError where the learner does not fit such tasks."""
    attempt("adapt to a task", learner, lambda e: learner.adapt(e.support)(e.query.x), episode)


def attempt(what: str, learner: FewShotLearner, act: Callable[[Any], Any], batch: Episode, graph: bool = False) -> None:
    """Call `act`; whatever a backbone of the user's or PyTorch raises becomes an InputError."""
    try:
        with torch.set_grad_enabled(graph):
            act(batch)
    except InputError:
        raise
    except Exception as error:
        x = list(batch.query.x.shape[1:])
        raise InputError(
            f"{type(learner).__name__} with {backbone_name(learner)} as configured cannot {what}, x {x}:"
            f" {type(error).__name__}: {' '.join(str(error).split())}. {remedy(str(error))}"
        ) from error


def remedy(error: str) -> str:
    if re.search(r"derivative for .* is not implemented", error):
        return "Second derivatives do not go through that operation: put another in its place, or choose first_order"
    return "A backbone maps [n, *shape] to [n, features]"


def backbone_name(learner: FewShotLearner) -> str:
    owner = getattr(learner, "network", learner)
    return type(getattr(owner, "backbone", owner)).__name__
